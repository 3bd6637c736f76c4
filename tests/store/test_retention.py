"""Records that are old, or too many, leave in small batches, and take everything of theirs along."""

import os
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from io import StringIO

import alembic.command
import alembic.config
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import event

from function_runner.errors import DiskFull
from function_runner.invocation import Invocation, LogState, Status, new_invocation_id, utc_now
from function_runner.store import Store
from function_runner.store import record as record_module
from support.paths import ROOT

ALL = 2**62
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def aged(record):
    """Makes one whole invocation that was accepted so many days ago."""

    def run(days=0.0, status=Status.SUCCEEDED, *, container_name="echo-0123456789ab", log_state=None, **outcome):
        invocation = Invocation(
            id=new_invocation_id(),
            function="echo",
            parameters={},
            status=Status.QUEUED,
            created_at=NOW - timedelta(days=days),
            timeout_seconds=60.0,
        )
        record.store.start(invocation)
        assert record.mark_running(invocation.id, container_name)
        if status.is_terminal:
            assert record.finish(invocation.id, status, result=1, **outcome)
        if log_state is not None:
            record.store.note_facts(invocation.id, log_state=log_state, log_bytes=10, log_sha256="5" * 64)
        return invocation.id

    return run


def remove(record, *, after=0, below=ALL, before=None, kept_runs=frozenset(), limit=100):
    return record.store.remove_ended(after=after, below=below, before=before, kept_runs=kept_runs, limit=limit)


def ids(record):
    return [one.id for one in reversed(record.store.search(limit=100)[0])]


def test_it_works(record, aged):
    aged(40, log_state=LogState.COMPLETE)
    young = aged(20, log_state=LogState.COMPLETE)
    cutoff = NOW - timedelta(days=30)
    removal = remove(record, below=record.store.first_since(cutoff), before=cutoff)
    assert (removal.count, removal.containers) == (1, {"echo-0123456789ab"})
    assert ids(record) == [young]


def add_key(record, invocation_id, days):
    expires_at = (utc_now() + timedelta(days=days)).strftime("%Y-%m-%d %H:%M:%S.%f")
    record.sql("INSERT INTO idempotency_keys VALUES ('', 'echo', 'k', ?, ?, ?)", "5" * 64, invocation_id, expires_at)


def test_everything_of_the_record_goes_with_it(record, aged):
    add_key(record, aged(log_state=LogState.COMPLETE), days=-0.1)
    assert remove(record).count == 1
    for table in ("invocations", "invocation_facts", "invocation_events", "idempotency_keys"):
        assert record.sql(f"SELECT * FROM {table}") == []


def test_while_its_key_is_remembered_the_record_stays(record, aged):
    add_key(record, aged(40), days=0.1)
    assert remove(record).count == 0
    assert len(ids(record)) == 1


@pytest.mark.parametrize(("state", "stays"), [("pending", True), ("delivered", False), ("failed", False)])
def test_until_its_callback_is_done_with_the_record_stays(record, aged, state, stays):
    invocation_id = aged(40)
    record.sql("INSERT INTO callbacks (invocation_id, state) VALUES (?, ?)", invocation_id, state)
    assert remove(record).count == (0 if stays else 1)
    assert bool(record.sql("SELECT * FROM callbacks")) is stays


def test_sources_that_open_records_wait_for_are_named(record, aged):
    aged()
    assert record.store.sources_in_use() == set()
    aged(status=Status.RUNNING)
    record.start(source_hash="7" * 64)
    record.start()
    assert record.store.sources_in_use() == {("echo", "5" * 64), ("echo", "7" * 64)}


@pytest.mark.parametrize("status", list(Status))
def test_only_what_has_ended_goes(record, status):
    if status is Status.QUEUED:
        record.start()
    elif status is Status.STARTING:
        record.store.mark_starting(record.start(), container_name="echo-1")
    elif status is Status.RUNNING:
        record.mark_running(record.start())
    else:
        record.run(status=status)
    removal = remove(record)
    assert (removal.count if removal else 0) == (1 if status.is_terminal else 0)
    assert len(ids(record)) == (0 if status.is_terminal else 1)


def test_in_batches_from_the_oldest_on(record, aged):
    made = [aged() for _ in range(5)]
    first = remove(record, limit=2)
    assert ids(record) == made[2:]
    second = remove(record, after=first.last_sequence, limit=2)
    assert (second.count, ids(record)) == (2, made[4:])
    assert remove(record, after=second.last_sequence, limit=2).count == 1
    assert remove(record) is None


