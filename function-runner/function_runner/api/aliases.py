"""``/models/{name}/aliases``: where the aliases of a model point, and their moves."""

from function_runner import errors
from function_runner.aliases import Expected
from function_runner.api.invoke import caller
from function_runner.api.route import Route
from function_runner.api.schemas import (
    AliasesAnswer,
    AliasesQuery,
    AliasMoveAnswer,
    DeleteAliasQuery,
    MoveAliasRequest,
    RollBackRequest,
)
from function_runner.api.services import Services

_PROBLEMS = (errors.ModelNotFound, errors.Busy, errors.MlflowUnavailable, errors.StoreUnavailable)


def routes() -> list[Route]:
    """The routes of this module."""
    return [
        Route(
            "GET",
            "/models/{name}/aliases",
            show,
            summary="Where the aliases of a model point, and who moved them when",
            description=(
                "MLflow keeps only where an alias points; the history is kept here. A move in MLflow itself is noticed "
                "at the next look and then has the action `outside`."
            ),
            tag="Models",
            query=AliasesQuery,
            answer=AliasesAnswer,
            problems=_PROBLEMS,
        ),
        Route(
            "PUT",
            "/models/{name}/aliases/{alias}",
            move,
            summary="Let an alias mean a version of a model",
            description="Makes the alias, or moves it. Calls that name the alias use the new version at once.",
            tag="Models",
            body=MoveAliasRequest,
            answer=AliasesAnswer,
            problems=(*_PROBLEMS, errors.AliasMoved),
        ),
        Route(
            "DELETE",
            "/models/{name}/aliases/{alias}",
            delete,
            summary="Delete an alias of a model",
            tag="Models",
            query=DeleteAliasQuery,
            answer=AliasesAnswer,
            problems=(*_PROBLEMS, errors.AliasMoved),
        ),
        Route(
            "POST",
            "/models/{name}/aliases/{alias}/rollback",
            roll_back,
            summary="Let an alias mean what it meant before its last move",
            description="One that was deleted comes back. Rolling back is a move, too: twice is back again.",
            tag="Models",
            body=RollBackRequest,
            body_is_optional=True,
            answer=AliasesAnswer,
            problems=(*_PROBLEMS, errors.AliasMoved, errors.NoEarlierVersion),
        ),
    ]


def show(services: Services, *, name: str, query: AliasesQuery) -> AliasesAnswer:
    """The aliases of a model and their history."""
    return _answer(services, name, services.aliases.look(name), query)


def move(services: Services, *, name: str, alias: str, body: MoveAliasRequest) -> AliasesAnswer:
    """Set an alias."""
    expected = Expected(body.expected_version) if "expected_version" in body.model_fields_set else None
    aliases = services.aliases.move(name, alias, body.version, expected=expected, caller=caller())
    return _answer(services, name, aliases)


def delete(services: Services, *, name: str, alias: str, query: DeleteAliasQuery) -> AliasesAnswer:
    """Delete an alias."""
    expected = Expected(query.expected_version) if query.expected_version is not None else None
    return _answer(services, name, services.aliases.delete(name, alias, expected=expected, caller=caller()))


def roll_back(services: Services, *, name: str, alias: str, body: RollBackRequest) -> AliasesAnswer:
    """Undo the last move of an alias."""
    expected = Expected(body.expected_version) if "expected_version" in body.model_fields_set else None
    return _answer(services, name, services.aliases.roll_back(name, alias, expected=expected, caller=caller()))


def _answer(services: Services, name: str, aliases: dict[str, str], query: AliasesQuery | None = None) -> AliasesAnswer:
    query = query or AliasesQuery()
    history = services.store.alias_history(name, alias=query.alias, limit=query.limit)
    return AliasesAnswer(
        model=name, aliases=aliases, history=[AliasMoveAnswer.model_validate(moved) for moved in history]
    )
