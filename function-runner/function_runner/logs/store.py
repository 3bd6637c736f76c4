"""The folder of log files: made, found, read and removed."""

import contextlib
import errno
import logging
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from function_runner.errors import DiskFull, LogsUnavailable, NotFound, RunnerError
from function_runner.invocation import LogState
from function_runner.logs.file import BLOCK, BuildLog, LogFile, read_at, reason_of
from function_runner.logs.part import LogPart

log = logging.getLogger(__name__)

BUILDS = "builds"
READY = ".ready"
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,127}")
OF_CONTAINER = re.compile(r"[a-z0-9][a-z0-9-]*-[0-9a-f]{12}")  # names of containers of functions, and of builds

# No flag lets an open follow a link or wait for the other end of a pipe.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
APPEND = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
NEW_FILE = os.O_CREAT | os.O_EXCL | APPEND
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class StoredLog:
    """One log file as it lies in its folder."""

    name: str  # of the container; of a build: function-version
    bytes: int  # what it takes of the disk
    modified_at: float  # seconds since 1970


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
                    f"The log file of {container_name} cannot be created: {reason_of(error)}. Nothing was started."
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
                    f"The log file of {container_name} cannot be put into its place: {reason_of(error)}."
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
                    f"The log file of {container_name} cannot be written: {reason_of(error)}."
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
            return read_at(descriptor, offset, length if max_bytes is None else min(length, max_bytes))

    def part(self, container_name: str, invocation_id: str, *, is_reused: bool, offset: int = 0) -> LogPart:
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
                raise LogsUnavailable(
                    f"The build log {BUILDS}/{name} cannot be created: {reason_of(error)}."
                ) from error
        return BuildLog(LogFile(descriptor, max_bytes=self._max_bytes))

    def read_build(self, function_name: str, version: str) -> str | None:
        """What the newest build of this version said so far, or None when there was none."""
        try:
            with self._opened(f"{function_name}-{version}", folder_names=(BUILDS,)) as descriptor:
                return read_at(descriptor, 0, os.fstat(descriptor).st_size).decode("utf-8", "replace")
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
                    "%s cannot be removed: %s", stored.name, reason_of(error), extra={"action": "log_not_removed"}
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
                    f"The logs folder {self._directory} cannot be written: {reason_of(error)}."
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
            raise LogsUnavailable(f"The logs folder {self._directory} cannot be opened: {reason_of(error)}.") from error
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


def _start_of_tail(descriptor: int, size: int, lines: int) -> int:
    """Where the last ``lines`` lines begin, found from the end: the file may be long, a tail is not."""
    if lines <= 0:
        return size
    end = size
    wanted = lines
    while end > 0:
        start = max(0, end - BLOCK)
        block = read_at(descriptor, start, end - start)
        if end == size and block.endswith(b"\n"):
            wanted += 1  # this one ends the last line, it does not begin another
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            wanted -= 1
            if wanted == 0:
                return start + at + 1
        end = start
    return 0
