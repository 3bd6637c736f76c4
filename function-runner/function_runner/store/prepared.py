"""The statements that every invocation needs, put together once."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Dialect, Insert, Text, Update, bindparam, insert, literal, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from function_runner.invocation import Status
from function_runner.store.database import execute
from function_runner.store.tables import OPEN, invocation_facts, invocations, listed

# What is written for every invocation. Put together once: doing that takes SQLAlchemy longer than running them.
_this = invocations.c.id == bindparam("this")
ACCEPT = insert(invocations)
HAND_OVER = (
    update(invocations)
    .where(_this, text(f"status IN ({listed((Status.QUEUED, Status.STARTING))})"))
    .values(delivered=invocations.c.delivered + 1)
)
END = update(invocations).where(_this, text(f"status IN ({listed(OPEN)})"))
SUCCEED = update(invocations).where(_this, text(f"status IN ({listed((Status.RUNNING,))})"))
SUCCEED_WITH_NULL = SUCCEED.values(result=literal("null", Text))


class Prepared:
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
        return execute(connection, text_of.sql, text_of.parameters(values))


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


def _noting(names: Sequence[str], dialect: Dialect) -> Insert:
    """The statement that adds these to what is known of an invocation; nothing happens when there is none."""
    upsert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[dialect.name]
    values = [bindparam(name, type_=invocation_facts.c[name].type) for name in names]
    recorded = select(invocations.c.id, *values).where(invocations.c.id == bindparam("noted_id"))
    addition = upsert(invocation_facts).from_select(["invocation_id", *names], recorded)
    known = {name: addition.excluded[name] for name in names}
    statement: Insert = addition.on_conflict_do_update(index_elements=["invocation_id"], set_=known)
    return statement
