"""Log files: ``logs/{container_name}.log``, written as the output arrives, and build logs below ``logs/builds/``.

A container that has no invocation yet writes to ``logs/.ready/``: the file gets its place in ``logs/`` together with
the invocation, so that everything there is the log of one, and a container that was never used leaves nothing.

A container chooses what it prints, so everything here is bounded and nothing is trusted: names are checked, files are
opened below the folder without following links, and a full disk costs the output and never the invocation.
"""

import contextlib
import errno
import hashlib
import logging
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from function_runner.errors import DiskFull, LogsUnavailable, NotFound, RunnerError
from function_runner.invocation import LogState

log = logging.getLogger(__name__)

BLOCK = 64 * 1024
BUILDS = "builds"
READY = ".ready"
TAIL_BYTES = 4096  # of a log, for a message about it
# How long a log may be to be compared with the engine's copy, which keeps no more than three times the output that a
# log keeps. The rest is for lines of the platform: of many thousand invocations.
COMPARED_OUTPUTS = 4
COMPARED_LINES = 16 * 1024 * 1024
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,127}")
OF_CONTAINER = re.compile(r"[a-z0-9][a-z0-9-]*-[0-9a-f]{12}")  # names of containers of functions, and of builds
PLATFORM_LINE = re.compile(rb"^(START|END|REPORT) RequestId: .*\n", re.MULTILINE)
REPORT_LINE = re.compile(rb"^REPORT RequestId: .*\n", re.MULTILINE)
START = b"START RequestId: "
START_LINE = re.compile(rb"^START RequestId: .*\n", re.MULTILINE)
DOES_NOT_FIT = b"\n[the file does not fit what the container engine kept of the output, which follows]\n"
NOTE = re.compile(rb"^\[.*\]\n\Z", re.MULTILINE)  # of the platform, before one of its lines
NOT_THERE = re.compile(rb"\[output (?:truncated|lost): (\d{1,15}) ")  # notes about output that was printed there
MOST_ENDS = 64  # where the output of a container may end in its log: so many are followed, of those that come last

# No flag lets an open follow a link or wait for the other end of a pipe.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
APPEND = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
NEW_FILE = os.O_CREAT | os.O_EXCL | APPEND
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class LogSummary:
    """What a closed log file holds."""

    state: LogState  # COMPLETE, TRUNCATED or PARTIAL; MISSING when the file has no name any more
    bytes: int  # size of the file
    sha256: str  # of the file
    problem: str | None = None  # why it is PARTIAL


@dataclass(frozen=True, slots=True)
class StoredLog:
    """One log file as it lies in its folder."""

    name: str  # of the container; of a build: function-version
    bytes: int  # what it takes of the disk
    modified_at: float  # seconds since 1970


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
            text = _with_line_ends(output)
            ends, _ = _ends(content, text)
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
        block, at = b"\n" + _read(self._descriptor, 0, BLOCK), 0
        while wanted not in block:
            at += BLOCK
            block = block[-len(wanted) :] + _read(self._descriptor, at, BLOCK)
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
                    self._problem = self._problem or _reason(error)
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
        while block := _read(self._descriptor, self._size, BLOCK):
            self._sha256.update(block)
            self._size += len(block)
            self._at_line_start = block.endswith(b"\n")
        begin = max(0, self._size - self._max_bytes - BLOCK)
        tail = _read(self._descriptor, begin, self._size - begin)
        part = tail[max((line.end() for line in REPORT_LINE.finditer(tail)), default=0) :]
        self._room = max(0, self._max_bytes - len(PLATFORM_LINE.sub(b"", part)))

    def _content(self) -> bytes | None:
        """The whole file, to be compared with what the engine has kept; None when it is too long or cannot be read."""
        if self._size > COMPARED_OUTPUTS * self._max_bytes + COMPARED_LINES:
            return None
        try:
            return _read(self._descriptor, 0, self._size)
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
        return _with_line_ends(data)

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
            self._problem = self._problem or _reason(error)
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


