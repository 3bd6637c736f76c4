"""Server-sent events: what a follower is told, as the lines of ``text/event-stream``."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from flask import Response

from function_runner.api.schemas import moment_as_text
from function_runner.followers import Event, Follower

CONTENT_TYPE = "text/event-stream"
RETRY_MILLISECONDS = 2000  # how long a browser waits before it connects again

_BEGIN = f"retry: {RETRY_MILLISECONDS}\n\n".encode()
_SIGN_OF_LIFE = b": still here\n\n"


def as_event_stream(follower: Follower) -> Response:
    """The answer that goes on as long as the follower is told something; it closes the follower."""
    response = Response(_lines(follower), content_type=CONTENT_TYPE)
    response.call_on_close(follower.close)  # also when the client is gone before the first line
    response.headers["X-Accel-Buffering"] = "no"
    return response


def as_lines(event: Event) -> bytes:
    """One event. Its data is JSON, so that no character of a log can end a line of the stream."""
    data = json.dumps(event.data, ensure_ascii=False, separators=(",", ":"), default=_as_json)
    return f"id: {event.position}\nevent: {event.kind}\ndata: {data}\n\n".encode()


def _lines(follower: Follower) -> Iterator[bytes]:
    yield _BEGIN
    for event in follower.events():
        yield _SIGN_OF_LIFE if event is None else as_lines(event)


def _as_json(value: Any) -> str:
    if isinstance(value, datetime):
        return moment_as_text(value)
    raise TypeError(f"{type(value).__name__} has no form in an event")
