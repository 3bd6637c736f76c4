"""The HTTP face of the function runner: thin routes over the services, and one shape for every error."""

from collections.abc import Sequence

from flask import Flask, Response, request

from function_runner.api import (
    aliases,
    compare,
    debug,
    experiments,
    functions,
    invocations,
    invoke,
    models,
    operations,
    problems,
    statistics,
)
from function_runner.api.docs import Docs
from function_runner.api.guard import Guard
from function_runner.api.route import Route, serve
from function_runner.api.schemas import Record, WholeRecord
from function_runner.api.services import Services
from function_runner.api.writing import as_json
from function_runner.invocation import Event, Invocation

__all__ = ["Services", "register", "render"]


def register(app: Flask, services: Services) -> None:
    """Let ``app`` answer every route of the API."""
    settings = services.settings
    app.config["MAX_CONTENT_LENGTH"] = settings.request_max_bytes
    # An address has one spelling: nothing is redirected.
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False

    guard = Guard(settings.allowed_hosts)
    app.before_request(lambda: guard.check(request))
    app.after_request(_finish)
    problems.register(app)
    for route in all_routes(services):
        serve(app, route, services)


def all_routes(services: Services) -> list[Route]:
    """Every route, in the order of the documentation."""
    routes = [
        *invoke.routes(services.settings),
        *invocations.routes(),
        *statistics.routes(),
        *compare.routes(),
        *functions.routes(),
        *models.routes(),
        *aliases.routes(),
        *experiments.routes(),
        *debug.routes(services),
        *operations.routes(services),
    ]
    return [*routes, *Docs(routes).routes]


def render(invocation: Invocation, events: Sequence[Event]) -> bytes:
    """The record of an invocation that has ended, as ``GET /invocations/{invocation_id}`` shows it."""
    return as_json(WholeRecord.with_events(Record.of(invocation), events))


def _finish(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    # What is shown is the state of this moment; a stylesheet may be kept.
    kept = response.mimetype == "text/css"
    response.headers.setdefault("Cache-Control", "public, max-age=300" if kept else "no-store")
    return response