class LogStore:
    """The folder of log files."""

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        """Nothing is touched yet.

        Args:
            directory: must exist.
            max_bytes: how much output one file keeps.
        """
        self._directory = directory
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._open: dict[str, LogFile] = {}  # so that followers need not poll

    def create(self, container_name: str) -> LogFile:
        """Make the log file of a container that is about to be made, aside until `publish`.

        Raises:
            LogsUnavailable: it cannot be made, or there is one (a link counts).
        """
        name = _file_name(container_name)
        with self._folder() as folder:
            try:
                with _subfolder(folder, READY) as ready:
                    descriptor = os.open(name, NEW_FILE, 0o640, dir_fd=ready)
            except OSError as error:
                raise LogsUnavailable(
                    f"The log file of {container_name} cannot be created: {_reason(error)}. Nothing was started."
                ) from error
        file = LogFile(descriptor, max_bytes=self._max_bytes, sync_name=self._sync_folder)
        with self._lock:
            self._open = {name: other for name, other in self._open.items() if not other.is_closed}
            self._open[container_name] = file
        return file

    def publish(self, container_name: str) -> None:
        """Put the log file into its place: its container has an invocation. Doing it again changes nothing.

        Raises:
            LogsUnavailable: it cannot be done, for example because something of that name is there (a link counts),
                or because there is no such file.
        """
        name = _file_name(container_name)
        with self._folder() as folder:
            try:
                with _subfolder(folder, READY) as ready:
                    # Not renamed, because that would replace what is there.
                    os.link(name, name, src_dir_fd=ready, dst_dir_fd=folder, follow_symlinks=False)
                    os.unlink(name, dir_fd=ready)
            except OSError as error:
                if isinstance(error, FileNotFoundError) and _look(folder, container_name) is not None:
                    return  # it has been done
                raise LogsUnavailable(
                    f"The log file of {container_name} cannot be put into its place: {_reason(error)}."
                ) from error

    def forget(self, container_name: str) -> None:
        """Remove the log file of a container that never had an invocation. Never raises."""
        with contextlib.suppress(RunnerError, OSError), self._folder() as folder, _subfolder(folder, READY) as ready:
            os.unlink(_file_name(container_name), dir_fd=ready)

    def unused(self) -> list[str]:
        """The names of all containers whose log files are aside, to be forgotten one by one. Never raises."""
        with contextlib.suppress(RunnerError, OSError), self._folder() as folder, _subfolder(folder, READY) as ready:
            names = os.listdir(ready)  # noqa: PTH208 - a folder by its descriptor
            return [name.removesuffix(".log") for name in names]
        return []

    def recover(self, container_name: str, output: bytes, *last_lines: str) -> LogState:
        """Complete the log file of a container whose runner died, and end it with these lines. Never raises.

        Args:
            container_name: the file is made when it is missing.
            output: all that the container engine kept. What the file already holds of it is not repeated.
            last_lines: of the platform: why the log ends here. A line ``START …`` that is there is not repeated.

        Returns:
            PARTIAL, or MISSING when there is still no such file.
        """
        with contextlib.suppress(RunnerError):
            self.publish(container_name)
        try:
            with self._folder() as folder:
                descriptor = os.open(_file_name(container_name), os.O_CREAT | APPEND, 0o640, dir_fd=folder)
            file = LogFile(descriptor, max_bytes=self._max_bytes)
        except (RunnerError, OSError) as error:
            log.warning("no log for %s: %s", container_name, error, extra={"action": "log_not_recovered"})
            return LogState.MISSING
        for missing in file.missing(iter([output])):
            file.write(missing)
        for line in last_lines:
            if not (line.startswith("START ") and file.holds(line)):
                file.write_line(line)
        file.close()
        return LogState.PARTIAL

    def append_missing(self, container_name: str, output: bytes) -> None:
        """Add what came after the last line of the platform, of a container that is over. Never raises.

        Where the file does not fit ``output``, or is not there, nothing is done.
        """
        with contextlib.suppress(RunnerError, OSError):
            with self._folder() as folder:
                descriptor = os.open(_file_name(container_name), APPEND, dir_fd=folder)
            file = LogFile(descriptor, max_bytes=self._max_bytes)
            file.complete(output)
            file.close()

    def reopen(self, container_name: str) -> LogFile:
        """Go on with the log file of a container that outlived its runner.

        Raises:
            LogsUnavailable: it cannot be written.
        """
        name = _file_name(container_name)
        with contextlib.suppress(RunnerError):
            self.publish(container_name)
        with self._folder() as folder:
            try:
                descriptor = os.open(name, os.O_CREAT | APPEND, 0o640, dir_fd=folder)
                file = LogFile(descriptor, max_bytes=self._max_bytes, sync_name=self._sync_folder)
            except OSError as error:
                raise LogsUnavailable(
                    f"The log file of {container_name} cannot be written: {_reason(error)}."
                ) from error
        with self._lock:
            self._open[container_name] = file
        return file

    def read(
        self, container_name: str, *, tail_lines: int | None = None, offset: int = 0, max_bytes: int | None = None
    ) -> bytes:
        """The file from ``offset`` on, or its last ``tail_lines`` lines; of either at most ``max_bytes``.

        A tail that is too long loses its beginning, anything else its end. The last line of a file counts even when
        nothing ended it yet.

        Raises:
            NotFound: there is no such log file. Links and other things that are not files count as none.
        """
        with self._opened(container_name) as descriptor:
            size = os.fstat(descriptor).st_size
            if tail_lines is not None:
                offset = max(offset, _start_of_tail(descriptor, size, tail_lines))
                if max_bytes is not None:
                    offset = max(offset, size - max_bytes)
            length = max(0, size - offset)
            return _read(descriptor, offset, length if max_bytes is None else min(length, max_bytes))

    def part(self, container_name: str, invocation_id: str, *, is_reused: bool, offset: int = 0) -> "LogPart":
        """What belongs to one invocation, to be read piece by piece while it is written. Nothing is opened yet.

        Args:
            is_reused: the container had served others before.
            offset: how far into the file it was read before.
        """
        return LogPart(self, container_name, invocation_id, is_reused=is_reused, offset=offset)

    def read_part(
        self, container_name: str, invocation_id: str, *, is_reused: bool = False, tail_lines: int | None = None
    ) -> bytes:
        """What belongs to one invocation: the file, or its part of it when the container served several.

        Raises:
            NotFound: there is no such log file.
        """
        part = self.part(container_name, invocation_id, is_reused=is_reused)
        content = b"".join(iter(lambda: part.read(is_all=True), b""))
        if tail_lines is None:
            return content
        return b"".join(content.splitlines(keepends=True)[-tail_lines:])

    def state_of_part(self, container_name: str, invocation_id: str) -> LogState | None:
        """What is known of one invocation's part of a log from its last lines; None when it was not ended."""
        try:
            part = self.read_part(container_name, invocation_id)
        except NotFound:
            return None
        report = re.search(rb"^REPORT RequestId: " + invocation_id.encode() + rb"\t", part, re.MULTILINE)
        if report is None:
            return None
        end = re.search(rb"^END RequestId: " + invocation_id.encode() + rb"\n", part, re.MULTILINE)
        if end is None:  # ended in the name of a runner that was gone
            return LogState.PARTIAL
        notes = part[: end.start()].splitlines()[-3:]
        if any(note.startswith(b"[output lost: ") for note in notes):
            return LogState.PARTIAL
        return (
            LogState.TRUNCATED if any(note.startswith(b"[output truncated: ") for note in notes) else LogState.COMPLETE
        )

    def size(self, container_name: str) -> int:
        """How long the file is right now.

        Raises:
            NotFound: there is no such log file.
        """
        with self._opened(container_name) as descriptor:
            return os.fstat(descriptor).st_size

    def wait_beyond(self, container_name: str, size: int, timeout: float) -> None:
        """Wait until the file is longer than ``size`` or will not grow any more, at most for ``timeout`` seconds.

        For a file that nobody here writes, that is ``timeout`` seconds.
        """
        with self._lock:
            file = self._open.get(container_name)
        if file is None or file.is_closed:
            time.sleep(timeout)
        else:
            file.wait_beyond(size, timeout)

    def create_build(self, function_name: str, version: str) -> BuildLog:
        """The log of a build that is about to start, in place of an older one of the same version.

        Raises:
            LogsUnavailable: it cannot be made.
        """
        name = _file_name(f"{function_name}-{version}")
        with self._folder() as folder:
            try:
                with _subfolder(folder, BUILDS) as builds:
                    # A new file, not the old one emptied: who reads the old one reads it to its end.
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=builds)
                    descriptor = os.open(name, NEW_FILE, 0o640, dir_fd=builds)
            except OSError as error:
                raise LogsUnavailable(f"The build log {BUILDS}/{name} cannot be created: {_reason(error)}.") from error
        return BuildLog(LogFile(descriptor, max_bytes=self._max_bytes))

    def read_build(self, function_name: str, version: str) -> str | None:
        """What the newest build of this version said so far, or None when there was none."""
        try:
            with self._opened(f"{function_name}-{version}", folder_names=(BUILDS,)) as descriptor:
                return _read(descriptor, 0, os.fstat(descriptor).st_size).decode("utf-8", "replace")
        except NotFound:
            return None

    def stored(self) -> Iterator[StoredLog]:
        """The log file of every container that has, or had, an invocation; in no order.

        Raises:
            LogsUnavailable: the folder is not there.
        """
        return self._stored(".")

    def stored_builds(self) -> Iterator[StoredLog]:
        """The log file of every build; in no order.

        Raises:
            LogsUnavailable: the folder is not there.
        """
        return self._stored(BUILDS)

    def find(self, container_name: str) -> StoredLog | None:
        """The log file of this container, or None when there is none.

        Raises:
            LogsUnavailable: the folder is not there.
        """
        with self._folder() as folder:
            return _look(folder, container_name)

    def is_open(self, container_name: str) -> bool:
        """True while the container's log file is being written."""
        with self._lock:
            file = self._open.get(container_name)
        return file is not None and not file.is_closed

    def remove(self, stored: StoredLog) -> bool:
        """Remove a container's log file. Who is reading it finds the rest gone: `NotFound`.

        Returns False, and it stays, when it is being written or was written to since it was listed.
        """
        return not self.is_open(stored.name) and self._remove(".", stored)

    def remove_build(self, stored: StoredLog) -> bool:
        """Remove the log file of a build; as `remove`."""
        return self._remove(BUILDS, stored)

    def _stored(self, folder_name: str) -> Iterator[StoredLog]:
        with self._folder() as logs:
            try:
                folder = os.open(folder_name, FOLDER, dir_fd=logs)
            except OSError:
                return  # nothing was built yet
        try:
            with os.scandir(folder) as items:
                for item in items:
                    name = item.name.removesuffix(".log")
                    if name != item.name and OF_CONTAINER.fullmatch(name) and (found := _look(folder, name)):
                        yield found
        finally:
            os.close(folder)

    def _remove(self, folder_name: str, stored: StoredLog) -> bool:
        with self._folder() as logs, contextlib.ExitStack() as stack:
            try:
                folder = os.open(folder_name, FOLDER, dir_fd=logs)
                stack.callback(os.close, folder)
                found = _look(folder, stored.name)
                if found is not None and found.modified_at != stored.modified_at:
                    return False
                if found is not None:
                    os.unlink(_file_name(stored.name), dir_fd=folder)
            except FileNotFoundError:
                return True
            except OSError as error:
                log.warning(
                    "%s cannot be removed: %s", stored.name, _reason(error), extra={"action": "log_not_removed"}
                )
                return False
        return True

    def free_bytes(self) -> int:
        """Room left on the disk of the log files.

        Raises:
            LogsUnavailable: the folder is not there.
        """
        with self._folder() as folder:
            disk = os.fstatvfs(folder)
            return disk.f_bavail * disk.f_frsize

    def check(self) -> None:
        """Write something real.

        Raises:
            LogsUnavailable: log files could not be made right now; without one, no invocation starts.
            DiskFull: they could be made, and would stay empty.
        """
        name = f".check-{secrets.token_hex(6)}"
        with self._folder() as folder:
            try:
                descriptor = os.open(name, NEW_FILE, 0o640, dir_fd=folder)
                try:
                    self._check_writing(descriptor)
                finally:
                    os.close(descriptor)
                    os.unlink(name, dir_fd=folder)
            except OSError as error:
                raise LogsUnavailable(
                    f"The logs folder {self._directory} cannot be written: {_reason(error)}."
                ) from error

    def _check_writing(self, descriptor: int) -> None:
        try:
            os.write(descriptor, b"\0" * 4096)  # a file without content fits on a full disk
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DiskFull(
                f"The disk of the logs folder {self._directory} is full: what invocations print is lost, "
                "but they still run."
            ) from error

    @contextlib.contextmanager
    def _folder(self) -> Iterator[int]:
        """The folder itself, opened anew each time: it may have been replaced, for example by a mount."""
        try:
            descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise LogsUnavailable(f"The logs folder {self._directory} cannot be opened: {_reason(error)}.") from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _sync_folder(self) -> None:
        """Bring the names in the folder to the disk."""
        try:
            with self._folder() as folder:
                os.fsync(folder)
        except LogsUnavailable as error:
            raise OSError(str(error)) from error

    @contextlib.contextmanager
    def _opened(self, name: str, *, folder_names: tuple[str, ...] = (".", READY)) -> Iterator[int]:
        """A log file for reading; NotFound for anything that is not a regular file of that name."""
        with contextlib.ExitStack() as stack:
            try:
                descriptor = self._open_in(folder_names, _file_name(name))
                stack.callback(os.close, descriptor)
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise FileNotFoundError
            except (OSError, ValueError) as error:
                raise NotFound(f"There is no log of {name!r}.") from error
            yield descriptor

    def _open_in(self, folder_names: tuple[str, ...], file_name: str) -> int:
        """The file in the first of these folders that has it."""
        with self._folder() as logs:
            for folder_name in folder_names:
                with contextlib.suppress(FileNotFoundError):
                    folder = os.open(folder_name, FOLDER, dir_fd=logs)
                    try:
                        return os.open(file_name, READ, dir_fd=folder)
                    finally:
                        os.close(folder)
        raise FileNotFoundError(file_name)


