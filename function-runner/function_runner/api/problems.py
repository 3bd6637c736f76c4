"""Every error becomes one shape: a problem document (RFC 9457), whoever raised it."""

import logging
import re
import secrets
from typing import Any

from flask import Flask, Response
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from function_runner import errors
from function_runner.api.schemas import Problem, ProblemError
from function_runner.api.writing import as_json
from function_runner.errors import FieldError, RunnerError

CONTENT_TYPE = "application/problem+json"
MAX_FIELD_ERRORS = 20

log = logging.getLogger(__name__)


def register(app: Flask) -> None:
    """Answer every error of ``app`` with a problem document."""
    app.register_error_handler(RunnerError, answer)
    app.register_error_handler(HTTPException, _answer_http_error)
    app.register_error_handler(Exception, _answer_bug)


def answer(error: RunnerError) -> Response:
    """The problem document that tells of ``error``."""
    invocation_id = error.members.get("invocation_id")
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "instance": f"/invocations/{invocation_id}" if invocation_id else None,
        "errors": [ProblemError(pointer=entry.pointer, detail=entry.detail) for entry in error.errors] or None,
        "retry_after": error.retry_after,
    }
    try:
        document = Problem(**{**error.members, **problem})
    except ValidationError:
        # Whoever raised it attached something odd. The report of an error must not fail in turn.
        log.exception("members of %s are left out", error.code, extra={"action": "odd_problem"})
        document = Problem(**problem)
    response = Response(as_json(document, leave_out_none=True), error.status, content_type=CONTENT_TYPE)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if invocation_id:
        response.headers["X-Invocation-Id"] = str(invocation_id)
    return response


def field_errors(error: ValidationError) -> list[FieldError]:
    """What pydantic complains of, as JSON Pointers and words."""
    found = error.errors(include_url=False, include_context=True, include_input=False)
    return [FieldError(_pointer(item["loc"]), _words(item)) for item in found[:MAX_FIELD_ERRORS]]


def _answer_http_error(error: HTTPException) -> Response:
    """What Flask and Werkzeug raise by themselves."""
    match error:
        case MethodNotAllowed():
            allowed = ", ".join(sorted(error.valid_methods or ()))
            response = answer(errors.MethodNotAllowed(f"This address answers only to {allowed}."))
            response.headers["Allow"] = allowed
            return response
        case RequestEntityTooLarge():
            return answer(errors.PayloadTooLarge())
        case HTTPException(code=404):
            return answer(errors.NotFound("There is nothing at this address; /docs lists what there is."))
        case HTTPException(code=int(status)) if 400 < status < 500:
            return _answer_rare(error, status)
        case HTTPException(code=400):
            return answer(errors.InvalidRequest())
        case _:
            return _answer_bug(error)


def _answer_rare(error: HTTPException, status: int) -> Response:
    """A refusal of Werkzeug's that we have no words of our own for."""
    title = error.name
    problem = Problem(
        type="about:blank",
        title=title,
        status=status,
        detail=error.description or f"{title}.",
        code=re.sub(r"[^a-z0-9]+", "_", title.lower()),
    )
    return Response(as_json(problem, leave_out_none=True), status, content_type=CONTENT_TYPE)


def _answer_bug(error: Exception) -> Response:
    """Anything else is a bug of ours: the log gets all of it, the caller a number to find it by."""
    error_id = secrets.token_hex(6)
    log.error("internal error %s", error_id, exc_info=error, extra={"action": "internal_error", "error_id": error_id})
    detail = f"Something went wrong in the function runner; its log tells more under the id {error_id}."
    return answer(RunnerError(detail, error_id=error_id))


def _pointer(location: tuple[int | str, ...]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def _words(item: Any) -> str:
    """One complaint of pydantic in the words that the rest of the API uses."""
    context = item.get("ctx", {})
    match item["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            return "is not known here"
        case "string_type" | "dict_type" | "float_type" | "int_type" | "bool_type" | "model_type":
            return f"must be of type {_TYPES[item['type'].removesuffix('_type')]}"
        case "greater_than":
            return f"must be greater than {context['gt']:g}"
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}"
        case "less_than_equal":
            return f"must be at most {context['le']:g}"
        case "string_too_short":
            return f"must have at least {context['min_length']} characters"
        case "string_too_long":
            return f"must have at most {context['max_length']} characters"
        case "string_pattern_mismatch":
            return f"must match {context['pattern']}"
        case "enum" | "literal_error":
            return f"must be one of {context['expected']}"
        case "value_error":
            return str(context["error"])
        case _:
            message: str = item["msg"]
            return message[:1].lower() + message[1:]


_TYPES = {
    "string": "string",
    "dict": "object",
    "model": "object",
    "float": "number",
    "int": "integer",
    "bool": "boolean",
}
