"""``/models``: MLflow's registry, and which invocations made and used what is in it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from function_runner import errors
from function_runner.api.invocations import page_of
from function_runner.api.route import Route
from function_runner.api.schemas import (
    InvocationPage,
    MadeBy,
    ModelAnswer,
    ModelPage,
    ModelVersionAnswer,
    ModelVersionPage,
    PageQuery,
    PastQuery,
)
from function_runner.api.services import Services
from function_runner.invocation import Mention
from function_runner.store import Wanted

# The function that registers a version says so in a tag, because it may be stopped before it can say so in its result.
MAKER_TAG = "smlops.invocation_id"

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
            problems=(*_PROBLEMS, errors.StoreUnavailable),
        ),
        Route(
            "GET",
            "/models/{name}/versions/{version}",
            version,
            summary="A version of a model",
            description="`version` is a number, `latest`, or an alias such as `@champion`.",
            tag="Models",
            answer=ModelVersionAnswer,
            problems=(*_PROBLEMS, errors.StoreUnavailable),
        ),
        Route(
            "GET",
            "/models/{name}/versions/{version}/invocations",
            used_by,
            summary="List the invocations that used a version of a model, newest first",
            tag="Models",
            query=PastQuery,
            answer=InvocationPage,
            problems=(*_PROBLEMS, errors.StoreUnavailable),
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
    return ModelVersionPage.model_validate({**found, "versions": _with_origin(services, found["versions"])})


def version(services: Services, *, name: str, version: str) -> ModelVersionAnswer:
    """One version."""
    found = services.tracking.model_version(name, version)
    return ModelVersionAnswer.model_validate(_with_origin(services, [found])[0])


def used_by(services: Services, *, name: str, version: str, query: PastQuery) -> InvocationPage:
    """One page of the records that name a version and did not make it."""
    found = services.tracking.model_version(name, version)
    wanted = Wanted(
        model_name=found["name"],
        model_version=found["version"],
        not_run_id=found["run_id"],
        # Before, this was the number of a version that has been deleted.
        finished_since=datetime.fromisoformat(found["created_at"]) if found["created_at"] else None,
    )
    return page_of(services, wanted, query)


def _with_origin(services: Services, versions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The versions, each with the invocation that made it and the address of those that used it."""
    tagged = [version["tags"][MAKER_TAG] for version in versions if MAKER_TAG in version["tags"]]
    runs = [version["run_id"] for version in versions if version["run_id"]]
    mentions = services.store.mentions(ids=tagged, run_ids=runs) if tagged or runs else []
    return [
        {
            **version,
            "made_by": _maker(version, mentions),
            "used_by_url": f"/models/{quote(version['name'], safe='')}/versions/{version['version']}/invocations",
        }
        for version in versions
    ]


def _maker(version: Mapping[str, Any], mentions: Sequence[Mention]) -> MadeBy | None:
    """Who made the version: its record names the version and the run that MLflow has for it.

    Name and number alone prove nothing: a model that was deleted and registered anew has the same ones again. A record
    without any model is believed to be what the version's tag says; its function registered and then failed.
    """
    itself = (version["run_id"], version["name"], version["version"])
    for mention in mentions:
        said = (mention.mlflow_run_id, mention.model_name, mention.model_version)
        is_tagged = mention.id == version["tags"].get(MAKER_TAG)
        if (said == itself and version["run_id"]) or (said == (None, None, None) and is_tagged):
            return MadeBy(
                invocation_id=mention.id,
                function=mention.function,
                status=mention.status,
                created_at=mention.created_at,
            )
    return None
