"""One log file while it is written, and what is in it."""

import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

from function_runner.invocation import LogState
from function_runner.logs.catching_up import DOES_NOT_FIT, PLATFORM_LINE, ends_of, missing_output, with_line_ends

BLOCK = 64 * 1024
# How long a log may be to be compared with the engine's copy, which keeps no more than three times the output that a
# log keeps. The rest is for lines of the platform: of many thousand invocations.
COMPARED_OUTPUTS = 4
COMPARED_LINES = 16 * 1024 * 1024
REPORT_LINE = re.compile(rb"^REPORT RequestId: .*\n", re.MULTILINE)


@dataclass(frozen=True)
class LogSummary:
    """What a closed log file holds."""

    state: LogState  # COMPLETE, TRUNCATED or PARTIAL; MISSING when the file has no name any more
    bytes: int  # size of the file
    sha256: str  # of the file
    problem: str | None = None  # why it is PARTIAL


class LogFile:
    """One log file that is being written. Safe to use from several threads, and after `close` (which ends it).

    Output is kept up to a cap; lines of the platform (`write_line`) are always kept, each on a line of its own.
    No method raises: the thread that captures a container's output has nobody to tell. `close` tells.
    """

    def __init__(self, descriptor: int, *, max_bytes: int, sync_name: Callable[[], None] = lambda: None) -> None:
        """Takes over ``descriptor``, a file opened for appending and reading.

        What it holds after the last REPORT line counts as output of the invocation that goes on with it.

        Args:
            max_bytes: how much output is kept, for each invocation.
            sync_name: brings the file's name to the disk.
        """
        self._descriptor = descriptor
        self._sync_name = sync_name
        self._max_bytes = max_bytes
        self._room = max_bytes  # output that still fits
        # Held while writing, against the rule, because it is what keeps a line of the platform out of the middle of
        # a line of output. Nobody else waits for it.
        self._changed = threading.Condition()
        self._at_line_start = True
        self._held_return = False  # the last chunk ended in "\r"; what it means depends on the next byte
        self._discarded = 0  # bytes over the cap, since the last note about them
        self._lost = 0  # bytes the disk did not take, since the last note about them
        self._is_truncated = False
        self._problem: str | None = None  # the first reason why the disk did not take something
        self._is_complete = False  # all that the container has printed is there
        self._size = 0
        self._sha256 = hashlib.sha256()
        self._summary: LogSummary | None = None
        self._take_stock()

    @property
    def is_closed(self) -> bool:
        """True when nothing will be added."""
        return self._summary is not None

    def write(self, data: bytes) -> None:
        """Append output as it came, up to the cap. What is over it is counted, and the file will say how much.

        Carriage returns that do not belong to a line end become line ends: awslambdaric joins the lines of a stack
        trace with them, and progress bars overwrite themselves with them.
        """
        with self._changed:
            if self._summary is not None or self._is_complete or not data:
                return
            self._write_output(self._without_returns(data))
            self._changed.notify_all()

    def write_line(self, line: str) -> None:
        """Append a line of the platform. It does not count towards the cap."""
        with self._changed:
            if self._summary is not None:
                return
            self._finish_output()
            self._append_line(line)
            self._changed.notify_all()

    def missing(self, output: Iterator[bytes]) -> Iterator[bytes]:
        """What must be written of a container's whole ``output``, as that comes: what the file does not hold of it.

        Begins with `DOES_NOT_FIT` when that cannot be told. Nothing must be written before this was called.
        """
        content = self._content()
        return chain([DOES_NOT_FIT], output) if content is None else missing_output(content, output)

    def complete(self, output: bytes) -> bool:
        """Write what is missing of a container's whole ``output``, after which no more of it is taken.

        False, and nothing changes: it cannot be told what is missing.
        """
        with self._changed:
            content = self._content() if self._summary is None else None
            if content is None:
                return False
            text = with_line_ends(output)
            ends, _ = ends_of(content, text)
            if not ends:
                return False
            self._held_return = False
            self._write_output(text[max(ends) + self._discarded + self._lost :])
            self._is_complete = True
            self._changed.notify_all()
            return True

    def holds(self, line: str) -> bool:
        """True when this is a line of the file."""
        wanted = f"\n{line}\n".encode("utf-8", "backslashreplace")
        block, at = b"\n" + read_at(self._descriptor, 0, BLOCK), 0
        while wanted not in block:
            at += BLOCK
            block = block[-len(wanted) :] + read_at(self._descriptor, at, BLOCK)
            if at >= self._size:
                return False
        return True

    def wait_for_line_end(self, timeout: float) -> None:
        """Wait for the rest of the line that was begun, at most for ``timeout`` seconds; without one not at all."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._at_line_start or not self._room or self._problem or self.is_closed, timeout
            )

    def end_part(self) -> LogSummary:
        """What the file holds so far; one invocation's part of it is complete, and the next one has all the room."""
        with self._changed:
            if self._summary is not None:
                return self._summary
            self._finish_output()
            summary = LogSummary(self._state(), self._size, self._sha256.hexdigest(), self._problem)
            self._room = self._max_bytes
            self._is_truncated = False
            return summary

    def close(self) -> LogSummary:
        """Bring the file to the disk and say what it holds. Doing it again returns the same."""
        with self._changed:
            if self._summary is None:
                self._finish_output()
                try:
                    os.fsync(self._descriptor)
                    self._sync_name()
                except OSError as error:
                    self._problem = self._problem or reason_of(error)
                finally:
                    state = self._state()
                    os.close(self._descriptor)
                self._summary = LogSummary(state, self._size, self._sha256.hexdigest(), self._problem)
                self._changed.notify_all()
            return self._summary

    def wait_beyond(self, size: int, timeout: float) -> None:
        """Wait until the file is longer than ``size`` or closed, or for ``timeout`` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._size > size or self.is_closed, timeout)

    def _take_stock(self) -> None:
        """Of what the file holds already."""
        while block := read_at(self._descriptor, self._size, BLOCK):
            self._sha256.update(block)
            self._size += len(block)
            self._at_line_start = block.endswith(b"\n")
        begin = max(0, self._size - self._max_bytes - BLOCK)
        tail = read_at(self._descriptor, begin, self._size - begin)
        part = tail[max((line.end() for line in REPORT_LINE.finditer(tail)), default=0) :]
        self._room = max(0, self._max_bytes - len(PLATFORM_LINE.sub(b"", part)))

    def _content(self) -> bytes | None:
        """The whole file, to be compared with what the engine has kept; None when it is too long or cannot be read."""
        if self._size > COMPARED_OUTPUTS * self._max_bytes + COMPARED_LINES:
            return None
        try:
            return read_at(self._descriptor, 0, self._size)
        except OSError:
            return None

    def _state(self) -> LogState:
        with contextlib.suppress(OSError):
            if os.fstat(self._descriptor).st_nlink == 0:  # somebody removed it: nobody will find what it holds
                return LogState.MISSING
        if self._problem:
            return LogState.PARTIAL
        return LogState.TRUNCATED if self._is_truncated else LogState.COMPLETE

    def _without_returns(self, data: bytes) -> bytes:
        if self._held_return:
            data = b"\r" + data
        self._held_return = data.endswith(b"\r")
        if self._held_return:
            data = data[:-1]
        return with_line_ends(data)

    def _write_output(self, data: bytes) -> None:
        if self._problem:
            # What fits again later would stand there as if nothing were missing before it.
            self._lost += len(data)
            return
        kept = data[: self._room]
        written = self._append(kept)
        self._room -= written
        self._lost += len(kept) - written
        self._discarded += len(data) - len(kept)

    def _finish_output(self) -> None:
        """Write what is held back, and what is to be said about output that is not there."""
        if self._held_return:
            self._held_return = False
            self._write_output(b"\n")
        if self._discarded:
            self._append_line(
                f"[output truncated: {self._discarded} more bytes were discarded after the first {self._max_bytes}]"
            )
            self._is_truncated = True
            self._discarded = 0
        if self._lost:
            self._append_line(f"[output lost: {self._lost} bytes could not be written: {self._problem}]")
            self._lost = 0

    def _append_line(self, line: str) -> None:
        text = " ".join(line.splitlines()) + "\n"
        self._append(("" if self._at_line_start else "\n").encode() + text.encode("utf-8", "backslashreplace"))

    def _append(self, data: bytes) -> int:
        """Write all of it, or less when the disk takes no more; `_problem` says why. Returns how much."""
        rest = memoryview(data)
        try:
            while rest:
                written = os.write(self._descriptor, rest)
                self._sha256.update(rest[:written])
                self._size += written
                self._at_line_start = rest[written - 1] == ord("\n")
                rest = rest[written:]
        except OSError as error:
            self._problem = self._problem or reason_of(error)
        return len(data) - len(rest)


class BuildLog:
    """The log of one build of one function's image, while it is written. The rules of `LogFile` apply."""

    def __init__(self, file: LogFile) -> None:
        self._file = file

    def write(self, text: str) -> None:
        """Append what the build said."""
        self._file.write(text.encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Bring the file to the disk."""
        self._file.close()


def start_line(invocation_id: str, version: str) -> str:
    """Where an invocation's part of a log begins."""
    return f"START RequestId: {invocation_id} Version: {version}"


def read_at(descriptor: int, offset: int, length: int) -> bytes:
    """Up to ``length`` bytes; fewer only at the end of the file."""
    pieces = []
    while length > 0 and (piece := os.pread(descriptor, length, offset)):
        pieces.append(piece)
        offset += len(piece)
        length -= len(piece)
    return b"".join(pieces)


def reason_of(error: OSError) -> str:
    """What the disk says, without the number of the error."""
    return error.strerror or str(error)
