"""Everything that can go wrong and that a user or an operator can meet.

Each class carries a stable ``code``, an HTTP ``status`` and, as its docstring, the sentence that is shown when nothing
more precise is known. The API turns any of them into one shape (RFC 9457, ``application/problem+json``). Python's own
exceptions are left for bugs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self


@dataclass(frozen=True)
class FieldError:
    """One complaint about one place of the input; ``pointer`` is a JSON Pointer (RFC 6901)."""

    pointer: str
    detail: str


class RunnerError(Exception):
    """Something went wrong in the function runner."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    # Seconds after which trying again makes sense, unless the one who raises knows better; None: it makes none.
    usual_retry_after: ClassVar[int | None] = None

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        retry_after: int | None = None,
        **members: Any,
    ) -> None:
        """``members`` are further fields of the problem document, e.g. ``function`` or ``exit_code``."""
        self.detail = detail or " ".join((type(self).__doc__ or "").split())
        self.errors = tuple(errors)
        self.retry_after = self.usual_retry_after if retry_after is None else retry_after  # whole seconds
        self.members: Mapping[str, Any] = members
        super().__init__(self.detail)

    def again(self) -> Self:
        """An equal error of its own, for one more caller: callers add to ``members`` what concerns only them."""
        return type(self)(self.detail, errors=self.errors, retry_after=self.retry_after, **self.members)


# --- what the caller sent -------------------------------------------------------------------------------------------


class InvalidJson(RunnerError):
    """The body is not strict JSON."""

    code, status, title = "invalid_json", 400, "Invalid JSON"


class InvalidRequest(RunnerError):
    """The request is not understood."""

    code, status, title = "invalid_request", 400, "Invalid request"


class ForbiddenOrigin(RunnerError):
    """This request comes from a page of another origin; such requests are refused."""

    code, status, title = "forbidden_origin", 403, "Forbidden origin"


class NotFound(RunnerError):
    """There is nothing at this address."""

    code, status, title = "not_found", 404, "Not found"


class FunctionNotFound(NotFound):
    """There is no such function."""

    code, title = "function_not_found", "Function not found"


class InvocationNotFound(NotFound):
    """There is no such invocation."""

    code, title = "invocation_not_found", "Invocation not found"


class LogExpired(RunnerError):
    """The log of this invocation was removed, because logs are not kept for ever."""

    code, status, title = "log_expired", 410, "Log removed"


class ModelNotFound(NotFound):
    """There is no such model or model version."""

    code, title = "model_not_found", "Model not found"


class ExperimentNotFound(NotFound):
    """There is no such experiment."""

    code, title = "experiment_not_found", "Experiment not found"


class MethodNotAllowed(RunnerError):
    """This address does not answer to this method."""

    code, status, title = "method_not_allowed", 405, "Method not allowed"


class FunctionInvalid(RunnerError):
    """The function's folder cannot be used as it is."""

    code, status, title = "function_invalid", 409, "Function invalid"


class AlreadyEnded(RunnerError):
    """The invocation has ended already."""

    code, status, title = "already_ended", 409, "Already ended"


class AliasMoved(RunnerError):
    """The alias points to another version than was expected: somebody has moved it."""

    code, status, title = "alias_moved", 409, "Alias moved"


class NoEarlierVersion(RunnerError):
    """The alias did not exist before its last move: there is nothing to roll back to."""

    code, status, title = "no_earlier_version", 409, "No earlier version"


class PayloadTooLarge(RunnerError):
    """The body is too large."""

    code, status, title = "payload_too_large", 413, "Payload too large"


class UnsupportedMediaType(RunnerError):
    """The body must be sent as application/json."""

    code, status, title = "unsupported_media_type", 415, "Unsupported media type"


class MisdirectedRequest(RunnerError):
    """This server does not answer for the host name in the request."""

    code, status, title = "misdirected_request", 421, "Misdirected request"


class ParametersInvalid(RunnerError):
    """The parameters do not fit the function's schema."""

    code, status, title = "parameters_invalid", 422, "Parameters invalid"


class CallbackRefused(RunnerError):
    """The callback_url cannot be used."""

    code, status, title = "callback_refused", 422, "Callback refused"


class IdempotencyKeyReused(RunnerError):
    """This Idempotency-Key belongs to another request."""

    code, status, title = "idempotency_key_reused", 422, "Idempotency key reused"


# --- the house is busy, leaving, or a neighbour is away ---------------------------------------------------------------


class Busy(RunnerError):
    """Too many invocations are running or waiting; try again later."""

    code, status, title = "busy", 429, "Busy"
    usual_retry_after = 1


