"""The record: one durable row for every accepted invocation, in SQLite by default or in Postgres.

Every change of state is one conditional UPDATE whose row count decides: where several may try (result, timeout,
cancellation, crash recovery), the first terminal state wins and the others learn that they lost. Triggers of the
database refuse what this module would never do (see ``migrations``), so that the rules hold for every writer, and
write the history of states, so that the history cannot disagree with the rows.
"""

import base64
import binascii
import hashlib
import json
import logging
import os
import re
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import alembic.command
import alembic.config
from alembic.util.exc import CommandError
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Float,
    ForeignKey,
    Index,
    Insert,
    Integer,
    MetaData,
    RowMapping,
    Select,
    String,
    Table,
    Text,
    UniqueConstraint,
    Update,
    bindparam,
    case,
    create_engine,
    delete,
    event,
    func,
    insert,
    literal,
    make_url,
    or_,
    select,
    text,
    tuple_,
    type_coerce,
    union,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.types import TypeDecorator

from function_runner.errors import (
    DiskFull,
    FieldError,
    IdempotencyKeyReused,
    InvalidRequest,
    SettingsError,
    StoreUnavailable,
)
from function_runner.invocation import (
    Callback,
    CallbackState,
    Event,
    HandOver,
    IdempotencyKey,
    Invocation,
    LogState,
    Mention,
    Mode,
    Progress,
    Start,
    Status,
    Timings,
    utc_now,
)
from function_runner.schedule import Occurrence, ScheduleState
from function_runner.settings import MEBIBYTE

log = logging.getLogger(__name__)

T = TypeVar("T")

BUSY_SECONDS = 5.0  # how long one statement waits for another writer
PERSISTENCE_SECONDS = 30.0  # how long an outcome is tried again before it is given up
PAGE_BYTES = 8 * 1024 * 1024  # parameters and results on one page of `Store.search`
ROWS_AT_ONCE = 4
# How long `Store.search` looks at records that an index cannot sort out, before it answers with what it has found: a
# caller waits for a page of the history, or for a text to be found.
FILTER_SECONDS = 0.015
TEXT_SECONDS = 0.5
LOOKED_AT_FIRST = 32  # records; twice as many each time
LOOKED_AT_ONCE = 2048
CLOCK_SLACK = timedelta(minutes=1)  # how far the times of records may contradict the order of acceptance
TURNS_AT_ONCE = 64  # writes that share a commit
CHECKPOINT_SECONDS = 1.0
MAX_LOGGED_PAGES = 20_000  # of 4 KiB
GATHERING_SECONDS = 0.25  # how long facts that may be written later wait for others
AWAY_SECONDS = 2.0  # before they are tried again, when the database is away
NOTED_AT_ONCE = 20  # so many of them take about a millisecond, which somebody's answer may have to wait
CLAIM_LOOKAHEAD = 100  # rows looked at beyond those wanted, because some functions may be at their limit
ENDS_SEEN_SECONDS = 1.0  # how often somebody who waits for an end looks for one that another runner wrote
MIGRATION_LOCK = 0x736D6C6F  # number of the Postgres advisory lock under which the tables are made

OPEN = tuple(status for status in Status if not status.is_terminal)
ENDS = tuple(status for status in Status if status.is_terminal)

# Whose idempotency keys they are. Callers are not told apart: all of them use the same credentials, and their addresses
# change from one try to the next, which is when a key matters.
EVERYBODY = ""

# The keys of `Invocation.mlflow` and the columns they are kept in.
MLFLOW_COLUMNS = {
    "run_id": "mlflow_run_id",
    "experiment_id": "mlflow_experiment_id",
    "model_name": "model_name",
    "model_version": "model_version",
    "model_alias": "model_alias",
    "model_uri": "model_uri",
}
CALLBACK_COLUMNS = ("state", "attempts", "last_error", "delivered_at")
FACTS = ("exit_code", "oom_killed", "max_memory_mb", "log_state", "log_bytes", "log_sha256", "progress")


class AliasAction(StrEnum):
    """How an alias of a model came to be moved."""

    SET = "set"
    DELETE = "delete"
    ROLLBACK = "rollback"
    OUTSIDE = "outside"  # in MLflow itself; noticed afterwards


