"""``/openapi.json`` for programs and ``/docs`` for people."""

import shlex
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from flask import Response
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from function_runner import __version__, errors
from function_runner.api.openapi import SCHEMAS, TAGS, describe, with_functions
from function_runner.api.route import Route
from function_runner.api.services import Services
from function_runner.errors import RunnerError
from function_runner.strict_json import dumps

POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

_TEMPLATES = Path(__file__).parent / "templates"


class Docs:
    """The description of all routes, and its page. Made when somebody asks for it first."""

    def __init__(self, others: Sequence[Route]) -> None:
        """``others``: the routes to describe besides our own."""
        self.routes = [
            Route(
                "GET",
                "/openapi.json",
                self.document,
                summary="This description, as OpenAPI 3.1",
                tag="Operations",
                answer="application/json",
            ),
            Route("GET", "/docs", self.page, summary="This description, to read", tag="Operations", answer="text/html"),
            Route("GET", "/docs/style.css", self.style, summary="", tag="Operations", answer="text/css", hidden=True),
        ]
        self._others = others

    def document(self, services: Services) -> Response:
        """The OpenAPI document."""
        return Response(dumps(self._current(services)), content_type="application/json")

    def page(self, services: Services) -> Response:
        """The page, made from the document."""
        document = self._current(services)
        html = self._template.render(
            document=document,
            version=__version__,
            groups=_groups(document),
            problems=problem_codes(),
            fields=_fields,
            curl=_curl,
        )
        response = Response(html, content_type="text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = POLICY
        return response

    def style(self, _services: Services) -> Response:
        """The page's stylesheet."""
        return Response(self._style, content_type="text/css; charset=utf-8")

    @cached_property
    def _template(self) -> Template:
        pages = Environment(loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined)
        pages.filters["prose"] = _prose
        pages.trim_blocks = pages.lstrip_blocks = True
        return pages.get_template("docs.html")

    @cached_property
    def _style(self) -> bytes:
        return (_TEMPLATES / "style.css").read_bytes()

    @cached_property
    def _document(self) -> dict[str, Any]:
        return describe([*self._others, *self.routes])

    def _current(self, services: Services) -> dict[str, Any]:
        functions = (entry.function for entry in services.catalog.list())
        return with_functions(self._document, [function for function in functions if function is not None])


def problem_codes() -> list[type[RunnerError]]:
    """Every kind of problem that can be answered, by status and code."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RunnerError)]
    # The first prevents the start, the second is never answered as itself.
    kinds = [kind for kind in kinds if kind not in (errors.SettingsError, errors.InvocationFailed)]
    return sorted(kinds, key=lambda kind: (kind.status, kind.code))


def _prose(text: str) -> Markup:
    """Text with `code` in backticks, and nothing else of Markdown, as HTML."""
    parts = enumerate(str(text).split("`"))
    return Markup("").join(Markup("<code>{}</code>").format(part) if odd % 2 else escape(part) for odd, part in parts)


def _groups(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The operations of the document, by tag, in the tags' order."""
    operations = [
        {**operation, "method": method.upper(), "path": path}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return [
        {"name": tag, "description": text, "operations": [each for each in operations if tag in each["tags"]]}
        for tag, text in TAGS.items()
    ]


def _fields(document: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each property of an object's schema, for a table."""
    target = _resolved(document, schema)
    required = target.get("required", [])
    return [
        {
            "name": name,
            "type": _kind(document, declared),
            "required": name in required,
            "default": dumps(declared["default"]).decode() if declared.get("default") is not None else None,
            "description": declared.get("description") or "",
            "limits": _limits(declared),
        }
        for name, declared in target.get("properties", {}).items()
        if isinstance(declared, dict)
    ]


def _curl(operation: dict[str, Any], body: Any) -> str:
    """The call as one would type it into a shell."""
    return (
        f"curl -X {operation['method']} http://localhost{operation['path']} -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(dumps(body, spaced=True).decode())}"
    )


def _kind(document: dict[str, Any], schema: dict[str, Any]) -> str:
    """The type in a few words: ``integer or null``, ``list of Record``, ``one of "a", "b"``."""
    if "$ref" in schema:
        target = _resolved(document, schema)
        return _kind(document, target) if "enum" in target else str(schema["$ref"].removeprefix(SCHEMAS))
    if "const" in schema:
        return dumps(schema["const"]).decode()
    if "enum" in schema:
        return "one of " + ", ".join(dumps(value).decode() for value in schema["enum"])
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return " or ".join(dict.fromkeys(_kind(document, choice) for choice in schema[word]))
    declared = schema.get("type", "anything")
    if declared == "array" and isinstance(schema.get("items"), dict):
        return f"list of {_kind(document, schema['items'])}"
    return " or ".join(declared) if isinstance(declared, list) else str(declared)


def _limits(schema: dict[str, Any]) -> str:
    """Bounds in a few words."""
    words = {
        "minimum": "≥ {}",
        "exclusiveMinimum": "> {}",
        "maximum": "≤ {}",
        "exclusiveMaximum": "< {}",
        "minItems": "at least {} items",
        "maxItems": "at most {} items",
        "maxLength": "at most {} characters",
        "pattern": "matches {}",
    }
    bounds = {**schema}
    for choice in schema.get("anyOf", []):
        bounds.update(choice)
    return ", ".join(text.format(_plain(bounds[name])) for name, text in words.items() if name in bounds)


def _plain(bound: Any) -> Any:
    """900.0 as people write it."""
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref", "")
    if not reference.startswith(SCHEMAS):
        return schema
    found: dict[str, Any] = document["components"]["schemas"].get(reference.removeprefix(SCHEMAS), {})
    return found
