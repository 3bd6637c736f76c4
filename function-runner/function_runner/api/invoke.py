"""``POST /invoke``."""

from flask import request

from function_runner import errors
from function_runner.api.route import Route
from function_runner.api.schemas import InvocationAnswer, InvokeRequest, invoke_request
from function_runner.api.services import Services
from function_runner.settings import Settings


def routes(settings: Settings) -> list[Route]:
    """The routes of this module."""
    return [
        Route(
            "POST",
            "/invoke",
            invoke,
            summary="Run a function and wait for its result",
            description=(
                "Runs the function once, in a container of its own unless the function asks for reuse. "
                "Preferences in `Prefer` are ignored unless this description says otherwise."
            ),
            tag="Invocations",
            body=invoke_request(settings.max_timeout),
            answer=InvocationAnswer,
            headers=("X-Invocation-Id",),
            problems=(
                errors.InvalidJson,
                errors.UnsupportedMediaType,
                errors.PayloadTooLarge,
                errors.FunctionNotFound,
                errors.FunctionInvalid,
                errors.ParametersInvalid,
                errors.Busy,
                errors.Draining,
                errors.QueueTimeout,
                errors.EngineUnavailable,
                errors.StoreUnavailable,
                errors.LogsUnavailable,
                errors.BuildFailed,
                errors.InitError,
                errors.HandlerError,
                errors.HandlerRefused,
                errors.HandlerNotFound,
                errors.ExitedWithoutResult,
                errors.OutOfMemory,
                errors.Killed,
                errors.Lost,
                errors.InvalidResult,
                errors.ResultTooLarge,
                errors.TimedOut,
            ),
        )
    ]


def invoke(services: Services, *, body: InvokeRequest) -> InvocationAnswer:
    """Run the function and answer with its result."""
    if "Idempotency-Key" in request.headers:
        # Ignoring it would promise a safety that is not there.
        raise errors.InvalidRequest(
            "Idempotency-Key is not supported yet, and ignoring it could run the function twice: send the request "
            "without it, and look into /invocations before you send it again."
        )
    finished = services.invoker.invoke(body.function, body.parameters, timeout=body.timeout, caller=_caller())
    return InvocationAnswer.of(finished)


def _caller() -> str | None:
    """Who asks, for the record: the address that NGINX saw. It overwrites what the client says of itself."""
    return request.headers.get("X-Forwarded-For", "")[:200] or None
