"""How the caller wants to be answered: the header ``Prefer`` (RFC 7240), and the header ``Idempotency-Key``."""

import re
from dataclasses import dataclass

from flask import Request
from werkzeug.http import parse_list_header

from function_runner.errors import InvalidRequest

KEY = re.compile(r'"(?:[ !#-\[\]-~]|\\["\\]){1,255}"|[!#$%&\'*+.^_`|~0-9A-Za-z:/=-]{1,255}', re.ASCII)
_WAIT = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True)
class Preferences:
    """What the caller prefers. What is not understood is ignored, as RFC 7240 says."""

    respond_async: bool = False
    wait: int | None = None  # seconds the caller is willing to wait

    @property
    def patience(self) -> float | None:
        """Seconds to wait for the end of the invocation; None: to the end, however long."""
        return 0.0 if self.respond_async and self.wait is None else self.wait

    @property
    def applied(self) -> str:
        """The preferences that were honoured, as the header ``Preference-Applied`` names them."""
        names = ["respond-async"] if self.respond_async else []
        return ", ".join(names + ([f"wait={self.wait}"] if self.wait is not None else []))


def preferences(request: Request, *, longest_wait: float) -> Preferences:
    """What the request prefers; of a preference that stands there twice the first counts."""
    respond_async, wait = False, None
    for entry in parse_list_header(",".join(request.headers.getlist("Prefer"))):
        name, _, value = entry.partition(";")[0].partition("=")
        name, value = name.strip().lower(), value.strip().strip('"')
        if name == "respond-async":
            respond_async = True
        elif name == "wait" and wait is None and _WAIT.fullmatch(value):
            wait = min(int(value), int(longest_wait))
    return Preferences(respond_async, wait)


def idempotency_key(request: Request) -> str | None:
    """The request's key, without its quotes.

    The draft of the IETF (draft-ietf-httpapi-idempotency-key-header) asks for a quoted string; many clients send the
    bare words, and mean the same.

    Raises:
        InvalidRequest: it is not one.
    """
    values = request.headers.getlist("Idempotency-Key")
    if not values:
        return None
    if len(values) > 1 or not KEY.fullmatch(values[0]):
        raise InvalidRequest(
            "Idempotency-Key must be one string of 1 to 255 characters, such as a UUID, in double quotes."
        )
    key = values[0]
    return re.sub(r"\\(.)", r"\1", key[1:-1]) if key.startswith('"') else key
