"""The OpenAPI description, made from the routes and models that serve; nothing is written down twice."""

import copy
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from function_runner import __version__, errors
from function_runner.api.problems import CONTENT_TYPE
from function_runner.api.route import Route
from function_runner.api.schemas import Problem
from function_runner.errors import RunnerError
from function_runner.function import Function

SCHEMAS = "#/components/schemas/"
JSON = "application/json"

# Any route may answer these.
EVERYWHERE: tuple[type[RunnerError], ...] = (errors.InvalidRequest, errors.MisdirectedRequest, RunnerError)

TAGS = {
    "Invocations": "Run functions, and look at what ran.",
    "Functions": "What can be run.",
    "Models": "What MLflow keeps: models, versions, experiments, runs.",
    "Operations": "How the system is.",
}

HEADERS = {
    "X-Invocation-Id": {"description": "Id of the accepted invocation.", "schema": {"type": "string"}},
    "Retry-After": {
        "description": "Seconds after which it is worth trying again.",
        "schema": {"type": "integer", "minimum": 0},
    },
}

HEADERS |= {
    "Location": {"description": "Address of the record.", "schema": {"type": "string"}},
    "Preference-Applied": {"description": "The preferences that were honoured.", "schema": {"type": "string"}},
    "Idempotent-Replayed": {
        "description": "`true` when nothing new was done: the request repeats an earlier one with its key.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}

REQUEST_HEADERS = {
    "Prefer": {
        "description": (
            "`respond-async`: answer 202 at once and go on in the background. `wait=n`: wait at most `n` seconds for "
            "the end, then answer 202. Together: wait, then go on in the background."
        ),
        "schema": {"type": "string", "examples": ["respond-async", "wait=10", "respond-async, wait=10"]},
    },
    "Idempotency-Key": {
        "description": (
            "A string that stands for this request, for 24 hours: sent again with the same parameters, nothing is run "
            "again and the answer is that of the first one; with others it is refused."
        ),
        "schema": {"type": "string", "maxLength": 257, "examples": ['"4f1b0d4e-8d5c-4b9e-9d5b-0c6a3d1b7e42"']},
    },
}

# Members of a JSON Schema that hold data, not schemas.
_DATA = frozenset({"const", "default", "enum", "example", "examples"})


def describe(routes: Sequence[Route]) -> dict[str, Any]:
    """The document without the functions, which may change while the runner runs; see `with_functions`."""
    visible = [route for route in routes if not route.hidden]
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for route in visible:
        paths[route.path][route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Function runner",
            "version": __version__,
            "description": "Runs every invocation of a function in its own fresh container.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": dict(paths),
        "components": {"schemas": _schemas(visible)},
    }


def with_functions(document: dict[str, Any], functions: Iterable[Function]) -> dict[str, Any]:
    """A copy of ``document`` in which `/invoke` knows the functions and the schema of each one's parameters."""
    complete = copy.deepcopy(document)
    schemas = complete["components"]["schemas"]
    request = schemas["InvokeRequest"]
    choices = []
    examples = {}
    for function in functions:
        parameters_name, request_name = f"{function.name}.parameters", f"{function.name}.request"
        schemas[parameters_name] = _relocated(function.schema or {"type": "object"}, SCHEMAS + parameters_name)
        choice = copy.deepcopy(request)
        choice["title"] = f"Invoke {function.name}"
        choice["properties"]["function"] = {"const": function.name, "type": "string"}
        choice["properties"]["parameters"] = {"$ref": SCHEMAS + parameters_name}
        if (function.schema or {}).get("required"):
            choice["required"] = [*choice["required"], "parameters"]
        schemas[request_name] = choice
        choices.append({"$ref": SCHEMAS + request_name})
        for example in function.examples:
            value = {"function": function.name, "parameters": example["parameters"]}
            examples[f"{function.name}: {example['name']}"] = {"value": value}
    if choices:
        content = complete["paths"]["/invoke"]["post"]["requestBody"]["content"][JSON]
        content["schema"] = {"oneOf": choices}
        if examples:
            content["examples"] = examples
    return complete


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.tag],
        "responses": _responses(route),
    }
    if route.description:
        operation["description"] = route.description
    parameters = [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        required = not route.body_is_optional
        operation["requestBody"] = {"required": required, "content": {JSON: {"schema": _reference(route.body)}}}
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]


