"""The tables, as the newest of ``migrations`` leaves them."""

import json
from collections.abc import Iterable
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator

from function_runner.invocation import CallbackState, LogState, Start, Status, Timings
from function_runner.store.encoding import dump
from function_runner.store.values import AliasAction

OPEN = tuple(status for status in Status if not status.is_terminal)
ENDS = tuple(status for status in Status if status.is_terminal)
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
        return None if value is None else dump(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        """The value that was stored."""
        return None if value is None else json.loads(value)


def listed(words: Iterable[str]) -> str:
    """The words as SQL lists them."""
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
    CheckConstraint(f"status IN ({listed(Status)})", name="status"),
    CheckConstraint("mode IN ('sync', 'async')", name="mode"),
    CheckConstraint(f"start IN ({listed(Start)})", name="start"),
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
    CheckConstraint(f"log_state IN ({listed(LogState)})", name="log_state"),
)
# Every state each attempt went through, written by triggers and by nobody else. One attempt is in each state once, and
# one invocation ends once.
_is_end = text(f"status IN ({listed(ENDS)})")
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
    CheckConstraint(f"action IN ({listed(AliasAction)})", name="action"),
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
    CheckConstraint(f"state IN ({listed(CallbackState)})", name="state"),
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
