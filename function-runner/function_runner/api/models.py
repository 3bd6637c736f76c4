"""``/models``: MLflow's registry."""

from function_runner import errors
from function_runner.api.route import Route
from function_runner.api.schemas import ModelAnswer, ModelPage, ModelVersionAnswer, ModelVersionPage, PageQuery
from function_runner.api.services import Services

_PROBLEMS = (errors.ModelNotFound, errors.MlflowUnavailable)


def routes() -> list[Route]:
    """The routes of this module."""
    return [
        Route(
            "GET",
            "/models",
            list_all,
            summary="List the registered models",
            tag="Models",
            query=PageQuery,
            answer=ModelPage,
            problems=(errors.MlflowUnavailable,),
        ),
        Route("GET", "/models/{name}", show, summary="A model", tag="Models", answer=ModelAnswer, problems=_PROBLEMS),
        Route(
            "GET",
            "/models/{name}/versions",
            versions,
            summary="List the versions of a model, newest first",
            tag="Models",
            query=PageQuery,
            answer=ModelVersionPage,
            problems=_PROBLEMS,
        ),
        Route(
            "GET",
            "/models/{name}/versions/{version}",
            version,
            summary="A version of a model",
            description="`version` is a number, `latest`, or an alias such as `@champion`.",
            tag="Models",
            answer=ModelVersionAnswer,
            problems=_PROBLEMS,
        ),
    ]


def list_all(services: Services, *, query: PageQuery) -> ModelPage:
    """One page of models."""
    return ModelPage.model_validate(services.tracking.models(limit=query.limit, page_token=query.page_token))


def show(services: Services, *, name: str) -> ModelAnswer:
    """One model."""
    return ModelAnswer.model_validate(services.tracking.model(name))


def versions(services: Services, *, name: str, query: PageQuery) -> ModelVersionPage:
    """One page of a model's versions."""
    found = services.tracking.model_versions(name, limit=query.limit, page_token=query.page_token)
    return ModelVersionPage.model_validate(found)


def version(services: Services, *, name: str, version: str) -> ModelVersionAnswer:
    """One version."""
    return ModelVersionAnswer.model_validate(services.tracking.model_version(name, version))