def test_the_record_of_a_run_that_is_kept_stays(record, aged):
    kept = aged(mlflow={"run_id": "kept"})
    aged(mlflow={"run_id": "gone"})
    aged()
    removal = remove(record, kept_runs=frozenset({"kept"}))
    assert (removal.count, removal.last_sequence) == (2, 3)
    assert ids(record) == [kept]
    assert [(maker.sequence, maker.image_id) for maker in record.store.makers(frozenset({"kept"}))] == [(1, "sha256:1")]


def test_while_nobody_knows_every_record_of_a_run_stays(record, aged):
    kept = aged(mlflow={"run_id": "perhaps"})
    aged()
    assert remove(record, kept_runs=None).count == 1
    assert ids(record) == [kept]
    assert len(record.store.makers(None)) == 1


def test_a_time_that_was_wrong_for_a_while_removes_nothing_young(record, aged):
    young = [aged(1) for _ in range(5)]
    wrong = aged(20_000)
    young += [aged(0.5) for _ in range(5)]
    cutoff = NOW - timedelta(days=30)
    remove(record, below=record.store.first_since(cutoff), before=cutoff)
    assert [one for one in ids(record) if one != wrong] == young


@pytest.mark.parametrize(("days", "first"), [(100, 1), (35, 2), (25, 3), (15, 4), (5, 5)])
def test_the_first_record_since_a_moment_is_found(record, aged, days, first):
    for age in (40, 30, 20, 10):
        aged(age)
    assert record.store.first_since(NOW - timedelta(days=days)) == first


@pytest.mark.parametrize("days", [41, 36.5, 34.5, 31.5, 29.5, 0])
def test_it_is_found_between_gaps(record, aged, days):
    made = [aged(40 - number) for number in range(12)]
    for number in (0, 3, 4, 5, 9):
        record.sql("DELETE FROM invocations WHERE id = ?", made[number])
    moment = NOW - timedelta(days=days)
    first = record.store.first_since(moment)
    records = record.store.search(limit=100)[0]
    assert {one.id for one in records if one.sequence < first} == {one.id for one in records if one.created_at < moment}


def test_without_records_there_is_nothing_to_remove(record):
    assert record.store.first_since(NOW) == 1
    assert remove(record) is None
    assert record.store.size().records == 0


def test_records_are_counted(record, aged):
    aged()
    aged(status=Status.RUNNING)
    aged(mlflow={"run_id": "r"})
    assert record.store.count_ended(below=ALL) == 2
    assert record.store.count_ended(below=3) == 1
    assert [maker.sequence for maker in record.store.makers(None)] == [3]
    size = record.store.size()
    assert size.records == 3
    assert size.bytes >= size.used_bytes > 0


def test_no_batch_looks_at_all_records(record, aged):
    for number in range(60):
        aged(40, container_name=f"echo-{number:012x}")
    asked = []
    for engine in (record.store._reader, record.store._writer):
        event.listen(engine, "before_cursor_execute", lambda _c, _k, sql, values, *_: asked.append((sql, values)))
    removal = remove(record, before=NOW, limit=50)
    record.store.logs_on_record(removal.containers)
    record.store.makers(frozenset({"r"}))
    asked = [(sql, values) for sql, values in asked if not sql.startswith("BEGIN")]
    assert len(asked) == 7
    steps = [row[3] for sql, values in asked for row in record.sql(f"EXPLAIN QUERY PLAN {sql}", *values)]
    assert not [step for step in steps if step.startswith("SCAN") or "ix_invocations_status" in step]


def test_the_logs_of_all_attempts_are_named(record):
    invocation_id = record.start()
    record.store.mark_starting(invocation_id, container_name="echo-1")
    record.store.mark_starting(invocation_id, container_name="echo-2")
    record.mark_running(invocation_id, "echo-2")
    record.finish(invocation_id, Status.FAILED)
    assert remove(record).containers == {"echo-1", "echo-2"}


class TestLogs:
    def test_it_works(self, record, aged):
        invocation_id = aged(log_state=LogState.TRUNCATED)
        (before,) = record.store.logs_on_record(["echo-0123456789ab", "other"])
        assert (before.invocation_id, before.is_settled, before.is_expired) == (invocation_id, True, False)
        record.store.note_logs_expired([invocation_id])
        (after,) = record.store.logs_on_record(["echo-0123456789ab"])
        assert (after.is_settled, after.is_expired) == (True, True)
        found = record.get(invocation_id)
        assert (found.log_state, found.log_bytes) == (LogState.EXPIRED, 10)

    @pytest.mark.parametrize("log_state", [None, LogState.OPEN])
    def test_a_log_that_is_not_closed_is_not_settled(self, record, aged, log_state):
        aged(log_state=log_state)
        assert not record.store.logs_on_record(["echo-0123456789ab"])[0].is_settled

    def test_the_log_of_an_invocation_that_runs_is_not_settled(self, record, aged):
        aged(status=Status.RUNNING, log_state=LogState.COMPLETE)
        assert not record.store.logs_on_record(["echo-0123456789ab"])[0].is_settled

    def test_each_invocation_of_a_container_is_named(self, record, aged):
        made = {aged(), aged(mlflow={"run_id": "r"})}
        found = record.store.logs_on_record(["echo-0123456789ab"])
        assert {entry.invocation_id for entry in found} == made
        assert {entry.run_id for entry in found} == {None, "r"}


