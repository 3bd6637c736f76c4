"""Who writes when: shared commits, checkpoints in the background, and facts that may be written a moment later."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from function_runner.errors import StoreUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

TURNS_AT_ONCE = 64  # writes that share a commit
CHECKPOINT_SECONDS = 1.0
GATHERING_SECONDS = 0.25  # how long facts that may be written later wait for others
AWAY_SECONDS = 2.0  # before they are tried again, when the database is away


@dataclass(eq=False)
class _Turn:
    """What one thread wants to write, and what came of it."""

    work: Callable[[Connection], Any]
    is_over: threading.Event = field(default_factory=threading.Event)  # done, or to be done by the thread itself
    is_done: bool = False
    outcome: Any = None
    error: Exception | None = None


class Commits:
    """Lets threads that write at the same moment share a transaction, and so one wait for the disk.

    Who finds nobody writing does it at once, in its own thread. Those who come meanwhile are written together, by the
    first of them, as soon as that is over.
    """

    def __init__(self, writer: Engine) -> None:
        self._writer = writer
        self._lock = threading.Lock()
        self._waiting: list[_Turn] = []
        self._is_writing = False
        self._kept: Connection | None = None  # belongs to whoever is writing

    def close(self) -> None:
        """Let go of the connection, when nobody is writing. It is made again if something is written later."""
        with self._lock:
            if not self._is_writing:
                self._let_go()

    def run(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` returns, once it is committed; or what it raises."""
        turn = _Turn(work)
        with self._lock:
            self._waiting.append(turn)
            has_to_wait, self._is_writing = self._is_writing, True
        if has_to_wait:
            turn.is_over.wait()
        if not turn.is_done:
            self._write_for_all()
        if turn.error is not None:
            raise turn.error
        outcome: T = turn.outcome
        return outcome

    def _write_for_all(self) -> None:
        with self._lock:
            turns, self._waiting = self._waiting[:TURNS_AT_ONCE], self._waiting[TURNS_AT_ONCE:]
        try:
            self._commit(turns)
        finally:
            with self._lock:
                following = self._waiting[0] if self._waiting else None
                self._is_writing = following is not None
            for turn in turns:
                turn.is_done = True
                turn.is_over.set()
            if following is not None:
                following.is_over.set()

    def _commit(self, turns: list[_Turn]) -> None:
        try:
            with self._connection() as connection, connection.begin():
                for turn in turns:
                    turn.outcome = turn.work(connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to whoever asked for the work
            self._let_go()
            if len(turns) == 1 or _is_locked(error):
                for turn in turns:
                    turn.error = error
                return
            for turn in turns:  # one of them is at fault: the others must not suffer for it
                self._commit([turn])

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """SQLite's is kept until something goes wrong: taking it from its pool takes as long as a statement."""
        if self._writer.dialect.name != "sqlite":
            with self._writer.connect() as connection:
                yield connection
            return
        if self._kept is None:
            self._kept = self._writer.connect()
        yield self._kept

    def _let_go(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()


def _is_locked(error: Exception) -> bool:
    """True when the database cannot be written at all right now, whoever asks."""
    return isinstance(error, PoolTimeout) or "locked" in str(getattr(error, "orig", ""))


class Checkpoints:
    """Moves what SQLite has logged into its file, now and then, so that no invocation has to wait for it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless the database needs none."""
        if self._engine.dialect.name == "sqlite" and self._thread is None:
            self._stopped.clear()
            self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Do no more; what is left is done when the file is opened again."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._stopped.wait(CHECKPOINT_SECONDS):
            try:
                with self._engine.connect() as connection:
                    # Outside of a transaction; passive: it waits for nobody and nobody waits for it.
                    raw = connection.connection.dbapi_connection
                    if raw is not None:
                        raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            except (DBAPIError, PoolTimeout, sqlite3.Error) as error:
                log.warning("checkpoint failed: %s", error, extra={"action": "checkpoint_failed"})


class Later:
    """Facts that may reach the disk a moment later, many with one commit. Its thread begins with the first of them.

    While the database is away they wait; what still waits when this is closed is lost.
    """

    def __init__(self, write: Callable[[Sequence[tuple[str, Mapping[str, object]]]], None]) -> None:
        self._write = write
        self._changed = threading.Condition()
        self._waiting: list[tuple[str, Mapping[str, object]]] = []
        self._being_written: frozenset[str] = frozenset()  # of which invocations
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def add(self, noted: Sequence[tuple[str, Mapping[str, object]]]) -> None:
        """Write these soon. After `close`, when everything ends: at once, or not at all."""
        with self._changed:
            self._waiting += noted
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="facts", daemon=True)
                self._thread.start()

    def take(self, invocation_id: str) -> list[tuple[str, Mapping[str, object]]]:
        """What waits for this invocation, for whoever has newer facts and writes both; it waits no more.

        Returns once nothing older is just being written.
        """
        with self._changed:
            self._changed.wait_for(lambda: invocation_id not in self._being_written)
            taken = [noted for noted in self._waiting if noted[0] == invocation_id]
            if taken:
                self._waiting = [noted for noted in self._waiting if noted[0] != invocation_id]
            return taken

    def close(self) -> None:
        """Write what waits; returns when it is written, or could not be."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        pause = GATHERING_SECONDS
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed, timeout=pause)
                noted, self._waiting = self._waiting, []
                self._being_written = frozenset(invocation_id for invocation_id, _ in noted)
                if not noted and self._is_closed:
                    self._thread = None
                    return
            if noted:
                unwritten: list[tuple[str, Mapping[str, object]]] = []
                pause = GATHERING_SECONDS
                try:
                    self._write(noted)
                except StoreUnavailable as error:
                    log.warning("facts not written: %s", error, extra={"action": "facts_not_written"})
                    unwritten, pause = noted, AWAY_SECONDS
                finally:
                    with self._changed:
                        if not self._is_closed:
                            self._waiting = unwritten + self._waiting  # what was noted later counts
                        self._being_written = frozenset()
                        self._changed.notify_all()
