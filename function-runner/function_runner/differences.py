"""Where several JSON values differ. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Difference:
    """One place at which not all values are the same."""

    pointer: str  # JSON Pointer (RFC 6901)
    values: Mapping[str, Any]  # by the name of the whole; one that has nothing there is left out


def differences(values: Mapping[str, Any], pointer: str = "") -> Iterator[Difference]:
    """Every place at which the named values differ, in the order of the first of them, as deep down as can be said.

    Objects are compared member by member and lists place by place; what is not of one kind differs as a whole. 1 and
    1.0 are the same, 1 and true are not.
    """
    inner = list(values.values())
    if all(isinstance(value, dict) for value in inner):
        members = dict.fromkeys(name for value in inner for name in value)
        for member in members:
            parts = {name: value[member] for name, value in values.items() if member in value}
            yield from _differences_of(parts, values, f"{pointer}/{_escaped(member)}")
    elif all(isinstance(value, list) for value in inner):
        for place in range(max(map(len, inner))):
            parts = {name: value[place] for name, value in values.items() if place < len(value)}
            yield from _differences_of(parts, values, f"{pointer}/{place}")
    elif not _are_same(inner):
        yield Difference(pointer, dict(values))


def _differences_of(parts: Mapping[str, Any], whole: Mapping[str, Any], pointer: str) -> Iterator[Difference]:
    if len(parts) == len(whole):
        yield from differences(parts, pointer)
    else:
        yield Difference(pointer, dict(parts))


def _are_same(values: Sequence[Any]) -> bool:
    """Whether scalars, or values of several kinds, are all the same."""
    first = values[0]
    return all(value == first and isinstance(value, bool) == isinstance(first, bool) for value in values)


def _escaped(member: str) -> str:
    return member.replace("~", "~0").replace("/", "~1")
