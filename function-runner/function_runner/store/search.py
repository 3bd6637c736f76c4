"""The history: walks from new to old, along the index that leads past the fewest."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    RowMapping,
    Select,
    Text,
    func,
    or_,
    select,
    type_coerce,
    union_all,
)

from function_runner.invocation import Start, Status
from function_runner.store.encoding import dump
from function_runner.store.rows import select_records
from function_runner.store.tables import invocations

T = TypeVar("T")

# How long `Store.search` looks at records that an index cannot sort out, before it answers with what it has found: a
# caller waits for a page of the history, or for a text to be found.
FILTER_SECONDS = 0.015
TEXT_SECONDS = 0.5
LOOKED_AT_FIRST = 32  # records; twice as many each time
LOOKED_AT_ONCE = 2048
ROWS_AT_ONCE = 4
CLOCK_SLACK = timedelta(minutes=1)  # how far the times of records may contradict the order of acceptance


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


class Walk:
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
        query = select_records().add_columns(size.label("size"))
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
    spellings = dict.fromkeys([text, *(dump(case)[1:-1] for case in cases)])
    places += [
        search(column, contains, spelling)
        for column in (this.parameters, this.result, this.error)
        for spelling in spellings
        if spelling.isascii()  # nothing else is stored
    ]
    return or_(*places)