def _header_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "required": False, **REQUEST_HEADERS[name]} for name in route.request_headers
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    schema = route.query.model_json_schema(ref_template=SCHEMAS + "{model}")
    definitions = schema.get("$defs", {})
    parameters = []
    for name, declared in schema.get("properties", {}).items():
        parameter = {"name": name, "in": "query", "required": name in schema.get("required", ())}
        own = _without_null(declared, definitions)
        if description := own.pop("description", None):
            parameter["description"] = description
        parameter["schema"] = own
        parameters.append(parameter)
    return parameters


def _without_null(declared: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a query parameter. In a query nothing is null: what is not there is not there."""
    schema = {name: value for name, value in declared.items() if name != "title"}
    if schema.get("default", ...) is None:
        del schema["default"]
    choices = [choice for choice in schema.pop("anyOf", []) if choice != {"type": "null"}]
    for choice in choices:
        schema = {**choice, **schema}
    if reference := schema.pop("$ref", None):
        target = definitions[reference.removeprefix(SCHEMAS)]
        schema = {**{name: value for name, value in target.items() if name != "title"}, **schema}
    return schema


def _responses(route: Route) -> dict[str, Any]:
    content = _content(route.answer)
    for media_type in route.also_as:
        content |= _content(media_type)
    responses: dict[str, Any] = {}
    for status in (200, *route.also):
        response: dict[str, Any] = {"description": route.summary if status == 200 else "Not now.", "content": content}
        if route.headers:
            response["headers"] = {name: HEADERS[name] for name in route.headers}
        responses[str(status)] = response
    if route.accepted is not None:
        names = dict.fromkeys((*route.headers, "Location", "Retry-After"))
        responses["202"] = {
            "description": "It is on record and goes on; `Location` tells what comes of it.",
            "content": _content(route.accepted),
            "headers": {name: HEADERS[name] for name in names},
        }
    by_status = defaultdict(list)
    unsafe = () if route.method == "GET" else (errors.ForbiddenOrigin,)
    unreadable = (errors.InvalidJson, errors.UnsupportedMediaType, errors.PayloadTooLarge) if route.body else ()
    for problem in dict.fromkeys((*route.problems, *unreadable, *unsafe, *EVERYWHERE)):
        by_status[problem.status].append(problem)
    for status, problems in sorted(by_status.items()):
        lines = [f"- `{problem.code}`: {' '.join((problem.__doc__ or '').split())}" for problem in problems]
        responses[str(status)] = {
            "description": "\n".join(lines),
            "headers": {name: HEADERS[name] for name in ("X-Invocation-Id", "Retry-After")},
            "content": {CONTENT_TYPE: {"schema": _reference(Problem)}},
        }
    return responses


def _schemas(routes: Sequence[Route]) -> dict[str, Any]:
    bodies = {route.body.__name__: route.body for route in routes if route.body is not None}
    used: dict[tuple[type[BaseModel], Any], None] = {(model, "validation"): None for model in bodies.values()}
    used[(Problem, "serialization")] = None
    answers = [answer for route in routes for answer in (route.answer, route.accepted)]
    used |= {
        (answer, "serialization"): None for answer in answers if answer is not None and not isinstance(answer, str)
    }
    _, definitions = models_json_schema(list(used), ref_template=SCHEMAS + "{model}")
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


def _content(answer: type[BaseModel] | str) -> dict[str, Any]:
    if not isinstance(answer, str):
        return {JSON: {"schema": _reference(answer)}}
    return {answer: {"schema": {"type": "object" if answer == JSON else "string"}}}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": SCHEMAS + model.__name__}


def _relocated(schema: Any, home: str) -> Any:
    """A function's schema, moved into this document: its references to itself start at its new home."""
    if isinstance(schema, list):
        return [_relocated(item, home) for item in schema]
    if not isinstance(schema, dict) and not hasattr(schema, "items"):
        return schema
    moved = {}
    for name, value in schema.items():
        if name in ("$schema", "$id") and isinstance(value, str):
            continue
        if name == "$ref" and isinstance(value, str):
            moved[name] = home + value.removeprefix("#") if value == "#" or value.startswith("#/") else value
        elif name in _DATA and not isinstance(value, dict):
            moved[name] = value
        else:
            moved[name] = _relocated(value, home)
    return moved