class Draining(RunnerError):
    """The function runner is shutting down and takes no new invocations; try again in a moment."""

    code, status, title = "draining", 503, "Shutting down"
    usual_retry_after = 5


class QueueTimeout(RunnerError):
    """The invocation waited too long for a free place and was given up before it started."""

    code, status, title = "queue_timeout", 503, "Waited too long"
    usual_retry_after = 5


class EngineUnavailable(RunnerError):
    """The container engine does not answer; is Docker running?"""

    code, status, title = "engine_unavailable", 503, "Container engine unavailable"
    usual_retry_after = 10


class StoreUnavailable(RunnerError):
    """The record of invocations cannot be written right now; nothing was started."""

    code, status, title = "store_unavailable", 503, "Record unavailable"
    usual_retry_after = 5


class DiskFull(RunnerError):
    """There is too little room on the disk of the records; nothing was started."""

    code, status, title = "disk_full", 507, "Disk full"
    usual_retry_after = 60


class LogsUnavailable(RunnerError):
    """The log file cannot be created; is the disk full, or the logs folder read-only? Nothing was started."""

    code, status, title = "logs_unavailable", 503, "Logs unavailable"
    usual_retry_after = 30


class TooManyFollowers(RunnerError):
    """Too many logs are being followed; try again later, or read the log without following it."""

    code, status, title = "too_many_followers", 503, "Too many followers"
    usual_retry_after = 5


class MlflowUnavailable(RunnerError):
    """MLflow does not answer as expected."""

    code, status, title = "mlflow_unavailable", 502, "MLflow unavailable"


# --- the invocation itself failed -------------------------------------------------------------------------------------


class InvocationFailed(RunnerError):
    """The invocation failed."""

    code, status, title = "invocation_failed", 502, "Invocation failed"


class BuildFailed(InvocationFailed):
    """The function's image could not be built; its build log says why."""

    code, status, title = "build_failed", 500, "Build failed"


class InitError(InvocationFailed):
    """The function's module could not be loaded; its log says why."""

    code, status, title = "init_error", 502, "Function failed to start"


class HandlerError(InvocationFailed):
    """The handler raised an exception."""

    code, status, title = "handler_error", 500, "Handler error"


class HandlerRefused(InvocationFailed):
    """The handler refused the parameters."""

    code, status, title = "handler_refused", 422, "Parameters refused"


class HandlerNotFound(InvocationFailed):
    """The handler did not find what the parameters name."""

    code, status, title = "handler_not_found", 404, "Not found by the function"


class ExitedWithoutResult(InvocationFailed):
    """The container ended without returning a result."""

    code, status, title = "exited_without_result", 502, "Exited without a result"


class OutOfMemory(InvocationFailed):
    """The container was ended because it needed more memory than its limit."""

    code, status, title = "out_of_memory", 502, "Out of memory"


class Cancelled(InvocationFailed):
    """The invocation was cancelled."""

    code, status, title = "cancelled", 409, "Cancelled"


class Expired(InvocationFailed):
    """The invocation waited longer than it may, and was given up."""

    code, status, title = "expired", 503, "Waited too long"


class HandlerUnavailable(InvocationFailed):
    """The handler did not reach a service that it needs."""

    code, status, title = "dependency_unavailable", 503, "A dependency is unavailable"
    usual_retry_after = 10


class ImageGone(InvocationFailed):
    """The image that the invocation ran in then is not there any more."""

    code, status, title = "image_gone", 409, "Image gone"


class Killed(InvocationFailed):
    """The container was killed or removed from outside before it returned a result."""

    code, status, title = "killed", 502, "Killed"


class InvalidResult(InvocationFailed):
    """The handler returned something that is not strict JSON."""

    code, status, title = "invalid_result", 502, "Invalid result"


class ResultTooLarge(InvocationFailed):
    """The handler returned more than a result may hold; store it as an artifact and return its address."""

    code, status, title = "result_too_large", 502, "Result too large"


class TimedOut(InvocationFailed):
    """The handler did not finish in time; its container was killed."""

    code, status, title = "timed_out", 504, "Timed out"


class Lost(InvocationFailed):
    """The runner lost sight of the invocation; whether it finished cannot be known."""

    code, status, title = "lost", 502, "Lost"


class SettingsError(RunnerError):
    """The settings cannot be used."""

    code, status, title = "settings_error", 500, "Settings error"


def class_of(code: str) -> type[RunnerError]:
    """The class with this code; `RunnerError` itself for one that is not known (any more)."""
    waiting = [RunnerError]
    while waiting:
        candidate = waiting.pop()
        if candidate.code == code:
            return candidate
        waiting += candidate.__subclasses__()
    return RunnerError
