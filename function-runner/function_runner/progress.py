"""How far a running function is, by the lines it prints about that.

    {"progress": {"done": 40, "total": 100, "message": "fold 2 of 5"}}

A line that says so and nothing else is a hint for people; what an invocation comes to is never read out of its output.
"""

import re
from typing import TypeGuard

from function_runner.invocation import Progress, utc_now
from function_runner.strict_json import StrictJsonError, loads

MAX_LINE = 4096  # bytes
MAX_MESSAGE = 200  # characters; what is longer is cut
MAX_NUMBER = 1e15  # up to here every program reads whole numbers alike

_BEGIN = b'\n{"progress"'
_FIELDS = {"done", "total", "message"}


class ProgressLines:
    """Finds the lines in a container's output, which comes in pieces of any size. For one thread.

    Looks at a piece without such lines only as long as searching for one word takes.
    """

    def __init__(self) -> None:
        # The last line so far, with the line end before it, while it may still become one of ours.
        self._begun = b"\n"

    def read(self, output: bytes) -> Progress | None:
        """The last thing that ``output``, added to what came before, says of the progress; None when it says nothing.

        Never raises: a line that is not understood is output like any other.
        """
        data = self._begun + output.replace(b"\r", b"\n")
        found = None
        begin = data.find(_BEGIN)
        while begin >= 0:
            end = data.find(b"\n", begin + 1)
            if end < 0:
                break
            found = _progress_of(data[begin + 1 : end]) or found
            begin = data.find(_BEGIN, end)
        last = data.rfind(b"\n")
        rest = data[last:] if 0 <= last >= len(data) - MAX_LINE else b""
        self._begun = rest if rest.startswith(_BEGIN) or _BEGIN.startswith(rest) else b""
        return found


def _progress_of(line: bytes) -> Progress | None:
    if len(line) > MAX_LINE:
        return None
    try:
        value = loads(line)
    except StrictJsonError:
        return None
    said = value["progress"]
    if len(value) != 1 or not isinstance(said, dict) or not said.keys() <= _FIELDS:
        return None
    done, total, message = said.get("done"), said.get("total"), said.get("message")
    if not _is_number(done):
        return None
    if not (total is None or (_is_number(total) and total > 0 and done <= total)):
        return None
    if not (message is None or isinstance(message, str)):
        return None
    return Progress(done=done, total=total, message=_one_line(message) if message else None, at=utc_now())


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER


def _one_line(message: str) -> str:
    text = re.sub(r"[\x00-\x20\x7f-\x9f]+", " ", message).strip()
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"
