"""How values are written down: JSON as text, digests, and the cursors of pages."""

import base64
import binascii
import hashlib
import json
import re
from typing import Any

from function_runner.errors import FieldError, InvalidRequest


def dump(value: Any, *, canonical: bool = False) -> str:
    """Strict JSON without spaces; with ``canonical``, the same text for objects that are equal."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False, sort_keys=canonical)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, 64 hex digits: equal for values that are equal."""
    return hashlib.sha256(dump(value, canonical=True).encode()).hexdigest()


def cursor_of(sequence: int) -> str:
    """Opaque, so that nobody computes one: what it holds may change."""
    return base64.urlsafe_b64encode(str(sequence).encode()).decode().rstrip("=")


def sequence_of(cursor: str) -> int:
    """What `cursor_of` was given.

    Raises:
        InvalidRequest: it is not a cursor of ours.
    """
    try:
        sequence = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        if not re.fullmatch(r"[0-9]{1,18}", sequence):
            raise ValueError
        return int(sequence)
    except (binascii.Error, ValueError):
        raise InvalidRequest(
            "This page of invocations does not exist: take `before` from the `next` of another page.",
            errors=[FieldError("/before", "is not a cursor that was handed out here")],
        ) from None
