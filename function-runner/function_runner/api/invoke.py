"""``POST /invoke``."""

from flask import Response, request

from function_runner import errors
from function_runner.api import outcome
from function_runner.api.preferences import idempotency_key, preferences
from function_runner.api.route import Route
from function_runner.api.schemas import InvocationAnswer, InvokeRequest, Record, invoke_request
from function_runner.api.services import Services
from function_runner.invocation import Request
from function_runner.settings import Settings


def routes(settings: Settings) -> list[Route]:
    """The routes of this module."""
    return [
        Route(
            "POST",
            "/invoke",
            invoke,
            summary="Run a function",
            description=(
                "Runs the function once, in a container of its own unless the function asks for reuse, and answers "
                "with its result. With `Prefer: respond-async` the answer is 202 as soon as the invocation is on "
                "record; with `Prefer: wait=n` it is the result when there is one within `n` seconds, and else 202. "
                "A repetition of a request with the same `Idempotency-Key` gets what came of the first one."
            ),
            tag="Invocations",
            body=invoke_request(settings.max_timeout),
            answer=InvocationAnswer,
            accepted=Record,
            headers=("X-Invocation-Id", "Preference-Applied", "Idempotent-Replayed"),
            request_headers=("Prefer", "Idempotency-Key"),
            problems=(
                errors.FunctionNotFound,
                errors.FunctionInvalid,
                errors.ParametersInvalid,
                errors.IdempotencyKeyReused,
                errors.CallbackRefused,
                errors.Busy,
                errors.Draining,
                errors.QueueTimeout,
                errors.EngineUnavailable,
                errors.StoreUnavailable,
                errors.DiskFull,
                errors.LogsUnavailable,
                errors.BuildFailed,
                errors.InitError,
                errors.HandlerError,
                errors.HandlerRefused,
                errors.HandlerNotFound,
                errors.HandlerUnavailable,
                errors.ExitedWithoutResult,
                errors.OutOfMemory,
                errors.Killed,
                errors.Cancelled,
                errors.Expired,
                errors.ImageGone,
                errors.Lost,
                errors.InvalidResult,
                errors.ResultTooLarge,
                errors.TimedOut,
            ),
        )
    ]


def invoke(services: Services, *, body: InvokeRequest) -> Response:
    """Run the function, and answer with its result or with where that will be found."""
    preferred = preferences(request, longest_wait=services.settings.max_timeout)
    wanted = Request(
        body.function,
        body.parameters,
        timeout=body.timeout,
        caller=caller(),
        idempotency_key=idempotency_key(request),
        callback_url=body.callback_url,
    )
    return outcome.answer_for(services.invoker, wanted, preferred)


def caller() -> str | None:
    """Who asks, for the record: the address that NGINX saw. It overwrites what the client says of itself."""
    return request.headers.get("X-Forwarded-For", "")[:200] or None
