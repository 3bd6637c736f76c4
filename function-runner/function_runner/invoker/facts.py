"""What the record, the caller and the container are told of an invocation, made from what is known of it. No I/O."""

from collections.abc import Mapping
from typing import Any

from function_runner.diagnosis import FunctionFacts, attach
from function_runner.errors import Cancelled, Draining, InvalidResult, Lost, QueueTimeout, RunnerError, TimedOut
from function_runner.execution_environment import ExecutionEnvironment
from function_runner.function import Function
from function_runner.invocation import (
    Callback,
    HandOver,
    Invocation,
    ModelVersion,
    Request,
    Start,
    Status,
    utc_now,
)
from function_runner.strict_json import StrictJsonError, loads

MLFLOW_FIELDS = ("run_id", "experiment_id", "model_name", "model_version", "model_uri")
MAX_MLFLOW_LENGTH = 1000


def new_record(invocation_id: str, function: Function, parameters: dict[str, Any], request: Request) -> Invocation:
    """The record as it begins."""
    return Invocation(
        id=invocation_id,
        function=function.name,
        parameters=parameters,
        status=Status.QUEUED,
        created_at=utc_now(),
        timeout_seconds=request.timeout or function.timeout,
        caller=request.caller,
        replay_of=request.replay_of,
        callback=Callback(request.callback_url) if request.callback_url is not None else None,
        source_hash=function.source_hash if function.is_of_then else None,
    )


def hand_over_to(environment: ExecutionEnvironment | None, start: Start | None) -> HandOver | None:
    """What the record keeps of the moment in which this environment gets the invocation; None when there is none."""
    if environment is None or start is None:
        return None
    return HandOver(
        container_name=environment.name,
        start=start,
        started_at=utc_now(),
        source_hash=environment.function.source_hash,
        image_tag=environment.image.tag,
        image_id=environment.image.id,
        base_image_id=environment.image.base_id,
        memory_limit_mb=environment.function.memory_mb,
    )


def model_to_tell(model: ModelVersion | None, environment: ExecutionEnvironment) -> ModelVersion | None:
    """What the container is told about the model; nothing when it has loaded another one that goes by the same name."""
    loaded = environment.model
    if model is None or loaded is None or (model.name, model.version) != (loaded.name, loaded.version):
        return model
    return model if model.registered in (None, loaded.registered) else None


def names_of(invocation: Invocation) -> dict[str, Any]:
    """By what names somebody can find it: members of what a caller is told."""
    names = {"invocation_id": invocation.id, "function": invocation.function}
    if invocation.container_name and invocation.log_file:
        names |= {"container_name": invocation.container_name, "log_file": invocation.log_file}
    return names


def parsed_result(function: str, body: bytes) -> Any:
    """The value that the container's answer holds. Raises InvalidResult: it is not strict JSON."""
    try:
        return loads(body)
    except StrictJsonError as error:
        raise InvalidResult(f"Function {function!r} returned something that is not strict JSON: {error}") from error


def mlflow_facts(
    result: Any, environment: ExecutionEnvironment | None, parameters: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What a result says about MLflow, so that it can be found from there; None when it says nothing."""
    if not isinstance(result, dict):
        return None
    facts = {name: result[name] for name in MLFLOW_FIELDS if _may_be_a_fact(result.get(name))}
    asked = environment.function.model_of(parameters) if environment is not None else None
    if asked is not None and asked[0] == facts.get("model_name"):
        facts["model_alias"] = asked[1]  # the result has the number that it meant
    return facts or None


def _may_be_a_fact(value: Any) -> bool:
    """What names something in MLflow is short; results may hold anything, and the columns of these have an index."""
    is_name = isinstance(value, str | int) and not isinstance(value, bool)
    return is_name and len(str(value)) <= MAX_MLFLOW_LENGTH


def error_record(invocation: Invocation, error: RunnerError) -> dict[str, Any]:
    """What the record keeps of an error."""
    function_error = error.members.get("function_error") or {}
    record: dict[str, Any] = {
        "code": error.code,
        "type": function_error.get("type") or error.title,
        "message": error.detail,
    }
    if function_error.get("stack_trace"):
        record["stack_trace"] = function_error["stack_trace"]
    if error.errors:
        record["errors"] = [{"pointer": entry.pointer, "detail": entry.detail} for entry in error.errors]
    attach(error, FunctionFacts.of_invocation(invocation))  # where nobody has who knew more
    record["diagnosis"] = error.members["diagnosis"]
    return record


def status_of(error: RunnerError) -> Status:
    """In which state an invocation ends that failed like this."""
    if isinstance(error, TimedOut) and error.members.get("phase") == "run":
        return Status.TIMED_OUT
    if isinstance(error, QueueTimeout | Draining | Cancelled):
        return Status.CANCELLED  # by somebody, or it was never handed to anybody
    if isinstance(error, Lost):
        return Status.LOST
    return Status.FAILED


def said_of(status: Status) -> str:
    """How it ended, as the end of a sentence."""
    return {Status.SUCCEEDED: "succeeded", Status.LOST: "was lost", Status.TIMED_OUT: "timed out"}.get(status, "failed")
