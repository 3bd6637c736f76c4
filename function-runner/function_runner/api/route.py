"""A route: declared once, and from that served, checked and described."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, request

from function_runner.api.inputs import read_body, read_query
from function_runner.api.schemas import Answer, Body, Query
from function_runner.api.services import Services
from function_runner.api.writing import as_json
from function_runner.errors import RunnerError


@dataclass(frozen=True)
class Route:
    """One method at one address.

    ``handler`` gets the services and, by name, the variables of the path and what is declared of ``body`` and
    ``query``. It returns its answer's model, or a whole response where the answer is not JSON.
    """

    method: str
    path: str  # as OpenAPI writes it: /invocations/{invocation_id}
    handler: Callable[..., Answer | Response]
    summary: str
    tag: str
    answer: type[Answer] | str  # a model, or the media type of an answer that is not JSON
    body: type[Body] | None = None
    query: type[Query] = Query
    problems: tuple[type[RunnerError], ...] = ()
    description: str = ""
    headers: tuple[str, ...] = ()  # names of the answer's headers worth describing
    also: tuple[int, ...] = ()  # further statuses with the same answer
    also_as: tuple[str, ...] = ()  # further media types of the answer, for who asks for them with Accept
    accepted: type[Answer] | None = None  # the answer with status 202, for what goes on after it
    request_headers: tuple[str, ...] = ()  # names of headers that are understood
    body_is_optional: bool = False
    hidden: bool = field(default=False)  # serves other routes, e.g. a stylesheet

    @property
    def name(self) -> str:
        """Unique and stable: OpenAPI's operationId and Flask's endpoint."""
        return f"{self.handler.__module__.rpartition('.')[2]}_{self.handler.__name__}"


def serve(app: Flask, route: Route, services: Services) -> None:
    """Let ``app`` answer ``route``."""

    def view(**variables: str) -> Response:
        arguments: dict[str, Any] = dict(variables)
        query = read_query(request, route.query)
        if route.query is not Query:
            arguments["query"] = query
        if route.body is not None:
            arguments["body"] = read_body(request, route.body, is_optional=route.body_is_optional)
        return as_response(route.handler(services, **arguments))

    rule = route.path.replace("{", "<").replace("}", ">")
    app.add_url_rule(rule, route.name, view, methods=[route.method], provide_automatic_options=False)


def as_response(answer: Answer | Response) -> Response:
    """The response that carries ``answer``. One about an invocation names it in a header too."""
    if isinstance(answer, Response):
        return answer
    response = Response(as_json(answer), content_type="application/json")
    invocation_id = getattr(answer, "invocation_id", None)
    if invocation_id is not None:
        response.headers["X-Invocation-Id"] = invocation_id
    return response
