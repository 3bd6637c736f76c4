"""The record itself: every question and every change, each one statement or one transaction."""

import os
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import alembic.command
import alembic.config
from alembic.util.exc import CommandError
from sqlalchemy import (
    ColumnElement,
    Connection,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    union,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from function_runner.errors import DiskFull, SettingsError, StoreUnavailable
from function_runner.invocation import (
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
from function_runner.store.database import engines, persist, translated
from function_runner.store.encoding import cursor_of, digest, sequence_of
from function_runner.store.keys import make_room_for, meaning_of, remember
from function_runner.store.prepared import ACCEPT, END, HAND_OVER, SUCCEED, SUCCEED_WITH_NULL, Prepared
from function_runner.store.rows import as_alias_move, as_invocation, select_records
from function_runner.store.search import Walk, Wanted
from function_runner.store.tables import (
    ENDS,
    MLFLOW_COLUMNS,
    OPEN,
    Utc,
    alias_moves,
    callbacks,
    idempotency_keys,
    invocation_events,
    invocation_facts,
    invocations,
    owners,
    schedules,
)
from function_runner.store.values import (
    AliasMove,
    AlreadyHandled,
    DueCallback,
    End,
    LogOnRecord,
    Maker,
    Removal,
    StoreSize,
)
from function_runner.store.writing import Checkpoints, Commits, Later

T = TypeVar("T")

PAGE_BYTES = 8 * 1024 * 1024  # parameters and results on one page of `Store.search`
NOTED_AT_ONCE = 20  # so many of them take about a millisecond, which somebody's answer may have to wait
CLAIM_LOOKAHEAD = 100  # rows looked at beyond those wanted, because some functions may be at their limit
ENDS_SEEN_SECONDS = 1.0  # how often somebody who waits for an end looks for one that another runner wrote
MIGRATIONS = Path(__file__).parents[1] / "migrations"
MIGRATION_LOCK = 0x736D6C6F  # number of the Postgres advisory lock under which the tables are made


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
        self._writer, self._reader = engines(database_url)
        self._min_free_bytes = min_free_bytes
        is_file = self._writer.dialect.name == "sqlite"
        self._file = Path(str(self._writer.url.database)) if is_file else None  # Postgres looks after its own disk
        self._commits = Commits(self._writer)
        self._prepared = Prepared()
        self._checkpoints = Checkpoints(self._reader)
        self._later = Later(self._note_all)
        self._lock = threading.Lock()
        self._awaited: dict[str, list[threading.Event]] = {}  # ends that somebody waits for; guarded by the lock

    def migrate(self) -> None:
        """Bring the tables to the newest version. Does nothing when they are; safe when two runners start at once.

        Raises:
            SettingsError: the database was made by a newer function runner than this one.
        """
        config = alembic.config.Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))

        def upgrade() -> None:
            with translated(), self._writer.begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
                config.attributes["connection"] = connection
                alembic.command.upgrade(config, "head")

        try:
            persist(upgrade)
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
                make_room_for(connection, invocation.function, key)
            sequence = self._prepared.insert(connection, ACCEPT, values)
            if key is not None:
                remember(connection, invocation, key)
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
            return meaning_of(connection, function, key)

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
            rows = connection.execute(select_records().where(*mine).order_by(*order)).mappings()
            return [as_invocation(row) for row in rows]

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
        return persist(lambda: self._write(lambda connection: connection.execute(change).rowcount == 1))

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
        query = select_records().where(*_unclaimed(), invocations.c.expires_at <= utc_now()).limit(1000)
        with self._reading() as connection:
            return [as_invocation(row) for row in connection.execute(query).mappings()]

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
        persist(lambda: self._write(lambda connection: connection.execute(change)))

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

        is_ended = self._write(end) if is_tried_once else persist(lambda: self._write(end))
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
            persist(partial(self._note_all, noted))
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
            row = connection.execute(select_records().where(invocations.c.id == invocation_id)).mappings().one_or_none()
        return as_invocation(row) if row is not None else None

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
        top = sequence_of(before) if before is not None else None
        page: list[Invocation] = []
        room, last = PAGE_BYTES, 0
        with self._reading() as connection:
            walk = Walk(connection, wanted or Wanted(), top)
            while True:
                for row in walk.step(limit - len(page) + 1):
                    room -= row["size"]
                    if len(page) == limit or (page and room < 0):
                        return page, cursor_of(last)
                    page.append(as_invocation(row))
                    last = row["sequence"]
                if walk.top is None or walk.is_over:
                    return page, None
                if walk.has_taken_long:
                    return page, cursor_of(walk.top)

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
            select_records()
            .where(
                invocations.c.status.in_(OPEN),
                or_(invocations.c.owner.is_not(None), invocations.c.cancel_requested_at.is_not(None)),
            )
            .order_by(invocations.c.sequence)
        )
        with self._reading() as connection:
            return [as_invocation(row) for row in connection.execute(query).mappings()]

    def open_invocations(self) -> list[Invocation]:
        """Every record that has not ended, oldest first."""
        query = select_records().where(invocations.c.status.in_(OPEN)).order_by(invocations.c.sequence)
        with self._reading() as connection:
            return [as_invocation(row) for row in connection.execute(query).mappings()]

    def unsettled(self) -> list[Invocation]:
        """Every record that has ended while nothing is known of its log yet, oldest first."""
        query = (
            select_records()
            .where(
                invocations.c.status.in_(ENDS),
                invocations.c.container_name.is_not(None),
                invocation_facts.c.log_state.is_(None),
            )
            .order_by(invocations.c.sequence)
        )
        with self._reading() as connection:
            return [as_invocation(row) for row in connection.execute(query).mappings()]

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
            return {row["alias"]: as_alias_move(row) for row in connection.execute(query).mappings()}

    def alias_history(self, model: str, *, alias: str | None = None, limit: int = 100) -> list[AliasMove]:
        """The moves of a model's aliases, or of one of them, newest first."""
        query = select(alias_moves).where(alias_moves.c.model == model)
        if alias is not None:
            query = query.where(alias_moves.c.alias == alias)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(alias_moves.c.sequence.desc()).limit(limit)).mappings()
            return [as_alias_move(row) for row in rows]

    def _write(self, work: Callable[[Connection], T]) -> T:
        """Do it in a transaction; when this returns, it is on the disk. ``work`` may be done more than once."""
        with translated():
            return self._commits.run(work)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with translated(), self._reader.begin() as connection:
            yield connection


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


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
