"""Writes models as JSON."""

import math
from typing import Any

from function_runner.api.schemas import Answer
from function_runner.strict_json import StrictJsonError, dumps


def as_json(answer: Answer, *, leave_out_none: bool = False, indent: int | None = None) -> bytes:
    """``answer`` as strict JSON.

    What a function raised may hold half of a surrogate pair, and no report of an error may fail for that: such
    characters become question marks.
    """
    document = answer.model_dump(mode="json", exclude_none=leave_out_none)
    try:
        return dumps(document, indent=indent)
    except StrictJsonError:
        return dumps(_cleaned(document), indent=indent)


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {_cleaned(name): _cleaned(nested) for name, nested in value.items()}
        case list():
            return [_cleaned(nested) for nested in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value
