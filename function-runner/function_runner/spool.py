"""Results that the database has not taken yet, one file each: with them on disk, a crash of the runner loses none.

A file is there from the moment in which the database refused a result until it has it, and is never removed for its
age. It holds what a caller would get, so only the runner may read it.
"""

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from function_runner.invocation import Timings

log = logging.getLogger(__name__)

FOLDER = ".results"  # beside the logs, which are on another disk than the record, or may be
SUFFIX = ".json"
UNFINISHED = ".part"  # of a file that is being written


class NotKept(Exception):
    """The result could not be written; the disk is full, or the folder read-only."""


class NotReadable(Exception):
    """The result is on disk, which does not give it just now."""


@dataclass(frozen=True)
class KeptResult:
    """What is to be recorded of an invocation that has succeeded."""

    invocation_id: str
    finished_at: datetime
    timings: Timings
    result: Any
    mlflow: Mapping[str, Any] | None


class Spool:
    """The folder of these files, ``logs/.results/``; made with the first of them. Safe to use from any thread."""

    def __init__(self, logs_dir: Path) -> None:
        self._folder = logs_dir / FOLDER

    def keep(self, kept: KeptResult) -> None:
        """Write it down. When this returns, it survives a power cut.

        Raises:
            NotKept: it is not on disk.
        """
        content = json.dumps({**asdict(kept), "finished_at": kept.finished_at.isoformat()}, allow_nan=False)
        path = self._path(kept.invocation_id)
        unfinished = path.with_suffix(UNFINISHED)
        try:
            if not self._folder.is_dir():
                self._folder.mkdir(mode=0o700, exist_ok=True)
                _sync(self._folder.parent)
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode=0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            unfinished.rename(path)
            _sync(self._folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise NotKept(str(error)) from error

    def ids(self) -> list[str]:
        """The ids of the invocations whose results are here, in their order.

        Raises:
            NotReadable: the folder cannot be read, so there may be any.
        """
        try:
            return sorted(path.stem for path in self._folder.iterdir() if path.suffix == SUFFIX)
        except (FileNotFoundError, NotADirectoryError):  # there never was any
            return []
        except OSError as error:
            raise NotReadable(f"{self._folder}: {error}") from error

    def read(self, invocation_id: str) -> KeptResult | None:
        """What is kept for this invocation. None: nothing (any more), or nothing that could ever be read.

        The latter is left where it is, and said in our log.

        Raises:
            NotReadable: the disk does not give it; it may the next time.
        """
        path = self._path(invocation_id)
        try:
            return _parsed(path.read_bytes())
        except FileNotFoundError:  # recorded just now
            return None
        except OSError as error:
            raise NotReadable(f"{path.name}: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            log.error("result unreadable: %s: %s", path.name, error, extra={"action": "result_unreadable"})
            return None

    def remove_unfinished(self) -> None:
        """Remove what a runner that died had begun to write. Only while nobody keeps anything."""
        try:
            for path in self._folder.glob(f"*{UNFINISHED}"):
                path.unlink(missing_ok=True)
        except OSError as error:  # nothing depends on it
            log.warning("unfinished result not removed: %s", error, extra={"action": "result_not_removed"})

    def forget(self, invocation_id: str) -> None:
        """The database has it, or will never take it. What is not there need not be forgotten."""
        try:
            self._path(invocation_id).unlink(missing_ok=True)
        except OSError as error:  # read again, and found recorded
            log.warning("result not removed: %s", error, extra={"action": "result_not_removed"})

    def _path(self, invocation_id: str) -> Path:
        return self._folder / f"{invocation_id}{SUFFIX}"


def _sync(folder: Path) -> None:
    """Bring the names in the folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parsed(written: bytes) -> KeptResult:
    content = json.loads(written)
    return KeptResult(
        invocation_id=content["invocation_id"],
        finished_at=datetime.fromisoformat(content["finished_at"]),
        timings=Timings(**content["timings"]),
        result=content["result"],
        mlflow=content["mlflow"],
    )