class TestRoom:
    def room(self, monkeypatch, free):
        real = os.statvfs

        def statvfs(path):
            disk = list(real(path))
            disk[0] = disk[1] = 1
            disk[4] = free
            return os.statvfs_result(disk)

        monkeypatch.setattr(record_module.os, "statvfs", statvfs)

    def test_it_works(self, record, monkeypatch):
        store = Store(f"sqlite:///{record.file}", min_free_bytes=5 * 2**20)
        self.room(monkeypatch, 5 * 2**20)
        store.require_room()
        self.room(monkeypatch, 5 * 2**20 - 1)
        with pytest.raises(DiskFull, match=r"Only 4 MB are free.*MIN_FREE_DISK_MB asks for 5"):
            store.require_room()

    def test_without_a_bound_there_is_room(self, record, monkeypatch):
        self.room(monkeypatch, 0)
        record.store.require_room()

    def test_a_folder_that_is_gone_is_the_databases_affair(self, tmp_path):
        Store(f"sqlite:///{tmp_path}/gone/x.db", min_free_bytes=2**60).require_room()


class TestMigration:
    """From the tables as they were, with rows in them."""

    @pytest.fixture
    def before(self, tmp_path):
        file = tmp_path / "old.db"
        config = alembic.config.Config()
        migrations = ROOT / "function-runner/function_runner/migrations"
        config.set_main_option("script_location", str(migrations))
        store = Store(f"sqlite:///{file}")
        with store._writer.begin() as connection:
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, "0001")
        store.close()
        return file

    def test_it_works(self, before, record, tmp_path):
        shutil.copy(before, record.file)
        kept = record.run()
        other = record.run(exit_code=137, oom_killed=True)
        record.store.note_facts(kept, log_state=LogState.COMPLETE, log_bytes=12, log_sha256="5" * 64)
        with pytest.raises(sqlite3.IntegrityError):
            record.sql("UPDATE invocation_facts SET log_state = 'expired'")
        columns = ", ".join(row[1] for row in record.sql("PRAGMA table_info(invocation_facts)"))
        facts = record.sql(f"SELECT {columns} FROM invocation_facts ORDER BY invocation_id")
        assert len(facts) == 2

        record.store.migrate()

        assert record.sql(f"SELECT {columns} FROM invocation_facts ORDER BY invocation_id") == facts
        record.store.note_logs_expired([kept])
        assert record.get(kept).log_state is LogState.EXPIRED
        assert (record.get(other).exit_code, record.get(other).oom_killed) == (137, True)
        with pytest.raises(sqlite3.IntegrityError):
            record.sql("UPDATE invocation_facts SET log_state = 'odd'")

    def test_what_belongs_together_still_does(self, before, record):
        shutil.copy(before, record.file)
        record.run()
        record.store.migrate()
        with pytest.raises(sqlite3.IntegrityError):
            record.sql("INSERT INTO invocation_facts (invocation_id) VALUES ('nobody')")
        with pytest.raises(sqlite3.IntegrityError):
            record.sql("UPDATE invocations SET result = '2'")
        record.store.note_facts(record.get(ids(record)[0]).id, log_state=LogState.COMPLETE)
        record.sql("DELETE FROM invocations")
        assert record.sql("SELECT * FROM invocation_facts") == []
        assert record.sql("PRAGMA foreign_key_check") == []

    def test_on_postgres_the_constraint_is_replaced(self):
        written = StringIO()
        context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True, "output_buffer": written})
        scripts = ScriptDirectory(str(ROOT / "function-runner/function_runner/migrations"))
        with Operations.context(context):
            scripts.get_revision("0003").module.upgrade()
        drop, add = (" ".join(part.split()) for part in written.getvalue().split(";") if part.strip())
        assert drop == "ALTER TABLE invocation_facts DROP CONSTRAINT ck_invocation_facts_log_state"
        assert add.startswith("ALTER TABLE invocation_facts ADD CONSTRAINT ck_invocation_facts_log_state CHECK")
        assert "'expired'" in add
