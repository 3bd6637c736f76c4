"""Strict JSON: the only way text from outside becomes values, and values become answers.

Python's own parser accepts much that is not JSON, or that breaks whoever gets it next: NaN, Infinity, numbers that
overflow to infinity, duplicate names, lone surrogates, integers of a million digits, nesting that ends the
interpreter's stack. All of these are refused here. For every value within the limits, ``loads(dumps(value)) == value``.
"""

import json
import math
import re
from typing import Any, Never

MAX_DEPTH = 32
MAX_DIGITS = 19  # of an integer: enough for 64 bits
MAX_NUMBER_LENGTH = 400  # of any other number; the longest that says something new has about 770, none is written so
MAX_NAMES = 10_000  # in one object

# Strings first, so that brackets inside them do not count. Possessive and with an optional end: every byte is looked
# at once, whatever is sent.
_STRINGS_AND_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_SURROGATE_OR_NUL = re.compile("[\x00\ud800-\udfff]")


class StrictJsonError(ValueError):
    """The text is not strict JSON, or the value cannot be written as such; the message says why."""


def loads(data: bytes) -> Any:
    """The value that ``data`` says.

    Raises:
        StrictJsonError: it is not strict JSON in UTF-8 within the limits of this module.
    """
    if data.startswith(b"\xef\xbb\xbf"):
        raise StrictJsonError("it begins with a byte order mark; send plain UTF-8")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StrictJsonError(f"it is not UTF-8 at byte {error.start}") from None
    _check_depth(data)
    try:
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_parse_float,
            parse_int=_parse_int,
            object_pairs_hook=_object,
        )
    except json.JSONDecodeError as error:
        reason = error.msg[:1].lower() + error.msg[1:]
        raise StrictJsonError(f"{reason} at line {error.lineno}, column {error.colno}") from None
    if b"\\u" in data:  # only an escape can bring them in: raw ones are refused above and by the parser
        _check_strings(value)
    return value


def dumps(value: Any, *, indent: int | None = None, spaced: bool = False) -> bytes:
    """``value`` as JSON in UTF-8: on many lines with ``indent``, on one with spaces for people, or compact.

    Raises:
        StrictJsonError: it holds NaN, an infinity or a lone surrogate, or is not made of JSON's types.
    """
    separators = (", " if spaced else ",", ": " if spaced or indent is not None else ":")
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=separators, indent=indent)
        return text.encode("utf-8")
    except (ValueError, TypeError, RecursionError) as error:
        raise StrictJsonError(f"it cannot be written as JSON: {error}") from error


def _check_depth(data: bytes) -> None:
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _STRINGS_AND_BRACKETS.finditer(data):
        first = match.group()[:1]
        if first in (b"[", b"{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise StrictJsonError(f"it is nested deeper than {MAX_DEPTH} levels")
        elif first != b'"':
            depth -= 1


def _refuse_constant(name: str) -> Never:
    raise StrictJsonError(f"{name} is not a JSON number")


def _parse_float(text: str) -> float:
    if len(text) > MAX_NUMBER_LENGTH:
        raise StrictJsonError(f"a number is longer than {MAX_NUMBER_LENGTH} characters")
    number = float(text)
    if not math.isfinite(number):
        raise StrictJsonError(f"the number {_shown(text)} is too large")
    return number


def _parse_int(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise StrictJsonError(f"the integer {_shown(text)} has more than {MAX_DIGITS} digits")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_NAMES:
        raise StrictJsonError(f"an object has more than {MAX_NAMES} names")
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise StrictJsonError(f"the name {_shown(twice)!a} stands twice in one object")
    return result


def _check_strings(value: Any) -> None:
    """Refuse what no database or terminal can hold. Recursion is bounded by the depth, which was checked."""
    if isinstance(value, str):
        if found := _SURROGATE_OR_NUL.search(value):
            kind = "the character U+0000" if found.group() == "\0" else "half of a surrogate pair"
            raise StrictJsonError(f"a string holds {kind}")
    elif isinstance(value, dict):
        for name, nested in value.items():
            _check_strings(name)
            _check_strings(nested)
    elif isinstance(value, list):
        for nested in value:
            _check_strings(nested)


def _shown(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
