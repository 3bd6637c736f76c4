"""Answers that are text."""

from flask import Response


def as_text(data: bytes | str) -> Response:
    """``data`` as plain text. Bytes that are no UTF-8 become U+FFFD: a function may print anything."""
    if isinstance(data, bytes):
        data = data.decode("utf-8", errors="replace")
    return Response(data.encode("utf-8", errors="replace"), content_type="text/plain; charset=utf-8")
