"""What a caller is told of an invocation that has ended, or has not yet."""

from typing import Any

from flask import Response

from function_runner.api import problems
from function_runner.api.preferences import Preferences
from function_runner.api.route import as_response
from function_runner.api.schemas import Answer, InvocationAnswer, Record
from function_runner.errors import FieldError, RunnerError, class_of
from function_runner.invocation import Invocation, Request, Status
from function_runner.invoker import Invoker
from function_runner.store import Repeated

POLL_SECONDS = 1  # when to look again


def answer_for(invoker: Invoker, request: Request, preferred: Preferences) -> Response:
    """Run what is asked for, as long as the caller wants to wait for it, and say what came of it."""
    try:
        invocation = run(invoker, request, preferred)
    except Repeated as repeated:
        # Who repeats a request wants its answer, so it waits like the first one did.
        patience = invoker.longest_wait if preferred.patience is None else preferred.patience
        earlier = invoker.wait(repeated.invocation_id, patience)
        return answer(earlier, applied=preferred.applied, is_repeated=True)
    return answer(invocation, applied=preferred.applied)


def run(invoker: Invoker, request: Request, preferred: Preferences) -> Invocation:
    """The record once it has ended well, or when the caller's patience is over.

    Raises:
        RunnerError, Repeated: as `Invoker.invoke` does. With a limited patience a failure is not raised: it is in the
            record.
    """
    if preferred.respond_async:
        submitted = invoker.submit(request)
        return invoker.wait(submitted.id, preferred.patience) if preferred.patience else submitted
    return invoker.invoke(request, patience=preferred.patience)


def answer(invocation: Invocation, *, applied: str = "", is_repeated: bool = False) -> Response:
    """The result, the problem, or 202 with the record where there is neither yet.

    Args:
        applied: the caller's preferences that were honoured.
        is_repeated: the request was a repetition of an earlier one.
    """
    if not invocation.status.is_terminal:
        response = accepted(Record.of(invocation), invocation)
    elif invocation.status is Status.SUCCEEDED:
        response = as_response(InvocationAnswer.of(invocation))
    else:
        response = problems.answer(failure(invocation))
    return with_preferences(response, applied, is_repeated=is_repeated)


def accepted(body: Answer, invocation: Invocation) -> Response:
    """202: it is on record and goes on; where to look for what comes of it."""
    response = as_response(body)
    response.status_code = 202
    response.headers["X-Invocation-Id"] = invocation.id
    response.headers["Location"] = f"/invocations/{invocation.id}"
    response.headers["Retry-After"] = str(POLL_SECONDS)
    return response


def with_preferences(response: Response, applied: str, *, is_repeated: bool = False) -> Response:
    """Say which preferences were honoured, and whether nothing new was done."""
    response.headers["Vary"] = "Prefer"
    if applied:
        response.headers["Preference-Applied"] = applied
    if is_repeated:
        response.headers["Idempotent-Replayed"] = "true"
    return response


def failure(invocation: Invocation) -> RunnerError:
    """The error that the caller of an invocation got, or would have got, from its record."""
    error = invocation.error or {}
    members: dict[str, Any] = {"invocation_id": invocation.id, "function": invocation.function}
    if invocation.container_name and invocation.log_file:
        members |= {"container_name": invocation.container_name, "log_file": invocation.log_file}
    if error.get("stack_trace") is not None:
        members["function_error"] = {name: error.get(name) for name in ("type", "message", "stack_trace")}
    if error.get("diagnosis") is not None:
        members["diagnosis"] = error["diagnosis"]
    if invocation.exit_code is not None:
        members["exit_code"] = invocation.exit_code
    places = [FieldError(entry["pointer"], entry["detail"]) for entry in error.get("errors") or ()]
    return class_of(str(error.get("code")))(error.get("message"), errors=places, **members)