class Utc(TypeDecorator[datetime]):
    """A moment, always in UTC. SQLite keeps text without a zone, which would come back naive."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Refuses naive moments: nobody could say what they mean."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """The same moment, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Json(TypeDecorator[Any]):
    """A JSON value, kept as text: numbers, order and every character come back as they were.

    Not the databases' own JSON: Postgres' forgets the order and refuses U+0000. None is SQL's NULL, for JSON's
    null write the text.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Escapes all but ASCII, because a lone surrogate in a result must not make it impossible to record."""
        return None if value is None else _dump(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        """The value that was stored."""
        return None if value is None else json.loads(value)


def _words(words: Iterable[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

# SQLite numbers rows only in a column declared INTEGER.
SequenceNumber = BigInteger().with_variant(Integer, "sqlite")

invocations = Table(
    "invocations",
    metadata,
    Column("sequence", SequenceNumber, primary_key=True, autoincrement=True),  # order of acceptance
    Column("id", String(36), nullable=False, unique=True),
    # What was asked. Never changes.
    Column("function", Text, nullable=False),
    Column("parameters", Json, nullable=False),
    Column("parameters_sha256", String(64), nullable=False),  # of the canonical JSON
    Column("timeout_seconds", Float, nullable=False),
    Column("mode", String(8), nullable=False, server_default="sync"),
    Column("caller", Text),
    Column("idempotency_key", Text),
    Column("callback_url", Text),
    Column("replay_of", String(36)),
    Column("created_at", Utc, nullable=False),
    # Where it stands, and who works on it.
    Column("status", String(16), nullable=False),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("attempt", Integer, nullable=False, server_default="1"),  # one attempt, one container
    Column("max_attempts", Integer, nullable=False, server_default="1"),
    Column("delivered", Integer, nullable=False, server_default="0"),  # how often it was handed to a container
    Column("not_before", Utc),
    Column("expires_at", Utc),
    Column("cancel_requested_at", Utc),
    Column("owner", Text),  # instance of the runner that works on it; its sign of life is in `owners`
    Column("fence", Integer, nullable=False, server_default="0"),  # grows with each claim
    # The attempt that counts.
    Column("container_name", Text),
    Column("start", String(8)),
    Column("started_at", Utc),
    Column("finished_at", Utc),
    Column("source_hash", Text),
    Column("image_tag", Text),
    Column("image_id", Text),
    Column("base_image_id", Text),
    Column("memory_limit_mb", Integer),
    *(Column(entry.name, Float) for entry in fields(Timings)),
    # What came of it.
    Column("result", Json),
    Column("result_sha256", String(64)),
    Column("error", Json),
    *(Column(name, Text) for name in MLFLOW_COLUMNS.values()),
    CheckConstraint(f"status IN ({_words(Status)})", name="status"),
    CheckConstraint("mode IN ('sync', 'async')", name="mode"),
    CheckConstraint(f"start IN ({_words(Start)})", name="start"),
    CheckConstraint("status <> 'succeeded' OR result IS NOT NULL", name="success_has_result"),
    Index(None, "function", "sequence"),
    Index(None, "status", "sequence"),
    Index(None, "function", "status", "sequence"),
    Index(None, "container_name"),
    Index(None, "mlflow_run_id"),
    Index(None, "model_name", "sequence", "model_version"),
    sqlite_autoincrement=True,  # a number is never given twice, not even after deletion
)

# What is learned of the container's process, often after the row became immutable.
invocation_facts = Table(
    "invocation_facts",
    metadata,
    Column("invocation_id", String(36), ForeignKey("invocations.id", ondelete="CASCADE"), primary_key=True),
    Column("exit_code", Integer),
    Column("oom_killed", Boolean),
    Column("max_memory_mb", Float),
    Column("log_state", String(16)),
    Column("log_bytes", BigInteger),
    Column("log_sha256", String(64)),
    Column("progress", Json),
    CheckConstraint(f"log_state IN ({_words(LogState)})", name="log_state"),
)

# Every state each attempt went through, written by triggers and by nobody else. One attempt is in each state once, and
# one invocation ends once.
_is_end = text(f"status IN ({_words(ENDS)})")
invocation_events = Table(
    "invocation_events",
    metadata,
    Column("sequence", SequenceNumber, primary_key=True, autoincrement=True),
    Column("invocation_id", String(36), ForeignKey("invocations.id", ondelete="CASCADE"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("at", Utc, nullable=False),
    Column("owner", Text),
    Column("container_name", Text),
    UniqueConstraint("invocation_id", "attempt", "status"),
    Index("uq_invocation_events_end", "invocation_id", unique=True, sqlite_where=_is_end, postgresql_where=_is_end),
    sqlite_autoincrement=True,
)

# The same key means the same invocation, until it expires.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("caller", Text, primary_key=True),
    Column("function", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request_sha256", String(64), nullable=False),
    Column("invocation_id", String(36), ForeignKey("invocations.id", ondelete="CASCADE"), nullable=False),
    Column("expires_at", Utc, nullable=False),
    Index(None, "invocation_id"),
    Index(None, "expires_at"),
)

# Runners, each with a counter that grows while it lives. Observers watch the counter, not the clock.
owners = Table(
    "owners",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("beat", BigInteger, nullable=False),
    Column("seen_at", Utc, nullable=False),
)

# Where aliases of models pointed. The moves of one alias are numbered, so that of two who note the same one, one does.
alias_moves = Table(
    "alias_moves",
    metadata,
    Column("sequence", SequenceNumber, primary_key=True, autoincrement=True),
    Column("at", Utc, nullable=False),
    Column("action", String(16), nullable=False),
    Column("caller", Text),
    Column("model", Text, nullable=False),
    Column("alias", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("from_version", Text),
    Column("to_version", Text),
    UniqueConstraint("model", "alias", "number"),
    CheckConstraint(f"action IN ({_words(AliasAction)})", name="action"),
    sqlite_autoincrement=True,
)

# Whom to tell how an invocation ended. The URL is a part of what was asked, so it is in `invocations`.
callbacks = Table(
    "callbacks",
    metadata,
    Column("invocation_id", String(36), ForeignKey("invocations.id", ondelete="CASCADE"), primary_key=True),
    Column("state", String(16), nullable=False, server_default="pending"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_at", Utc),  # when it is tried (again), once the invocation has ended
    Column("last_error", Text),
    Column("delivered_at", Utc),
    CheckConstraint(f"state IN ({_words(CallbackState)})", name="state"),
    Index(None, "state", "next_at"),
)

# How far each schedule of each function has come.
schedules = Table(
    "schedules",
    metadata,
    Column("function", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("timing", Text, nullable=False),
    Column("handled_until", Utc, nullable=False),  # whatever was due until then is done with
    Column("last_at", Utc),  # when the last invocation was due
    Column("last_invocation_id", String(36), ForeignKey("invocations.id", ondelete="SET NULL")),
    Column("skipped", Integer, nullable=False, server_default="0"),
    Column("last_skipped_at", Utc),
    Index(None, "last_invocation_id"),
)


# What is written for every invocation. Put together once: doing that takes SQLAlchemy longer than running them.
_this = invocations.c.id == bindparam("this")
ACCEPT = insert(invocations)
HAND_OVER = (
    update(invocations)
    .where(_this, text(f"status IN ({_words((Status.QUEUED, Status.STARTING))})"))
    .values(delivered=invocations.c.delivered + 1)
)
END = update(invocations).where(_this, text(f"status IN ({_words(OPEN)})"))
SUCCEED = update(invocations).where(_this, text(f"status IN ({_words((Status.RUNNING,))})"))
SUCCEED_WITH_NULL = SUCCEED.values(result=literal("null", Text))


class Repeated(Exception):
    """The idempotency key stands for an invocation that there is already."""

    def __init__(self, invocation_id: str) -> None:
        super().__init__(invocation_id)
        self.invocation_id = invocation_id


@dataclass(frozen=True)
class StoreSize:
    """How much there is of records."""

    records: int
    bytes: int  # of the database's files
    used_bytes: int  # of them, what is not free for new records


@dataclass(frozen=True)
class Maker:
    """A record of a run of MLflow."""

    sequence: int
    image_id: str | None


@dataclass(frozen=True)
class Removal:
    """One batch of records that were removed."""

    last_sequence: int  # of those that were looked at
    count: int  # of those that were removed
    containers: frozenset[str]  # names of theirs; other records may name them too


@dataclass(frozen=True)
class LogOnRecord:
    """What one record says of the log of its container."""

    invocation_id: str
    container_name: str
    is_settled: bool  # the invocation has ended and its log is closed
    is_expired: bool  # it is to be removed, or was
    run_id: str | None  # of MLflow


@dataclass(frozen=True)
class AliasMove:
    """An alias of a model pointed to one version and then to another."""

    model: str
    alias: str
    number: int  # from 1, of the moves of this alias
    action: AliasAction
    at: datetime  # for one from outside: when it was noticed
    from_version: str | None  # None: there was no such alias
    to_version: str | None  # None: there is none any more
    caller: str | None = None


@dataclass(frozen=True)
class End:
    """What statistics want to know of an invocation that has ended."""

    position: int  # in the order in which they ended
    at: datetime
    function: str
    status: Status
    start: Start | None
    created_at: datetime
    total_ms: float | None
    run_ms: float | None


@dataclass(frozen=True)
class DueCallback:
    """A callback that is to be tried now, after so many attempts."""

    invocation_id: str
    url: str
    attempts: int
    since: datetime


class AlreadyHandled(Exception):
    """This time of a schedule was dealt with before, or the schedule is another one now."""


class Store:
    """The record of all invocations. Safe to share between threads; several runners may share one database.

    Every method raises `StoreUnavailable` when the database does not answer.
    """

    def __init__(self, database_url: str, *, owner: str | None = None, min_free_bytes: int = 0) -> None:
        """Nothing is opened yet.

        Args:
            database_url: ``sqlite:////absolute/path`` or ``postgresql+psycopg://…``.
            owner: names this runner in the rows it works on; default: a random name.
            min_free_bytes: see `require_room`.

        Raises:
            SettingsError: the URL cannot be used.
        """
        self.owner = owner or uuid.uuid4().hex[:12]
        self._writer, self._reader = _engines(database_url)
        self._min_free_bytes = min_free_bytes
        is_file = self._writer.dialect.name == "sqlite"
        self._file = Path(str(self._writer.url.database)) if is_file else None  # Postgres looks after its own disk
        self._commits = _Commits(self._writer)
        self._prepared = _Prepared()
        self._checkpoints = _Checkpoints(self._reader)
        self._later = _Later(self._note_all)
        self._lock = threading.Lock()
        self._awaited: dict[str, list[threading.Event]] = {}  # ends that somebody waits for; guarded by the lock

    def migrate(self) -> None:
        """Bring the tables to the newest version. Does nothing when they are; safe when two runners start at once.

        Raises:
            SettingsError: the database was made by a newer function runner than this one.
        """
        config = alembic.config.Config()
        config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))

        def upgrade() -> None:
            with _translated(), self._writer.begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
                config.attributes["connection"] = connection
                alembic.command.upgrade(config, "head")

        try:
            _persist(upgrade)
            self._checkpoints.start()
        except CommandError as error:
            raise SettingsError(
                f"The database of DATABASE_URL cannot be used; was it made by a newer function runner? {error}"
            ) from error

    def close(self) -> None:
        """Write what waits and let go of all connections. The store opens new ones if it is used again."""
        self._later.close()
        self._checkpoints.stop()
        self._commits.close()
        self._writer.dispose()
        self._reader.dispose()

    def check(self) -> None:
        """Read and write something real: this runner's sign of life.

        Raises:
            StoreUnavailable: records could not be written right now.
        """
        beat = update(owners).where(owners.c.owner == self.owner).values(beat=owners.c.beat + 1, seen_at=utc_now())

        def live(connection: Connection) -> None:
            if connection.execute(beat).rowcount == 0:
                connection.execute(insert(owners).values(owner=self.owner, beat=1, seen_at=utc_now()))

        self._write(live)

    def start(
        self,
        invocation: Invocation,
        *,
        hand_over: HandOver | None = None,
        key: IdempotencyKey | None = None,
        occurrence: Occurrence | None = None,
    ) -> Invocation:
        """Accept an invocation: when this returns, its row is on disk. Returns it as stored, with its sequence.

        An asynchronous one belongs to nobody until it is claimed (`claim`).

        Args:
            hand_over: a container was waiting for it. Then the row is ``running`` already when it reaches the disk,
                as `mark_running` would make it, with one commit for both.
            key: recorded with it, by the same commit.
            occurrence: of a schedule, that is handled by this; noted by the same commit.

        Raises:
            AlreadyHandled: the occurrence was handled before; nothing was accepted.
            Repeated: the key stands for another invocation of the same request; nothing was accepted.
            IdempotencyKeyReused: it stands for another request.
        """
        owner = self.owner if invocation.mode is Mode.SYNC else None
        parameters_sha256 = digest(invocation.parameters)
        values = {
            "id": invocation.id,
            "function": invocation.function,
            "parameters": invocation.parameters,
            "parameters_sha256": parameters_sha256,
            "timeout_seconds": invocation.timeout_seconds,
            "mode": invocation.mode,
            "max_attempts": invocation.max_attempts,
            "expires_at": invocation.expires_at,
            "idempotency_key": key.key if key is not None else None,
            "replay_of": invocation.replay_of,
            "source_hash": invocation.source_hash,
            "caller": invocation.caller,
            "callback_url": invocation.callback.url if invocation.callback is not None else None,
            "created_at": invocation.created_at,
            "status": Status.QUEUED,
            "owner": owner,
        }
        handed_over = self._handed_over(invocation.id, hand_over) if hand_over is not None else None

        def accept(connection: Connection) -> int | None:
            if key is not None:
                _make_room_for(connection, invocation.function, key)
            sequence = self._prepared.insert(connection, ACCEPT, values)
            if key is not None:
                _remember(connection, invocation, key)
            if invocation.callback is not None:
                to_do = {"invocation_id": invocation.id, "next_at": invocation.created_at}
                connection.execute(insert(callbacks).values(to_do))
            if occurrence is not None:
                _handle(connection, occurrence, last_at=occurrence.due, last_invocation_id=invocation.id)
            if handed_over is not None:
                self._prepared.update(connection, HAND_OVER, handed_over)
            return sequence

        sequence = self._write(accept)
        stored = replace(
            invocation,
            status=Status.QUEUED,
            attempt=1,
            parameters_sha256=parameters_sha256,
            sequence=sequence,
            owner=owner,
            idempotency_key=key.key if key is not None else None,
        )
        return stored if hand_over is None else hand_over.of(stored)

    def repeated(self, function: str, key: IdempotencyKey) -> str | None:
        """The id of the invocation that this key stands for, or None when it is free.

        Raises:
            IdempotencyKeyReused: it stands for another request.
        """
        with self._reading() as connection:
            return _meaning_of(connection, function, key)

    def forget_keys(self) -> int:
        """Forget the idempotency keys that have expired. Returns how many."""
        expired = delete(idempotency_keys).where(idempotency_keys.c.expires_at <= utc_now())
        return self._write(lambda connection: connection.execute(expired).rowcount)

    # --- asynchronous invocations: the rows are the queue -------------------------------------------------------------

    def claim(
        self, limit: int, take: Callable[[str], bool] = lambda _: True, *, but_not: Sequence[str] = ()
    ) -> list[Invocation]:
        """Take up to ``limit`` asynchronous invocations that are due, oldest first; they are this runner's from now on.

        Args:
            take: asked for each, by its function, in order: may it run now?
            but_not: functions that cannot take any more now.
        """
        order = (invocations.c.priority.desc(), invocations.c.sequence)
        due = (
            select(invocations.c.id, invocations.c.function)
            .where(*_due(utc_now()), invocations.c.function.not_in(but_not))
            .order_by(*order)
            .limit(limit + CLAIM_LOOKAHEAD)
        )
        with self._reading() as connection:
            chosen = [row.id for row in connection.execute(due) if take(row.function)]
        if not chosen:  # nearly always: no need to bother the writer
            return []

        def claim(connection: Connection) -> None:
            # Somebody may have been faster, or have cancelled it: those are not ours.
            connection.execute(
                update(invocations)
                .where(invocations.c.id.in_(chosen), *_unclaimed())
                .values(owner=self.owner, fence=invocations.c.fence + 1)
            )

        self._write(claim)
        mine = (invocations.c.id.in_(chosen), invocations.c.owner == self.owner, invocations.c.status == Status.QUEUED)
        with self._reading() as connection:
            rows = connection.execute(_records().where(*mine).order_by(*order)).mappings()
            return [_invocation(row) for row in rows]

    def put_back(
        self, invocation_id: str, *, not_before: datetime | None = None, error: Mapping[str, Any] | None = None
    ) -> bool:
        """Let an open asynchronous invocation wait again, for anybody to claim; after it had begun, as a new attempt.

        Args:
            not_before: when it is due.
            error: why the attempt failed.

        Returns False when it has ended, is to be cancelled, or is unknown.
        """
        begun = invocations.c.status != Status.QUEUED
        change = (
            update(invocations)
            .where(
                invocations.c.id == invocation_id,
                invocations.c.status.in_(OPEN),
                invocations.c.mode == Mode.ASYNC,
                invocations.c.cancel_requested_at.is_(None),
            )
            .values(
                status=Status.QUEUED,
                attempt=case((begun, invocations.c.attempt + 1), else_=invocations.c.attempt),
                owner=None,
                fence=invocations.c.fence + 1,
                container_name=None,
                start=None,
                started_at=None,
                not_before=not_before,
                error=error,
            )
        )
        return _persist(lambda: self._write(lambda connection: connection.execute(change).rowcount == 1))

    def backlog(self) -> tuple[int, datetime | None]:
        """How many asynchronous invocations wait to be claimed, and since when the oldest of them waits."""
        query = select(func.count(), func.min(invocations.c.created_at)).where(*_unclaimed())
        with self._reading() as connection:
            number, oldest = connection.execute(query).one()
        return number, oldest

    def position(self, sequence: int) -> int:
        """The place, from 1, of the asynchronous invocation with this number among those that wait to be claimed."""
        query = select(func.count()).where(*_unclaimed(), invocations.c.sequence < sequence)
        with self._reading() as connection:
            return connection.execute(query).scalar_one() + 1

    def overdue(self) -> list[Invocation]:
        """The unclaimed ones that have waited longer than they may."""
        query = _records().where(*_unclaimed(), invocations.c.expires_at <= utc_now()).limit(1000)
        with self._reading() as connection:
            return [_invocation(row) for row in connection.execute(query).mappings()]

    def request_cancel(self, invocation_id: str) -> bool:
        """Note that somebody wants the invocation to end. False when it has ended or is unknown."""
        change = (
            update(invocations)
            .where(invocations.c.id == invocation_id, invocations.c.status.in_(OPEN))
            .values(cancel_requested_at=func.coalesce(invocations.c.cancel_requested_at, literal(utc_now(), Utc)))
        )
        return self._write(lambda connection: connection.execute(change).rowcount == 1)

    def wait(self, invocation_id: str, seconds: float) -> Invocation | None:
        """The record once it has ended, or as it is after ``seconds``; None when there is none."""
        gives_up_at = time.monotonic() + seconds
        ended = threading.Event()
        with self._lock:
            self._awaited.setdefault(invocation_id, []).append(ended)
        try:
            while True:
                record = self.get(invocation_id)
                patience = gives_up_at - time.monotonic()
                if record is None or record.status.is_terminal or patience <= 0:
                    return record
                ended.wait(min(patience, ENDS_SEEN_SECONDS))
        finally:
            with self._lock:
                self._awaited[invocation_id].remove(ended)
                if not self._awaited[invocation_id]:
                    del self._awaited[invocation_id]

    def _announce_end(self, invocation_id: str) -> None:
        if self._awaited:
            with self._lock:
                for ended in self._awaited.get(invocation_id, ()):
                    ended.set()

    # --- schedules ----------------------------------------------------------------------------------------------------

    def schedules(self) -> dict[tuple[str, str], ScheduleState]:
        """How far each schedule has come, by function and name."""
        with self._reading() as connection:
            rows = connection.execute(select(schedules)).mappings().all()
        return {(row["function"], row["name"]): ScheduleState(**row) for row in rows}

    def begin_schedule(self, function: str, name: str, timing: str, now: datetime) -> None:
        """From ``now`` on a schedule of this name is due as ``timing`` says; what was due before does not count."""
        change = (
            update(schedules)
            .where(schedules.c.function == function, schedules.c.name == name)
            .values(timing=timing, handled_until=now)
        )

        def begin(connection: Connection) -> None:
            if connection.execute(change).rowcount == 0:
                new = {"function": function, "name": name, "timing": timing, "handled_until": now}
                connection.execute(insert(schedules).values(new))

        self._write(begin)

    def skip(self, occurrence: Occurrence) -> None:
        """Leave out one time of a schedule.

        Raises:
            AlreadyHandled: it was handled before.
        """
        left_out = {"skipped": schedules.c.skipped + 1, "last_skipped_at": occurrence.due}
        self._write(lambda connection: _handle(connection, occurrence, **left_out))

    def forget_schedule(self, function: str, name: str) -> None:
        """There is no such schedule any more."""
        gone = delete(schedules).where(schedules.c.function == function, schedules.c.name == name)
        self._write(lambda connection: connection.execute(gone))

    def has_open(self, function: str, caller: str) -> bool:
        """Whether an invocation of the function, asked for by this caller, has not ended."""
        query = select(invocations.c.id).where(
            invocations.c.function == function, invocations.c.status.in_(OPEN), invocations.c.caller == caller
        )
        with self._reading() as connection:
            return connection.execute(query.limit(1)).first() is not None

    # --- callbacks ----------------------------------------------------------------------------------------------------

    def due_callbacks(self, now: datetime, limit: int = 1000, after: DueCallback | None = None) -> list[DueCallback]:
        """The callbacks to be tried now, because their invocation has ended; longest due first.

        Args:
            now: what is due later is left out.
            limit: at most so many.
            after: only those that come after this one. Not a number to pass over: attempts that begin meanwhile take
                theirs out of the list.
        """
        query = (
            select(callbacks.c.invocation_id, invocations.c.callback_url, callbacks.c.attempts, callbacks.c.next_at)
            .join_from(callbacks, invocations, invocations.c.id == callbacks.c.invocation_id)
            .where(
                callbacks.c.state == CallbackState.PENDING,
                callbacks.c.next_at <= now,
                invocations.c.status.in_(ENDS),
            )
            .order_by(callbacks.c.next_at, callbacks.c.invocation_id)
            .limit(limit)
        )
        if after is not None:
            place = tuple_(callbacks.c.next_at, callbacks.c.invocation_id)
            query = query.where(place > (after.since, after.invocation_id))
        with self._reading() as connection:
            return [DueCallback(*row) for row in connection.execute(query)]

    def claim_callback(self, invocation_id: str, attempt: int, *, until: datetime) -> bool:
        """Begin this attempt: nobody else will, nor the next one before ``until``. False: somebody else has."""
        change = (
            update(callbacks)
            .where(
                callbacks.c.invocation_id == invocation_id,
                callbacks.c.state == CallbackState.PENDING,
                callbacks.c.attempts == attempt - 1,
            )
            .values(attempts=attempt, next_at=until)
        )
        return self._write(lambda connection: connection.execute(change).rowcount == 1)

    def note_callback(
        self,
        invocation_id: str,
        *,
        state: CallbackState,
        last_error: str | None = None,
        next_at: datetime | None = None,
        delivered_at: datetime | None = None,
    ) -> None:
        """What came of an attempt. A database that is locked or full is tried again for half a minute."""
        change = (
            update(callbacks)
            .where(callbacks.c.invocation_id == invocation_id, callbacks.c.state == CallbackState.PENDING)
            .values(state=state, last_error=last_error, next_at=next_at, delivered_at=delivered_at)
        )
        _persist(lambda: self._write(lambda connection: connection.execute(change)))

    # --- the way of an invocation -------------------------------------------------------------------------------------

    def mark_starting(self, invocation_id: str, *, container_name: str | None) -> bool:
        """A container is being made for the invocation, under this name if it is known yet.

        Another name than before is another attempt.

        Returns False when the invocation is past that (running or ended) or unknown: then make no container.
        """
        values: dict[str, Any] = {"status": Status.STARTING, "owner": self.owner, "fence": invocations.c.fence + 1}
        if container_name is not None:
            renamed = invocations.c.container_name != container_name  # NULL, thus false, for the first container
            values |= {
                "container_name": container_name,
                "attempt": case((renamed, invocations.c.attempt + 1), else_=invocations.c.attempt),
            }
        change = (
            update(invocations)
            .where(invocations.c.id == invocation_id, invocations.c.status.in_((Status.QUEUED, Status.STARTING)))
            .values(values)
        )
        return self._write(lambda connection: connection.execute(change).rowcount == 1)

    def mark_running(self, invocation_id: str, hand_over: HandOver) -> bool:
        """The invocation is about to be handed to this container. Call it before the first byte goes out.

        Returns False when it is running already, ended or unknown: then hand nothing over.
        """
        handed_over = self._handed_over(invocation_id, hand_over)
        return self._write(lambda connection: self._prepared.update(connection, HAND_OVER, handed_over) == 1)

    def _handed_over(self, invocation_id: str, hand_over: HandOver) -> dict[str, Any]:
        values = {entry.name: getattr(hand_over, entry.name) for entry in fields(HandOver)}
        return {"this": invocation_id, "status": Status.RUNNING, "owner": self.owner, **values}

    def finish(
        self,
        invocation_id: str,
        *,
        status: Status,
        finished_at: datetime,
        timings: Timings,
        result: Any = None,
        error: Mapping[str, Any] | None = None,
        mlflow: Mapping[str, Any] | None = None,
        container_name: str | None = None,
        exit_code: int | None = None,
        oom_killed: bool | None = None,
        is_tried_once: bool = False,
    ) -> bool:
        """End an invocation. A database that is locked or full is tried again for half a minute, unless told not to.

        Of ``mlflow`` the keys in `MLFLOW_COLUMNS` are kept, as text; leave out what is None. ``container_name`` is
        the container that the end is about, when the row does not name it yet.

        Returns True when this call ended it, and False when it had ended before (the first one wins, nothing is
        changed), is unknown, or succeeded without ever having been handed over.
        """
        if not status.is_terminal:
            raise ValueError(f"{status} is not an end")
        values: dict[str, Any] = {"this": invocation_id, "status": status, "finished_at": finished_at, "error": error}
        if container_name is not None:
            values["container_name"] = container_name
        values |= {entry.name: getattr(timings, entry.name) for entry in fields(Timings)}
        values |= {column: str(mlflow[key]) for key, column in MLFLOW_COLUMNS.items() if mlflow and key in mlflow}
        change = END
        if status is Status.SUCCEEDED:
            # A handler may well return null. That is a result, and not the absence of one.
            change = SUCCEED_WITH_NULL if result is None else SUCCEED
            values |= {"result_sha256": digest(result)} | ({"result": result} if result is not None else {})
        facts = _known(exit_code=exit_code, oom_killed=oom_killed)

        def end(connection: Connection) -> bool:
            if self._prepared.update(connection, change, values) == 0:
                return False
            if facts:
                self._prepared.note(connection, invocation_id, facts)
            return True

        is_ended = self._write(end) if is_tried_once else _persist(lambda: self._write(end))
        if is_ended:
            self._announce_end(invocation_id)
        return is_ended

    def note_facts(
        self,
        invocation_id: str,
        *,
        exit_code: int | None = None,
        oom_killed: bool | None = None,
        max_memory_mb: float | None = None,
        log_state: LogState | None = None,
        log_bytes: int | None = None,
        log_sha256: str | None = None,
        progress: Progress | None = None,
        soon: bool = False,
    ) -> None:
        """Add what became known of the container's process and its log; None leaves what is there.

        Works before and after the end. Facts about an invocation that is not recorded are dropped. What is noted later
        counts, also where what was noted earlier had to be there only ``soon``.

        A database that is locked or full is tried again for half a minute, and after that in the background. A runner
        that ends before it succeeds loses them; of the log, the next one finds out itself.

        Args:
            soon: need not be on the disk when this returns; written together with others a moment later.
        """
        facts = _known(
            exit_code=exit_code,
            oom_killed=oom_killed,
            max_memory_mb=max_memory_mb,
            log_state=log_state,
            log_bytes=log_bytes,
            log_sha256=log_sha256,
            progress={**vars(progress), "at": progress.at.isoformat()} if progress else None,
        )
        if not facts:
            return
        if soon:
            self._later.add([(invocation_id, facts)])
            return
        noted = [*self._later.take(invocation_id), (invocation_id, facts)]
        try:
            _persist(partial(self._note_all, noted))
        except StoreUnavailable:
            self._later.add(noted)

    def _note_all(self, noted: Sequence[tuple[str, Mapping[str, object]]]) -> None:
        def note(portion: Sequence[tuple[str, Mapping[str, object]]], connection: Connection) -> None:
            for invocation_id, facts in portion:
                self._prepared.note(connection, invocation_id, facts)

        for begin in range(0, len(noted), NOTED_AT_ONCE):  # in between come those who are waited for
            self._write(partial(note, noted[begin : begin + NOTED_AT_ONCE]))

    def get(self, invocation_id: str) -> Invocation | None:
        """The record, or None when there is none."""
        with self._reading() as connection:
            row = connection.execute(_records().where(invocations.c.id == invocation_id)).mappings().one_or_none()
        return _invocation(row) if row is not None else None

    def search(
        self, wanted: "Wanted | None" = None, *, limit: int = 50, before: str | None = None
    ) -> tuple[list[Invocation], str | None]:
        """The newest records first, at most ``limit``, and the cursor of the next page (None: this was the last).

        A page has fewer, or even none, when its parameters and results exceed `PAGE_BYTES`, or when it takes long to
        find what no index knows; the next page goes on from there. Pages neither repeat nor miss a record because of
        others that are accepted meanwhile.

        Raises:
            InvalidRequest: ``before`` is not a cursor of ours.
        """
        top = _sequence_of(before) if before is not None else None
        page: list[Invocation] = []
        room, last = PAGE_BYTES, 0
        with self._reading() as connection:
            walk = _Walk(connection, wanted or Wanted(), top)
            while True:
                for row in walk.step(limit - len(page) + 1):
                    room -= row["size"]
                    if len(page) == limit or (page and room < 0):
                        return page, _cursor(last)
                    page.append(_invocation(row))
                    last = row["sequence"]
                if walk.top is None or walk.is_over:
                    return page, None
                if walk.has_taken_long:
                    return page, _cursor(walk.top)

    def events(self, invocation_id: str) -> list[Event]:
        """The states the invocation went through, oldest first; none when there is no record of it."""
        entry = invocation_events.c
        query = (
            select(entry.status, entry.at, entry.attempt)
            .where(entry.invocation_id == invocation_id)
            .order_by(entry.sequence)
        )
        with self._reading() as connection:
            return [Event(Status(row.status), row.at, row.attempt) for row in connection.execute(query)]

    def mentions(self, *, ids: Collection[str], run_ids: Collection[str]) -> list[Mention]:
        """What these invocations, and those whose results name one of these runs, say of a model; oldest first."""
        columns = [invocations.c[entry.name] for entry in fields(Mention)]
        conditions = (invocations.c.id.in_(ids), invocations.c.mlflow_run_id.in_(run_ids))
        # Not one query with OR, for which a database may well read everything.
        query = union(*(select(invocations.c.sequence, *columns).where(condition) for condition in conditions))
        with self._reading() as connection:
            rows = connection.execute(query.order_by("sequence")).mappings().all()
        return [Mention(**{entry.name: row[entry.name] for entry in fields(Mention)}) for row in rows]

    def claimed(self) -> list[Invocation]:
        """Every record that has not ended and that some runner has taken on, or is to end; oldest first."""
        query = (
            _records()
            .where(
                invocations.c.status.in_(OPEN),
                or_(invocations.c.owner.is_not(None), invocations.c.cancel_requested_at.is_not(None)),
            )
            .order_by(invocations.c.sequence)
        )
        with self._reading() as connection:
            return [_invocation(row) for row in connection.execute(query).mappings()]

    def open_invocations(self) -> list[Invocation]:
        """Every record that has not ended, oldest first."""
        query = _records().where(invocations.c.status.in_(OPEN)).order_by(invocations.c.sequence)
        with self._reading() as connection:
            return [_invocation(row) for row in connection.execute(query).mappings()]

    def unsettled(self) -> list[Invocation]:
        """Every record that has ended while nothing is known of its log yet, oldest first."""
        query = (
            _records()
            .where(
                invocations.c.status.in_(ENDS),
                invocations.c.container_name.is_not(None),
                invocation_facts.c.log_state.is_(None),
            )
            .order_by(invocations.c.sequence)
        )
        with self._reading() as connection:
            return [_invocation(row) for row in connection.execute(query).mappings()]

    def count_by_status(self) -> dict[str, int]:
        """How many records stand in each status; every status is named."""
        query = select(invocations.c.status, func.count().label("number")).group_by(invocations.c.status)
        with self._reading() as connection:
            rows = connection.execute(query).all()
        counted = {row.status: row.number for row in rows}
        return {status.value: counted.get(status, 0) for status in Status}

    # --- retention ----------------------------------------------------------------------------------------------------

    def require_room(self) -> None:
        """Return when there is room for a new invocation, so that those under way can be recorded to their end.

        Raises:
            DiskFull: less than ``min_free_bytes`` are free on the disk of the database's file.
        """
        if self._file is None or self._min_free_bytes == 0:
            return
        try:
            disk = os.statvfs(self._file.parent)
        except OSError:
            return  # the database itself will say what is wrong
        free = disk.f_bavail * disk.f_frsize
        if free < self._min_free_bytes:
            raise DiskFull(
                f"Only {free // MEBIBYTE} MB are free on the disk of the records, and MIN_FREE_DISK_MB asks for "
                f"{self._min_free_bytes // MEBIBYTE}: make room, then call again. Nothing was started."
            )

    def size(self) -> StoreSize:
        """How much there is."""
        with self._reading() as connection:
            records = connection.execute(select(func.count()).select_from(invocations)).scalar_one()
            if self._file is None:
                size = connection.execute(select(func.pg_database_size(func.current_database()))).scalar_one()
                return StoreSize(records, size, size)
            pages, free, page_size = (
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("page_count", "freelist_count", "page_size")
            )
        files = (self._file.with_name(self._file.name + ending) for ending in ("", "-wal", "-shm"))
        return StoreSize(records, sum(_size(file) for file in files), (pages - free) * page_size)

    def first_since(self, moment: datetime) -> int:
        """A sequence: all records below it were accepted before then, all others since.

        Found by halving, without an index that every invocation would have to keep up; so it assumes that later
        records have later times. Where the clock was set back it is only nearly right.
        """
        with self._reading() as connection:
            ends = select(func.min(invocations.c.sequence), func.max(invocations.c.sequence))
            low, high = connection.execute(ends).one()
            if low is None:
                return 1
            high += 1
            while low < high:
                middle = (low + high) // 2
                row = connection.execute(
                    select(invocations.c.sequence, invocations.c.created_at)
                    .where(invocations.c.sequence >= middle)
                    .order_by(invocations.c.sequence)
                    .limit(1)
                ).one()
                if row.created_at < moment:
                    low = row.sequence + 1
                else:
                    high = middle
        return int(low)

    def count_ended(self, *, below: int) -> int:
        """How many records that have ended come before this sequence."""
        query = select(func.count()).where(invocations.c.status.in_(ENDS), invocations.c.sequence < below)
        with self._reading() as connection:
            return int(connection.execute(query).scalar_one())

    def makers(self, runs: frozenset[str] | None) -> list[Maker]:
        """The records of these runs of MLflow, all of which have ended; None: of any run."""
        # Not "is not null", for which SQLite would look at every record.
        query = select(invocations.c.sequence, invocations.c.image_id, invocations.c.mlflow_run_id).where(
            invocations.c.mlflow_run_id > ""
        )
        with self._reading() as connection:
            rows = connection.execution_options(yield_per=1000).execute(query)
            return [Maker(row.sequence, row.image_id) for row in rows if runs is None or row.mlflow_run_id in runs]

    def remove_ended(
        self, *, after: int, below: int, before: datetime | None, kept_runs: frozenset[str] | None, limit: int
    ) -> Removal | None:
        """Remove the oldest records that have ended, with their facts, events and keys, by one short transaction.

        Those whose idempotency key is still remembered stay until it is not, and those whose callback is still to be
        delivered.

        Args:
            after: where to begin, as `Removal.last_sequence` of the batch before says; 0 at first.
            below: where to end; a sequence.
            before: only those that were accepted before this moment.
            kept_runs: records of these runs of MLflow stay; None: all that name a run.
            limit: look at so many.

        Returns None when there are no more.
        """
        # Chosen here and not by the query, which would sort all records of a status to find the oldest.
        query = (
            select(
                invocations.c.sequence,
                invocations.c.id,
                invocations.c.status,
                invocations.c.created_at,
                invocations.c.mlflow_run_id,
            )
            .where(invocations.c.sequence > after, invocations.c.sequence < below)
            .order_by(invocations.c.sequence)
            .limit(limit)
        )

        def may_go(row: Any) -> bool:
            return (
                row.status in ENDS
                and (before is None or row.created_at < before)
                and (row.mlflow_run_id is None or (kept_runs is not None and row.mlflow_run_id not in kept_runs))
            )

        with self._reading() as connection:
            rows = connection.execute(query).all()
            if not rows:
                return None
            ids = [row.id for row in rows if may_go(row)]
            remembered = select(idempotency_keys.c.invocation_id).where(
                idempotency_keys.c.invocation_id.in_(ids), idempotency_keys.c.expires_at > utc_now()
            )
            untold = select(callbacks.c.invocation_id).where(
                callbacks.c.invocation_id.in_(ids), callbacks.c.state == CallbackState.PENDING
            )
            promised = {*connection.execute(remembered).scalars(), *connection.execute(untold).scalars()}
            ids = [one for one in ids if one not in promised]
            # Of all attempts: an invocation that was tried again has the logs of several containers.
            names = select(invocation_events.c.container_name).where(
                invocation_events.c.invocation_id.in_(ids), invocation_events.c.container_name.is_not(None)
            )
            containers = set(connection.execute(names.distinct()).scalars())
        # What has ended stays ended. To ask for that again would lead SQLite to look at all that have.
        removal = delete(invocations).where(invocations.c.id.in_(ids))
        count = self._write(lambda connection: connection.execute(removal).rowcount) if ids else 0
        return Removal(rows[-1].sequence, count, frozenset(containers))

    def sources_in_use(self) -> set[tuple[str, str]]:
        """Function and source hash of every open record that names its source, such as a replay that waits."""
        query = select(invocations.c.function, invocations.c.source_hash).where(
            invocations.c.status.in_(OPEN), invocations.c.source_hash.is_not(None)
        )
        with self._reading() as connection:
            return {(row.function, row.source_hash) for row in connection.execute(query.distinct())}

    def logs_on_record(self, container_names: Iterable[str]) -> list[LogOnRecord]:
        """What the records say of the logs of these containers: one entry for each invocation of theirs."""
        query = (
            select(
                invocations.c.id,
                invocations.c.container_name,
                invocations.c.status,
                invocations.c.mlflow_run_id,
                invocation_facts.c.log_state,
            )
            .outerjoin_from(invocations, invocation_facts)
            .where(invocations.c.container_name.in_(list(container_names)))
        )
        with self._reading() as connection:
            rows = connection.execute(query).all()
        return [
            LogOnRecord(
                invocation_id=row.id,
                container_name=row.container_name,
                is_settled=Status(row.status).is_terminal and row.log_state not in (None, LogState.OPEN),
                is_expired=row.log_state == LogState.EXPIRED,
                run_id=row.mlflow_run_id,
            )
            for row in rows
        ]

    def note_logs_expired(self, invocation_ids: Sequence[str]) -> None:
        """The logs of these are about to be removed."""
        change = (
            update(invocation_facts)
            .where(invocation_facts.c.invocation_id.in_(invocation_ids))
            .values(log_state=LogState.EXPIRED)
        )
        self._write(lambda connection: connection.execute(change))

    # --- statistics ---------------------------------------------------------------------------------------------------

    def first_event_since(self, moment: datetime) -> int | None:
        """The number of the oldest event at or after this moment, or None when there is none."""
        query = (
            select(invocation_events.c.sequence)
            .where(invocation_events.c.at >= moment)
            .order_by(invocation_events.c.sequence)
            .limit(1)
        )
        with self._reading() as connection:
            return connection.execute(query).scalar_one_or_none()

    def ends(self, *, after: int, limit: int) -> list[End]:
        """What ended after the event with this number, in order, at most ``limit``."""
        query = (
            select(
                invocation_events.c.sequence,
                invocation_events.c.at,
                invocations.c.function,
                invocations.c.status,
                invocations.c.start,
                invocations.c.created_at,
                invocations.c.total_ms,
                invocations.c.run_ms,
            )
            .join_from(invocation_events, invocations, invocations.c.id == invocation_events.c.invocation_id)
            .where(invocation_events.c.sequence > after, invocation_events.c.status.in_(ENDS))
            .order_by(invocation_events.c.sequence)
            .limit(limit)
        )
        with self._reading() as connection:
            return [
                End(row[0], row[1], row[2], Status(row[3]), row[4] and Start(row[4]), *row[5:])
                for row in connection.execute(query)
            ]

    def count_open(self, function: str | None = None) -> dict[str, int]:
        """How many records of one function, or of all, stand in each status that is not an end."""
        query = select(invocations.c.status, func.count()).where(invocations.c.status.in_(OPEN))
        if function is not None:
            query = query.where(invocations.c.function == function)
        with self._reading() as connection:
            counted = {row[0]: row[1] for row in connection.execute(query.group_by(invocations.c.status))}
        return {status.value: counted.get(status, 0) for status in OPEN}

    # --- aliases of models --------------------------------------------------------------------------------------------

    def note_alias_moves(self, moves: Sequence[AliasMove]) -> None:
        """Add to the history. A move whose number is taken was noted by somebody else, and is left out."""

        def note(connection: Connection) -> None:
            upsert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[connection.dialect.name]
            for move in moves:
                values = {entry.name: getattr(move, entry.name) for entry in fields(AliasMove)}
                connection.execute(upsert(alias_moves).values(values).on_conflict_do_nothing())

        self._write(note)

    def last_alias_moves(self, model: str) -> dict[str, AliasMove]:
        """The last move of every alias that this model ever had."""
        last = (
            select(alias_moves.c.alias, func.max(alias_moves.c.number).label("number"))
            .where(alias_moves.c.model == model)
            .group_by(alias_moves.c.alias)
            .subquery()
        )
        same = (alias_moves.c.alias == last.c.alias) & (alias_moves.c.number == last.c.number)
        query = select(alias_moves).join(last, same).where(alias_moves.c.model == model)
        with self._reading() as connection:
            return {row["alias"]: _alias_move(row) for row in connection.execute(query).mappings()}

    def alias_history(self, model: str, *, alias: str | None = None, limit: int = 100) -> list[AliasMove]:
        """The moves of a model's aliases, or of one of them, newest first."""
        query = select(alias_moves).where(alias_moves.c.model == model)
        if alias is not None:
            query = query.where(alias_moves.c.alias == alias)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(alias_moves.c.sequence.desc()).limit(limit)).mappings()
            return [_alias_move(row) for row in rows]

    def _write(self, work: Callable[[Connection], T]) -> T:
        """Do it in a transaction; when this returns, it is on the disk. ``work`` may be done more than once."""
        with _translated():
            return self._commits.run(work)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _translated(), self._reader.begin() as connection:
            yield connection


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise  # a rule of ours was broken: a bug, not an outage
    except (DBAPIError, PoolTimeout) as error:
        reason = error.orig if isinstance(error, DBAPIError) else "other writers hold it"
        raise StoreUnavailable(f"The record of invocations cannot be used right now: {reason}.") from error


def _persist(attempt: Callable[[], T]) -> T:
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


def _engines(database_url: str) -> tuple[Engine, Engine]:
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
    # That one is kept by `_Commits`; another is made for migrations.
    writer = create_engine(url, pool_size=1, max_overflow=1, pool_timeout=BUSY_SECONDS)
    reader = create_engine(url, pool_timeout=BUSY_SECONDS)
    for engine in (writer, reader):
        event.listen(engine, "connect", _configure_sqlite)
    # A transaction that reads first and writes then fails when somebody wrote in between; IMMEDIATE waits instead.
    event.listen(writer, "begin", lambda connection: _execute(connection, "BEGIN IMMEDIATE"))
    event.listen(reader, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return writer, reader


def _configure_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves; the driver would do it too late
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
    cursor.execute("PRAGMA journal_mode = WAL")  # readers do not wait for the writer
    cursor.execute("PRAGMA synchronous = FULL")  # what was committed survives a power cut
    # Done in the background (see `_Checkpoints`); by itself only when that has fallen far behind.
    cursor.execute(f"PRAGMA wal_autocheckpoint = {MAX_LOGGED_PAGES}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _records() -> Select[Any]:
    facts = [invocation_facts.c[name] for name in FACTS]
    told = [callbacks.c[name].label(f"callback_{name}") for name in CALLBACK_COLUMNS]
    return (
        select(invocations, *facts, *told)
        .outerjoin(invocation_facts, invocation_facts.c.invocation_id == invocations.c.id)
        .outerjoin(callbacks, callbacks.c.invocation_id == invocations.c.id)
    )


@dataclass(frozen=True)
class Wanted:
    """Which records `Store.search` lists: those that fit everything that is said here."""

    function: str | None = None
    statuses: Collection[Status] = ()  # one of these; none: any
    start: Start | None = None
    since: datetime | None = None  # accepted at this moment or later
    until: datetime | None = None  # accepted before this moment
    text: str | None = None  # see `_speaks_of`
    model_name: str | None = None
    model_version: str | None = None  # goes with a name
    run_id: str | None = None
    not_run_id: str | None = None  # names another run, or none
    finished_since: datetime | None = None


class _Walk:
    """Goes through the records from new to old, along the index that leads past the fewest that are not wanted.

    What remains to be looked at is looked at by portions, each twice as large as the one before, so that the walk can
    be broken off at any of them: `top` is where it stands.
    """

    def __init__(self, connection: Connection, wanted: Wanted, top: int | None) -> None:
        self.is_over = False
        self._connection = connection
        self._bottom, newest = self._span(wanted)
        self.top = min((place for place in (top, newest) if place is not None), default=None)
        self._portion = LOOKED_AT_FIRST
        self._stops_at = time.monotonic() + (TEXT_SECONDS if wanted.text else FILTER_SECONDS)
        named = self._named(wanted.text) if wanted.text is not None else None
        ways = [[named]] if named else _ways(wanted)
        self._branches = ways[0] if len(ways) == 1 else min(ways, key=self._peek)
        self._rest = list(_conditions(wanted, known=self._branches[0].keys()))
        if wanted.text is not None and not named:
            self._rest.append(_speaks_of(wanted.text, connection.dialect))

    @property
    def has_taken_long(self) -> bool:
        """True when it is time to answer with what was found."""
        return time.monotonic() >= self._stops_at

    def step(self, count: int) -> Iterable[RowMapping]:
        """At most ``count`` records from where the walk stands. Take them all, or let the walk be."""
        size = func.length(invocations.c.parameters) + func.coalesce(func.length(invocations.c.result), 0)
        query = _records().add_columns(size.label("size"))
        if self._rest:
            candidates = self._next_portion()
        else:
            self.is_over = True
            candidates = self._sequences(self._branches, limit=count)
        query = query.where(invocations.c.sequence.in_(candidates), *self._rest)
        query = query.order_by(invocations.c.sequence.desc()).limit(count)
        # A few at a time: a page of the largest results would not fit into the runner's memory.
        return self._connection.execute(query.execution_options(yield_per=ROWS_AT_ONCE)).mappings()

    def _next_portion(self) -> Select[Any]:
        """The sequences to look at next; the walk stands behind them then."""
        last = self._sequences(self._branches, limit=self._portion).offset(self._portion - 1).limit(1)
        end = self._connection.execute(last).scalar()
        candidates = self._sequences(self._branches, down_to=end)
        self.top = end
        self.is_over = end is None
        self._portion = min(2 * self._portion, LOOKED_AT_ONCE)
        return candidates

    def _sequences(
        self, branches: "Sequence[_Branch]", *, limit: int | None = None, down_to: int | None = None
    ) -> Select[Any]:
        """Sequences of the records on these branches, from where the walk stands, newest first."""
        sequence = invocations.c.sequence
        walls = [sequence < self.top] if self.top is not None else []
        if down_to is not None:
            walls.append(sequence >= down_to)
        elif self._bottom is not None:
            walls.append(sequence > self._bottom)
        parts = []
        for branch in branches:
            on_it = [invocations.c[name] == value for name, value in branch.items()]
            parts.append(select(sequence).where(*on_it, *walls).order_by(sequence.desc()).limit(limit))
        if len(parts) == 1:
            return parts[0]
        # Each branch is in order, but SQL does not let the database know when it is asked for several values at once.
        together = union_all(*(select(part.subquery().c.sequence) for part in parts)).subquery()
        return select(together.c.sequence).order_by(together.c.sequence.desc()).limit(limit)

    def _peek(self, branches: "Sequence[_Branch]") -> int:
        """How many records this way leads past, if they are few."""
        some = self._sequences(branches, limit=LOOKED_AT_ONCE).subquery()
        return self._connection.execute(select(func.count()).select_from(some)).scalar_one()

    def _named(self, text: str) -> "_Branch | None":
        """The branch of what has this very text as its id or container, if there is such an invocation."""
        for column in (invocations.c.id, invocations.c.container_name):
            if self._connection.execute(select(column).where(column == text).limit(1)).first() is not None:
                return {column.name: text}
        return None

    def _span(self, wanted: Wanted) -> tuple[int | None, int | None]:
        """Between which sequences everything lies that was accepted from ``since`` to ``until``."""
        bottom = self._bisect(wanted.since - CLOCK_SLACK)[0] if wanted.since is not None else None
        top = self._bisect(wanted.until + CLOCK_SLACK)[1] if wanted.until is not None else None
        return bottom, top

    def _bisect(self, moment: datetime) -> tuple[int, int]:
        """Two sequences: up to the one, records were accepted before the moment, and from the other on, after it.

        Times follow the order of acceptance almost, so that they need no index, which every invocation would pay for.
        """
        sequence = invocations.c.sequence
        # Not in one query: SQLite finds either of them at once, and both by reading all.
        oldest, newest = (self._connection.execute(select(end(sequence))).scalar() for end in (func.min, func.max))
        before, after = (oldest or 1) - 1, (newest or 0) + 1
        next_one = select(sequence, invocations.c.created_at).order_by(sequence).limit(1)
        while after - before > 1:
            middle = (before + after) // 2
            row = self._connection.execute(next_one.where(sequence >= middle)).first()
            if row is not None and row.sequence < after and row.created_at < moment:
                before = row.sequence
            else:
                after = middle
        return before, after


_Branch = Mapping[str, str | None]  # columns of one index, and what stands in them


def _ways(wanted: Wanted) -> list[list[_Branch]]:
    """The indexes along which one may walk, each by one branch or by several that are merged."""
    if wanted.run_id is not None:
        return [[{"mlflow_run_id": wanted.run_id}]]
    ways: list[list[_Branch]] = []
    if wanted.model_name is not None:
        version = {"model_version": wanted.model_version} if wanted.model_version is not None else {}
        ways.append([{"model_name": wanted.model_name, **version}])
    function = {"function": wanted.function} if wanted.function is not None else {}
    if wanted.statuses:
        ways.append([{**function, "status": status} for status in dict.fromkeys(wanted.statuses)])
    elif function:
        ways.append([function])
    return ways or [[{}]]


def _conditions(wanted: Wanted, *, known: Collection[str]) -> Iterator[ColumnElement[bool]]:
    """What the way does not know already of a record that is wanted."""
    equal = {
        "mlflow_run_id": wanted.run_id,
        "model_name": wanted.model_name,
        "model_version": wanted.model_version,
        "function": wanted.function,
        "start": wanted.start,
    }
    for name, value in equal.items():
        if value is not None and name not in known:
            yield _looked_at(invocations.c[name]) == value
    if wanted.statuses and "status" not in known:
        yield _looked_at(invocations.c.status).in_(wanted.statuses)
    if wanted.not_run_id is not None:
        yield invocations.c.mlflow_run_id.is_distinct_from(wanted.not_run_id)
    if wanted.since is not None:
        yield _looked_at(invocations.c.created_at) >= wanted.since
    if wanted.until is not None:
        yield _looked_at(invocations.c.created_at) < wanted.until
    if wanted.finished_since is not None:
        yield invocations.c.finished_at >= wanted.finished_since


def _looked_at(column: ColumnElement[T]) -> ColumnElement[T]:
    """The column, in a form that keeps the database from walking along an index of its own choice."""
    return func.coalesce(column, column)


def _speaks_of(text: str, dialect: Dialect) -> ColumnElement[bool]:
    """True for records whose id begins with the text, or that have it in a name, the parameters, result or error.

    The letters of ASCII may be large or small.
    """
    # LIKE ignores their size in SQLite and not in Postgres, which has another word for that.
    contains, begins = ("contains", "startswith") if dialect.name == "sqlite" else ("icontains", "istartswith")

    def search(column: ColumnElement[Any], method: str, wanted: str) -> ColumnElement[bool]:
        found: ColumnElement[bool] = getattr(type_coerce(column, Text), method)(wanted, autoescape=True)
        return found

    this = invocations.c
    places = [search(this.id, begins, text)]
    places += [search(column, contains, text) for column in (this.container_name, this.caller)]
    # As the text stands in JSON, where it is a part of a string, and where it is more than that.
    cases = (text,) if text.isascii() else (text, text.lower(), text.upper())
    spellings = dict.fromkeys([text, *(_dump(case)[1:-1] for case in cases)])
    places += [
        search(column, contains, spelling)
        for column in (this.parameters, this.result, this.error)
        for spelling in spellings
        if spelling.isascii()  # nothing else is stored
    ]
    return or_(*places)


def _invocation(row: RowMapping) -> Invocation:
    values = {entry.name: row[entry.name] for entry in fields(Invocation) if entry.name in row}
    mlflow = {key: row[column] for key, column in MLFLOW_COLUMNS.items() if row[column] is not None}
    values |= {
        "status": Status(row["status"]),
        "mode": Mode(row["mode"]),
        "start": row["start"] and Start(row["start"]),
        "timings": Timings(**{entry.name: row[entry.name] for entry in fields(Timings)}),
        "mlflow": mlflow or None,
        "callback": _callback(row) if row["callback_state"] is not None else None,
        # Before anything is noted of the log of a container, it is being written.
        "log_state": LogState(row["log_state"] or LogState.OPEN) if row["container_name"] else None,
        "progress": _progress(row["progress"], row["started_at"]),
    }
    return Invocation(**values)


def _progress(said: Mapping[str, Any] | None, started_at: datetime | None) -> Progress | None:
    """What was said since the invocation was handed over: not by an earlier attempt."""
    if said is None or started_at is None:
        return None
    progress = Progress(**{**said, "at": datetime.fromisoformat(said["at"])})
    return progress if progress.at >= started_at else None


def _alias_move(row: RowMapping) -> AliasMove:
    values = {entry.name: row[entry.name] for entry in fields(AliasMove)}
    return AliasMove(**values | {"action": AliasAction(row["action"])})


def _callback(row: RowMapping) -> Callback:
    told = {name: row[f"callback_{name}"] for name in CALLBACK_COLUMNS}
    return Callback(url=row["callback_url"], **{**told, "state": CallbackState(told["state"])})


def _unclaimed() -> tuple[ColumnElement[bool], ...]:
    """Asynchronous invocations that nobody works on."""
    return (
        invocations.c.status == Status.QUEUED,
        invocations.c.mode == Mode.ASYNC,
        invocations.c.owner.is_(None),
        invocations.c.cancel_requested_at.is_(None),
    )


def _due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        *_unclaimed(),
        or_(invocations.c.not_before.is_(None), invocations.c.not_before <= now),
        or_(invocations.c.expires_at.is_(None), invocations.c.expires_at > now),
    )


def _of_key(function: str, key: IdempotencyKey) -> tuple[ColumnElement[bool], ...]:
    return (
        idempotency_keys.c.caller == EVERYBODY,
        idempotency_keys.c.function == function,
        idempotency_keys.c.key == key.key,
    )


def _meaning_of(connection: Connection, function: str, key: IdempotencyKey) -> str | None:
    """The id of the invocation that the key stands for.

    None when it is free: never used, expired, or its invocation ended before anybody was handed it.
    """
    query = (
        select(
            idempotency_keys.c.invocation_id,
            idempotency_keys.c.request_sha256,
            idempotency_keys.c.expires_at,
            invocations.c.status,
            invocations.c.delivered,
        )
        .join_from(idempotency_keys, invocations, invocations.c.id == idempotency_keys.c.invocation_id)
        .where(*_of_key(function, key))
    )
    found = connection.execute(query).one_or_none()
    if found is None or found.expires_at <= utc_now() or (found.status in ENDS and not found.delivered):
        return None
    if found.request_sha256 != key.request_sha256:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was used for a request with other parameters. A key stands for one request: use a "
            "new one for a new request.",
            invocation_id=found.invocation_id,
        )
    invocation_id: str = found.invocation_id
    return invocation_id


def _make_room_for(connection: Connection, function: str, key: IdempotencyKey) -> None:
    """Make sure that the key is free; raises what `Store.start` says."""
    invocation_id = _meaning_of(connection, function, key)
    if invocation_id is not None:
        raise Repeated(invocation_id)
    connection.execute(delete(idempotency_keys).where(*_of_key(function, key)))


def _remember(connection: Connection, invocation: Invocation, key: IdempotencyKey) -> None:
    connection.execute(
        insert(idempotency_keys).values(
            caller=EVERYBODY,
            function=invocation.function,
            key=key.key,
            request_sha256=key.request_sha256,
            invocation_id=invocation.id,
            expires_at=key.expires_at,
        )
    )


def _handle(connection: Connection, occurrence: Occurrence, **changes: Any) -> None:
    """Note that a time of a schedule is dealt with, which only one can do."""
    change = (
        update(schedules)
        .where(
            schedules.c.function == occurrence.function,
            schedules.c.name == occurrence.name,
            schedules.c.handled_until == occurrence.handled_until,
        )
        .values(handled_until=occurrence.due, **changes)
    )
    if connection.execute(change).rowcount == 0:
        raise AlreadyHandled


def _known(**facts: object) -> dict[str, object]:
    return {name: value for name, value in facts.items() if value is not None}


def _noting(names: Sequence[str], dialect: Dialect) -> Insert:
    """The statement that adds these to what is known of an invocation; nothing happens when there is none."""
    upsert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[dialect.name]
    values = [bindparam(name, type_=invocation_facts.c[name].type) for name in names]
    recorded = select(invocations.c.id, *values).where(invocations.c.id == bindparam("noted_id"))
    addition = upsert(invocation_facts).from_select(["invocation_id", *names], recorded)
    known = {name: addition.excluded[name] for name in names}
    statement: Insert = addition.on_conflict_do_update(index_elements=["invocation_id"], set_=known)
    return statement


class _Prepared:
    """What is written for every invocation, as text and ready for SQLite's driver.

    SQLAlchemy takes longer to execute one of these statements than SQLite does.
    """

    def __init__(self) -> None:
        # By statement and by what is set. Few: what is set differs only in what an invocation tells about MLflow.
        self._known: dict[tuple[Insert | Update, tuple[str, ...]], _Text] = {}
        self._noting: dict[tuple[str, ...], Insert] = {}  # by the names of the facts

    def insert(self, connection: Connection, statement: Insert, values: Mapping[str, Any]) -> int | None:
        """Add a row; returns its primary key."""
        if connection.dialect.name != "sqlite":
            key = connection.execute(statement, values).inserted_primary_key
            return key[0] if key else None
        return self._run(connection, statement, values).lastrowid

    def update(self, connection: Connection, statement: Update, values: Mapping[str, Any]) -> int:
        """Change rows; returns how many."""
        if connection.dialect.name != "sqlite":
            return connection.execute(statement, values).rowcount
        return self._run(connection, statement, values).rowcount

    def note(self, connection: Connection, invocation_id: str, facts: Mapping[str, object]) -> None:
        """Add to what is known of the invocation; nothing happens when there is none."""
        names = tuple(facts)
        statement = self._noting.get(names)
        if statement is None:
            statement = self._noting[names] = _noting(names, connection.dialect)
        values = {**facts, "noted_id": invocation_id}
        if connection.dialect.name != "sqlite":
            connection.execute(statement, values)
        else:
            self._run(connection, statement, values)

    def _run(self, connection: Connection, statement: Insert | Update, values: Mapping[str, Any]) -> sqlite3.Cursor:
        key = (statement, tuple(values))
        text_of = self._known.get(key)
        if text_of is None:
            text_of = self._known[key] = _Text.of(statement, values, connection.dialect)
        return _execute(connection, text_of.sql, text_of.parameters(values))


@dataclass(frozen=True)
class _Text:
    """A statement as SQLite's driver gets it."""

    sql: str
    names: tuple[str, ...]  # of its parameters, in their order
    constants: Mapping[str, Any]  # parameters that the statement itself sets
    to_database: Mapping[str, Callable[[Any], Any]]  # for types that are not kept as they are

    @classmethod
    def of(cls, statement: Insert | Update, names: Iterable[str], dialect: Dialect) -> "_Text":
        """The statement that sets these."""
        names = list(names)
        compiled = statement.compile(dialect=dialect, column_keys=names)
        order = tuple(compiled.positiontup or ())
        processors = {name: compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect) for name in order}
        return cls(
            str(compiled),
            order,
            {name: value for name, value in compiled.params.items() if name not in names},
            {name: processor for name, processor in processors.items() if processor is not None},
        )

    def parameters(self, values: Mapping[str, Any]) -> list[Any]:
        """The values in their order, as the database keeps them."""
        found = []
        for name in self.names:
            value = values[name] if name in values else self.constants[name]
            processor = self.to_database.get(name)
            found.append(value if processor is None else processor(value))
        return found


def _execute(connection: Connection, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
    """Let SQLite's driver execute it in the connection's transaction; its errors become SQLAlchemy's as usual."""
    raw: Any = connection.connection.dbapi_connection
    try:
        cursor: sqlite3.Cursor = raw.execute(sql, parameters)
    except sqlite3.Error as error:
        raise DBAPIError.instance(sql, parameters, error, sqlite3.Error, dialect=connection.dialect) from error
    return cursor


@dataclass(eq=False)
class _Turn:
    """What one thread wants to write, and what came of it."""

    work: Callable[[Connection], Any]
    is_over: threading.Event = field(default_factory=threading.Event)  # done, or to be done by the thread itself
    is_done: bool = False
    outcome: Any = None
    error: Exception | None = None


class _Commits:
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


class _Checkpoints:
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


class _Later:
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
        """Write these soon."""
        with self._changed:
            self._waiting += noted
            if self._thread is None:
                self._is_closed = False
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


def _dump(value: Any, *, canonical: bool = False) -> str:
    """Strict JSON without spaces; with ``canonical``, the same text for objects that are equal."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False, sort_keys=canonical)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, 64 hex digits: equal for values that are equal."""
    return hashlib.sha256(_dump(value, canonical=True).encode()).hexdigest()


def _cursor(sequence: int) -> str:
    """Opaque, so that nobody computes one: what it holds may change."""
    return base64.urlsafe_b64encode(str(sequence).encode()).decode().rstrip("=")


def _sequence_of(cursor: str) -> int:
    try:
        sequence = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        if not re.fullmatch(r"[0-9]{1,18}", sequence):
            raise ValueError
        return int(sequence)
    except (binascii.Error, ValueError):
        raise InvalidRequest(
            "This page of invocations does not exist: take `before` from the `next` of another page.",
            errors=[FieldError("/before", "is not a cursor that was handed out here")],
        ) from None