def start_line(invocation_id: str, version: str) -> str:
    """Where an invocation's part of a log begins."""
    return f"START RequestId: {invocation_id} Version: {version}"


class LogPart:
    """One invocation's part of a log file, read piece by piece. For one thread.

    The first invocation of a container has the file from its beginning; a later one from its START line on. Either ends
    before the START line of the next, and not with its own REPORT line: output may arrive after that.
    """

    def __init__(
        self, store: LogStore, container_name: str, invocation_id: str, *, is_reused: bool, offset: int
    ) -> None:
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


@contextlib.contextmanager
def _subfolder(folder: int, name: str) -> Iterator[int]:
    """A folder of ours below ``folder``, made when it is missing."""
    try:
        descriptor = os.open(name, FOLDER, dir_fd=folder)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o750, dir_fd=folder)
        descriptor = os.open(name, FOLDER, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _look(folder: int, name: str) -> StoredLog | None:
    """What lies there under this name; None for what is no regular file: a link is nobody's log."""
    try:
        found = os.stat(_file_name(name), dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return StoredLog(name, max(found.st_size, found.st_blocks * 512), found.st_mtime)


def _file_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of a log")
    return f"{name}.log"


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _read(descriptor: int, offset: int, length: int) -> bytes:
    """Up to ``length`` bytes; fewer only at the end of the file."""
    pieces = []
    while length > 0 and (piece := os.pread(descriptor, length, offset)):
        pieces.append(piece)
        offset += len(piece)
        length -= len(piece)
    return b"".join(pieces)


def _start_of_tail(descriptor: int, size: int, lines: int) -> int:
    """Where the last ``lines`` lines begin, found from the end: the file may be long, a tail is not."""
    if lines <= 0:
        return size
    end = size
    wanted = lines
    while end > 0:
        start = max(0, end - BLOCK)
        block = _read(descriptor, start, end - start)
        if end == size and block.endswith(b"\n"):
            wanted += 1  # this one ends the last line, it does not begin another
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            wanted -= 1
            if wanted == 0:
                return start + at + 1
        end = start
    return 0


def missing_output(content: bytes, output: Iterator[bytes]) -> Iterator[bytes]:
    """What must be added to a log file that holds ``content`` of a container's whole ``output``, as that comes."""
    missing = _catch_up(content, output)
    del content  # it may be long, and the output go on for hours
    yield missing
    yield from output


def _catch_up(content: bytes, output: Iterator[bytes]) -> bytes:
    """Take of the output what the file holds. Returns what came with the last of it and must be added."""
    least = sum(lengths[-1][0] for _, lengths in _pieces(content))
    begun = bytearray()
    for more in output:
        begun += more
        if len(begun) < least or begun.endswith(b"\r"):  # what a return means depends on what follows
            continue
        text = _with_line_ends(begun)
        ends, may_go_on = _ends(content, text)
        if not may_go_on:
            return text[max(ends) :] if ends else DOES_NOT_FIT + text
    return _missing_output(content, bytes(begun))


def _missing_output(content: bytes, output: bytes) -> bytes:
    """What of a container's whole ``output`` must be added to a log file that holds ``content``."""
    text = _with_line_ends(output)
    ends, may_go_on = _ends(content, text)
    if ends:
        return text[max(ends) :]
    return b"" if may_go_on else DOES_NOT_FIT + text


def _ends(content: bytes, output: bytes) -> tuple[set[int], bool]:
    """Where in the output that ends which the file holds, by all that it may mean; and whether the file may hold more.

    All are followed side by side, piece by piece: what fits a piece best may not fit the next.
    """
    ends, may_go_on = {0}, False
    for piece, lengths in _pieces(content):
        reached = set()
        for begin in sorted(ends)[-MOST_ENDS:]:
            reached |= {
                begin + length + left_out for length, left_out in lengths if output.startswith(piece[:length], begin)
            }
            rest = len(output) - begin
            may_go_on |= rest < len(piece) and output.startswith(piece[:rest], begin)
        ends = {end for end in reached if end <= len(output)}
        may_go_on |= len(ends) < len(reached)
    return ends, may_go_on


def _pieces(content: bytes) -> Iterator[tuple[bytes, list[tuple[int, int]]]]:
    """What stands between the lines of the platform; how much of it, and more, the container may have printed.

    Before a line of the platform there may be notes of ours, and a line end that the container did not print. A note
    may say how much else was printed and is not there. The longest comes first.
    """
    begin = 0
    for line in PLATFORM_LINE.finditer(content):
        piece = content[begin : line.start()]
        begin = line.end()
        lengths, left_out = [(len(piece), 0)], 0
        while note := NOTE.search(piece[: lengths[-1][0]]):
            told = NOT_THERE.match(note[0])
            left_out += int(told[1]) if told else 0
            lengths.append((note.start(), left_out))
        lengths += [(length - 1, left_out) for length, left_out in lengths if piece[:length].endswith(b"\n")]
        yield piece, sorted(set(lengths), reverse=True)
    piece = content[begin:]
    yield piece, [(len(piece), 0)]


def _with_line_ends(output: bytes | bytearray) -> bytes:
    """As `LogFile.write` keeps it: a carriage return without a line end becomes one."""
    return re.sub(rb"\r(?!\n)", b"\n", output)
