"""Reads a request's body and query into their models, or refuses it."""

from typing import TypeVar

from flask import Request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_options_header

from function_runner.api.problems import field_errors
from function_runner.api.schemas import Body, Query
from function_runner.errors import FieldError, InvalidJson, InvalidRequest, PayloadTooLarge, UnsupportedMediaType
from function_runner.strict_json import StrictJsonError, loads

B = TypeVar("B", bound=Body)
Q = TypeVar("Q", bound=Query)


def read_body(request: Request, model: type[B], *, is_optional: bool = False) -> B:
    """The body as ``model``; where it is optional and there is none, a model of defaults.

    Raises:
        UnsupportedMediaType: it is not sent as application/json, or it is compressed.
        PayloadTooLarge: it is longer than the app's MAX_CONTENT_LENGTH.
        InvalidJson: it is not strict JSON.
        InvalidRequest: it is JSON, but not what ``model`` describes; ``errors`` points to each place.
    """
    if is_optional and not request.content_length and "Transfer-Encoding" not in request.headers:
        return model()
    _check_content_type(request)
    try:
        value = loads(_read(request))
    except StrictJsonError as error:
        raise InvalidJson(f"The body is not strict JSON: {error}.") from error
    if not isinstance(value, dict):
        raise InvalidRequest(f"The body must be a JSON object with the fields {_fields(model)}.")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        complaints = field_errors(error)
        first = complaints[0]
        raise InvalidRequest(
            f"The body is not understood: {first.pointer} {first.detail}. Its fields are {_fields(model)}.",
            errors=complaints,
        ) from error


def read_query(request: Request, model: type[Q]) -> Q:
    """The query as ``model``.

    Raises:
        InvalidRequest: it is not what ``model`` describes, or a name stands in it twice.
    """
    values = request.args.to_dict(flat=False)
    twice = [FieldError(f"/{name}", "stands more than once") for name, found in values.items() if len(found) > 1]
    if twice:
        raise _refused_query(twice, model)
    try:
        return model.model_validate({name: found[0] for name, found in values.items()})
    except ValidationError as error:
        raise _refused_query(field_errors(error), model) from error


def _refused_query(complaints: list[FieldError], model: type[Query]) -> InvalidRequest:
    known = f"Known here: {_fields(model)}." if model.model_fields else "This address takes no query."
    first = complaints[0]
    return InvalidRequest(
        f"The query is not understood: {first.pointer.removeprefix('/')} {first.detail}. {known}", errors=complaints
    )


def _check_content_type(request: Request) -> None:
    if request.headers.get("Content-Encoding"):
        raise UnsupportedMediaType("The body must not be compressed: send it without Content-Encoding.")
    media_type, options = parse_options_header(request.headers.get("Content-Type", ""))
    charset = options.pop("charset", "utf-8").lower()
    if media_type.lower() != "application/json" or charset != "utf-8" or options:
        raise UnsupportedMediaType("The body must be sent as Content-Type: application/json, in UTF-8.")


def _read(request: Request) -> bytes:
    limit = request.max_content_length or 0
    if (request.content_length or 0) <= limit:
        # Of a body whose length is not announced Werkzeug returns what fits; so let one byte more fit, and look.
        request.max_content_length = limit + 1
        try:
            data = request.get_data(cache=False)
        except HTTPException:
            raise
        except Exception as error:  # whatever the server raises for chunks that make no sense
            raise InvalidRequest("The body could not be read to its end.") from error
        if len(data) <= limit:
            return data
    raise PayloadTooLarge(f"The body is larger than {limit} bytes (REQUEST_MAX_BYTES).")


def _fields(model: type[Body] | type[Query]) -> str:
    return ", ".join(model.model_fields)
