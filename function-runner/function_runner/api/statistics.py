"""``/statistics``: how invocations went over time."""

from function_runner import errors
from function_runner.api.route import Route
from function_runner.api.schemas import StatisticsAnswer, StatisticsQuery
from function_runner.api.services import Services


def routes() -> list[Route]:
    """The routes of this module."""
    return [
        Route(
            "GET",
            "/statistics",
            show,
            summary="How many invocations there were, how they ended, how long they took",
            description=(
                "Counts are exact; percentiles are within 2 % of the exact ones. What has ended is counted when it was "
                "asked for, one second after its end."
            ),
            tag="Invocations",
            query=StatisticsQuery,
            answer=StatisticsAnswer,
            problems=(errors.StoreUnavailable,),
        )
    ]


def show(services: Services, *, query: StatisticsQuery) -> StatisticsAnswer:
    """The figures of a window of time."""
    return StatisticsAnswer.model_validate(services.statistics.of(query.window, query.function))
