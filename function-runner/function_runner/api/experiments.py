"""``/experiments``: MLflow's experiments and their runs."""

from function_runner import errors
from function_runner.api.route import Route
from function_runner.api.schemas import ExperimentPage, PageQuery, RunPage
from function_runner.api.services import Services


def routes() -> list[Route]:
    """The routes of this module."""
    return [
        Route(
            "GET",
            "/experiments",
            list_all,
            summary="List the experiments",
            tag="Models",
            query=PageQuery,
            answer=ExperimentPage,
            problems=(errors.MlflowUnavailable,),
        ),
        Route(
            "GET",
            "/experiments/{experiment_id}/runs",
            runs,
            summary="List the runs of an experiment, newest first",
            tag="Models",
            query=PageQuery,
            answer=RunPage,
            problems=(errors.ExperimentNotFound, errors.MlflowUnavailable),
        ),
    ]


def list_all(services: Services, *, query: PageQuery) -> ExperimentPage:
    """One page of experiments."""
    return ExperimentPage.model_validate(services.tracking.experiments(limit=query.limit, page_token=query.page_token))


def runs(services: Services, *, experiment_id: str, query: PageQuery) -> RunPage:
    """One page of an experiment's runs."""
    found = services.tracking.runs(experiment_id, limit=query.limit, page_token=query.page_token)
    return RunPage.model_validate(found)
