"""What belongs to one invocation in the log of its container."""

from typing import Protocol

from function_runner.logs.file import BLOCK

START = b"START RequestId: "


class Logs(Protocol):
    """Where the file is read."""

    def read(self, container_name: str, *, offset: int = 0, max_bytes: int | None = None) -> bytes:
        """The file from ``offset`` on, at most ``max_bytes``. Raises NotFound: there is none."""

    def size(self, container_name: str) -> int:
        """How long it is. Raises NotFound: there is none."""


class LogPart:
    """One invocation's part of a log file, read piece by piece. For one thread.

    The first invocation of a container has the file from its beginning; a later one from its START line on. Either ends
    before the START line of the next, and not with its own REPORT line: output may arrive after that.
    """

    def __init__(self, store: Logs, container_name: str, invocation_id: str, *, is_reused: bool, offset: int) -> None:
        self.container_name = container_name
        self.offset = offset  # in the file: what was read ends here
        self.seen = 0  # how far into the file was looked; with `LogStore.wait_beyond` until there is more
        self.is_over = False  # the next invocation has begun
        self._store = store
        self._own = START + invocation_id.encode() + b" "
        self._has_begun = not is_reused
        self._has_started = self._is_resumed = offset > 0  # our START line was seen: the next is not ours
        self._scanned = 0  # where the search for the beginning goes on

    def read(self, *, is_all: bool = False) -> bytes:
        """The next piece, at most `BLOCK` bytes; nothing when there is none right now.

        Args:
            is_all: nothing is being added to the file. Otherwise the beginning of a line waits for its rest if it may
                become the next invocation's START.

        Raises:
            NotFound: there is no such log file.
        """
        if self._is_resumed:
            # Who knows more than there is has seen what a crash of the machine took.
            self.offset = min(self.offset, self._store.size(self.container_name))
            self._is_resumed = False
        if not self._has_begun and not self._find_begin():
            return b""
        if self.is_over:
            return b""
        data = self._bytes_at(self.offset)
        piece = data[1 : self._end_in(data, is_all)]
        self.offset += len(piece)
        return piece

    def skip_to_tail(self, lines: int) -> None:
        """Go on with the last ``lines`` lines of what is there now.

        Raises:
            NotFound: there is no such log file.
        """
        content = b"".join(iter(self.read, b""))
        self.offset -= len(b"".join(content.splitlines(keepends=True)[-lines:]))
        self.is_over = False

    def _find_begin(self) -> bool:
        while data := self._bytes_at(self._scanned):
            found = data.find(b"\n" + self._own)
            if found >= 0:
                self.offset = max(self.offset, self._scanned + found)
                self._has_begun = True
                return True
            looked_at = len(data) - 1 - len(self._own)  # the rest may be its beginning
            if looked_at <= 0:
                return False
            self._scanned += looked_at
        return False

    def _bytes_at(self, offset: int) -> bytes:
        """A block from ``offset`` on, with the byte before it: lines are found by the end of the one before."""
        if offset == 0:
            data = b"\n" + self._store.read(self.container_name, max_bytes=BLOCK)
        else:
            data = self._store.read(self.container_name, offset=offset - 1, max_bytes=BLOCK + 1)
        self.seen = max(self.seen, offset + len(data) - 1)
        return data

    def _end_in(self, data: bytes, is_all: bool) -> int:
        """Up to where ``data`` is ours, as far as that can be told."""
        may_go_on = not is_all or len(data) > BLOCK
        mark = b"\n" + START
        at = data.find(mark)
        while at >= 0:
            line = data[at + 1 : at + 1 + len(self._own)]
            if line == self._own:
                self._has_started = True
            elif len(line) < len(self._own) and self._own.startswith(line):
                if may_go_on:
                    return at + 1
            elif self._has_started:
                self.is_over = True
                return at + 1
            at = data.find(mark, at + 1)
        if may_go_on:
            for length in range(min(len(mark) - 1, len(data)), 1, -1):
                if data.endswith(mark[:length]):
                    return len(data) - length + 1
        return len(data)
