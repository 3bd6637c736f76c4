"""``/invocations``: the history, each record, and its log."""

import re

from flask import Response

from function_runner import errors
from function_runner.api.route import Route
from function_runner.api.schemas import InvocationPage, InvocationsQuery, LogsQuery, Record
from function_runner.api.services import Services
from function_runner.api.text import as_text
from function_runner.invocation import Invocation, Status

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def routes() -> list[Route]:
    """The routes of this module."""
    return [
        Route(
            "GET",
            "/invocations",
            search,
            summary="List invocations, newest first",
            tag="Invocations",
            query=InvocationsQuery,
            answer=InvocationPage,
            problems=(errors.StoreUnavailable,),
        ),
        Route(
            "GET",
            "/invocations/{invocation_id}",
            show,
            summary="The record of an invocation",
            tag="Invocations",
            answer=Record,
            headers=("X-Invocation-Id",),
            problems=(errors.InvocationNotFound, errors.StoreUnavailable),
        ),
        Route(
            "GET",
            "/invocations/{invocation_id}/logs",
            logs,
            summary="The log of an invocation",
            description="What the function printed, between the lines START, END and REPORT.",
            tag="Invocations",
            query=LogsQuery,
            answer="text/plain",
            headers=("X-Invocation-Id",),
            problems=(errors.InvocationNotFound, errors.NotFound, errors.StoreUnavailable),
        ),
    ]


def search(services: Services, *, query: InvocationsQuery) -> InvocationPage:
    """One page of records."""
    found, cursor = services.store.search(
        function=query.function, status=query.status, limit=query.limit, before=query.before
    )
    return InvocationPage(invocations=[_record(services, invocation) for invocation in found], next=cursor)


def show(services: Services, *, invocation_id: str) -> Record:
    """The record of an invocation."""
    return _record(services, _find(services, invocation_id))


def logs(services: Services, *, invocation_id: str, query: LogsQuery) -> Response:
    """The log of an invocation, or its last lines."""
    invocation = _find(services, invocation_id)
    if invocation.container_name is None:
        raise errors.NotFound(
            f"The invocation is {invocation.status} and has no log: no container was chosen for it.",
            invocation_id=invocation.id,
            function=invocation.function,
        )
    content = services.logs.read_part(invocation.container_name, invocation.id, tail_lines=query.tail)
    response = as_text(content)
    response.headers["X-Invocation-Id"] = invocation.id
    return response


def _record(services: Services, invocation: Invocation) -> Record:
    position = services.pool.position(invocation.id) if invocation.status is Status.QUEUED else None
    return Record.of(invocation, position)


def _find(services: Services, invocation_id: str) -> Invocation:
    # Only what can be an id goes to the store, and only names from the store go near a path.
    invocation = services.store.get(invocation_id) if _UUID.fullmatch(invocation_id) else None
    if invocation is None:
        shown = invocation_id if len(invocation_id) <= 60 else invocation_id[:57] + "..."
        raise errors.InvocationNotFound(f"There is no invocation {shown!r}; /invocations lists those on record.")
    return invocation
