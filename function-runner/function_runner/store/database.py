"""Connections to SQLite or Postgres, and what their errors mean."""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from function_runner.errors import SettingsError, StoreUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

BUSY_SECONDS = 5.0  # how long one statement waits for another writer
PERSISTENCE_SECONDS = 30.0  # how long an outcome is tried again before it is given up
MAX_LOGGED_PAGES = 20_000  # of 4 KiB


@contextmanager
def translated() -> Iterator[None]:
    """What the database complains of becomes `StoreUnavailable`; a rule of ours that was broken stays what it is."""
    try:
        yield
    except IntegrityError:
        raise  # a bug, not an outage
    except (DBAPIError, PoolTimeout) as error:
        reason = error.orig if isinstance(error, DBAPIError) else "other writers hold it"
        raise StoreUnavailable(f"The record of invocations cannot be used right now: {reason}.") from error


def persist(attempt: Callable[[], T]) -> T:
    """Repeat ``attempt`` with growing pauses while the store is unavailable, for `PERSISTENCE_SECONDS`."""
    gives_up_at = time.monotonic() + PERSISTENCE_SECONDS
    pause = 0.05
    while True:
        try:
            return attempt()
        except StoreUnavailable as error:
            if time.monotonic() + pause >= gives_up_at:
                raise
            log.warning("trying again: %s", error, extra={"action": "store_retry"})
            time.sleep(pause)
            pause = min(2 * pause, 2.0)


def engines(database_url: str) -> tuple[Engine, Engine]:
    """The engine that writes and the one that reads; on Postgres they are one."""
    try:
        url = make_url(database_url)
        if url.get_backend_name() != "sqlite":
            engine = create_engine(url, pool_pre_ping=True, pool_timeout=BUSY_SECONDS)
            return engine, engine
    except (ArgumentError, ImportError) as error:
        raise SettingsError(f"DATABASE_URL cannot be used: {error}") from error
    if url.database in (None, "", ":memory:"):
        raise SettingsError("DATABASE_URL must name a file: records in memory would be lost.")
    # SQLite has one writer at a time and lets the others poll for it. Threads of ours queue for the one writing
    # connection instead, which is fair and wastes no time asleep; polling is left for other processes.
    # That one is kept by `Commits`; another is made for migrations.
    writer = create_engine(url, pool_size=1, max_overflow=1, pool_timeout=BUSY_SECONDS)
    reader = create_engine(url, pool_timeout=BUSY_SECONDS)
    for engine in (writer, reader):
        event.listen(engine, "connect", _configure_sqlite)
    # A transaction that reads first and writes then fails when somebody wrote in between; IMMEDIATE waits instead.
    event.listen(writer, "begin", lambda connection: execute(connection, "BEGIN IMMEDIATE"))
    event.listen(reader, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return writer, reader


def _configure_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves; the driver would do it too late
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
    cursor.execute("PRAGMA journal_mode = WAL")  # readers do not wait for the writer
    cursor.execute("PRAGMA synchronous = FULL")  # what was committed survives a power cut
    # Done in the background (see `Checkpoints`); by itself only when that has fallen far behind.
    cursor.execute(f"PRAGMA wal_autocheckpoint = {MAX_LOGGED_PAGES}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def execute(connection: Connection, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
    """Let SQLite's driver execute it in the connection's transaction; its errors become SQLAlchemy's as usual."""
    raw: Any = connection.connection.dbapi_connection
    try:
        cursor: sqlite3.Cursor = raw.execute(sql, parameters)
    except sqlite3.Error as error:
        raise DBAPIError.instance(sql, parameters, error, sqlite3.Error, dialect=connection.dialect) from error
    return cursor
