"""``/compare/invocations`` and ``/models/{name}/compare``: several of a kind side by side."""

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from function_runner import errors
from function_runner.api.invocations import find
from function_runner.api.route import Route
from function_runner.api.schemas import (
    ComparedInvocation,
    ComparedValue,
    ComparedVersion,
    CompareInvocationsQuery,
    CompareVersionsQuery,
    DifferenceAnswer,
    InvocationsCompared,
    Record,
    VersionsCompared,
)
from function_runner.api.services import Services
from function_runner.api.writing import as_json
from function_runner.differences import Difference, differences
from function_runner.errors import FieldError, InvalidRequest
from function_runner.invocation import Invocation

AT_LEAST, AT_MOST = 2, 10
MAX_DIFFERENCES = 1000

# What is compared of a record. The rest is never the same (ids, moments, names of containers) or tells nothing.
_COMPARED = (
    *("function", "status", "start", "mode", "attempt", "timeout_seconds", "parameters", "result", "error"),
    *("timings", "exit_code", "oom_killed", "max_memory_mb", "memory_limit_mb", "image", "source_hash", "mlflow"),
)


def routes() -> list[Route]:
    """The routes of this module."""
    return [
        Route(
            "GET",
            "/compare/invocations",
            invocations,
            summary="Where the records of several invocations differ",
            description=(
                "Of each difference the pointer leads into the record as `/invocations/{invocation_id}` shows it: into "
                "parameters, result, timings, image, model and what else may differ for a reason."
            ),
            tag="Invocations",
            query=CompareInvocationsQuery,
            answer=InvocationsCompared,
            problems=(errors.InvocationNotFound, errors.StoreUnavailable),
        ),
        Route(
            "GET",
            "/models/{name}/compare",
            versions,
            summary="Metrics and parameters of several versions of a model side by side",
            tag="Models",
            query=CompareVersionsQuery,
            answer=VersionsCompared,
            problems=(errors.ModelNotFound, errors.MlflowUnavailable),
        ),
    ]


def invocations(services: Services, *, query: CompareInvocationsQuery) -> InvocationsCompared:
    """The records of several invocations, compared."""
    found = [find(services, invocation_id) for invocation_id in _split("ids", query.ids)]
    records = {invocation.id: _comparable(invocation) for invocation in found}
    different = list(islice(differences(records), MAX_DIFFERENCES + 1))
    return InvocationsCompared(
        invocations=[ComparedInvocation.of(invocation) for invocation in found],
        differences=[_answer(difference) for difference in different[:MAX_DIFFERENCES]],
        is_truncated=len(different) > MAX_DIFFERENCES,
    )


def versions(services: Services, *, name: str, query: CompareVersionsQuery) -> VersionsCompared:
    """Several versions of a model, compared."""
    found = services.tracking.some_versions(name, _split("versions", query.versions))
    by_number = {version["version"]: version for version in found}
    if len(by_number) < len(found):
        raise _refused("versions", "names one version more than once")
    return VersionsCompared(
        model=name,
        versions=[ComparedVersion.model_validate(version) for version in found],
        metrics=_compared({number: version["metrics"] for number, version in by_number.items()}),
        parameters=_compared({number: version["parameters"] for number, version in by_number.items()}),
    )


def _compared(named: Mapping[str, Mapping[str, Any]]) -> list[ComparedValue]:
    """Each name that any of them has, with the value of each that has it."""
    names = sorted({name for values in named.values() for name in values})
    different = {difference.pointer for difference in differences(dict(named))}
    pointers = {name: "/" + name.replace("~", "~0").replace("/", "~1") for name in names}
    return [
        ComparedValue(
            name=name,
            values={key: values[name] for key, values in named.items() if name in values},
            differs=pointers[name] in different,
        )
        for name in names
    ]


def _comparable(invocation: Invocation) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(as_json(Record.of(invocation)))
    return {name: record[name] for name in _COMPARED if name in record}


def _answer(difference: Difference) -> DifferenceAnswer:
    return DifferenceAnswer(pointer=difference.pointer, values=dict(difference.values))


def _split(name: str, listed: str) -> Sequence[str]:
    """What stands between the commas."""
    parts = listed.split(",")
    if not AT_LEAST <= len(parts) <= AT_MOST:
        raise _refused(name, f"must name {AT_LEAST} to {AT_MOST}, separated by commas")
    if len(set(parts)) < len(parts):
        raise _refused(name, "names one more than once")
    return parts


def _refused(name: str, complaint: str) -> InvalidRequest:
    return InvalidRequest(
        f"The query is not understood: {name} {complaint}.", errors=[FieldError(f"/{name}", complaint)]
    )
