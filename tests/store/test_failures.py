"""A database that is locked, full, broken or gone: said so, tried again where it matters, never half done."""

import logging
import sqlite3
import threading
import time
from contextlib import closing, contextmanager

import pytest

from function_runner.errors import StoreUnavailable
from function_runner.invocation import Status
from function_runner.store import Store, database
from support.waiting import wait_until


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr(database, "PERSISTENCE_SECONDS", 0.5)


@contextmanager
def locked(file):
    """Somebody else is writing."""
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def fill_the_disk(record):
    """From here on, SQLite finds no room for another page."""

    def limit(connection):
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    record.store._write(limit)


def test_a_locked_database_refuses_new_invocations_and_says_why(record):
    with locked(record.file), pytest.raises(StoreUnavailable, match="database is locked"):
        record.start()
    assert record.store.search() == ([], None)


def test_a_locked_database_can_still_be_read(record):
    invocation_id = record.start()
    with locked(record.file):
        assert record.get(invocation_id).status is Status.QUEUED


def test_an_outcome_waits_for_a_locked_database(record, monkeypatch, caplog):
    monkeypatch.setattr(database, "PERSISTENCE_SECONDS", 30.0)
    invocation_id = record.start()
    record.mark_running(invocation_id)
    with locked(record.file) as other:

        def release():
            wait_until(lambda: "store_retry" in {entry.__dict__.get("action") for entry in caplog.records})
            other.rollback()

        releasing = threading.Thread(target=release)
        with caplog.at_level(logging.WARNING):
            releasing.start()
            assert record.finish(invocation_id, result=1)
        releasing.join()
    assert record.get(invocation_id).status is Status.SUCCEEDED


def test_an_outcome_is_given_up_at_last(record):
    invocation_id = record.start()
    record.mark_running(invocation_id)
    with locked(record.file):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            record.finish(invocation_id, result=1)
        assert time.monotonic() - began < 20  # unpatched, it would be 30
    assert record.get(invocation_id).status is Status.RUNNING
    assert record.finish(invocation_id, result=1)


def test_a_full_disk_is_said_and_leaves_nothing_half_done(record):
    running = record.start()
    record.mark_running(running)
    fill_the_disk(record)
    with pytest.raises(StoreUnavailable, match="full"):
        record.start(parameters={"a": "x" * 100_000})
    with pytest.raises(StoreUnavailable, match="full"):
        record.finish(running, result="x" * 100_000)
    assert record.get(running).status is Status.RUNNING
    assert record.events(running) == [(1, "queued"), (1, "running")]


def test_it_goes_on_when_there_is_room_again(record):
    fill_the_disk(record)
    with pytest.raises(StoreUnavailable):
        record.start(parameters={"a": "x" * 100_000})
    record.store.close()  # new connections do not know the limit
    assert record.start(parameters={"a": "x" * 100_000})


def test_a_folder_that_is_not_there_is_said(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/nowhere/runner.db")
    for call in (store.migrate, store.check, store.open_invocations):
        with pytest.raises(StoreUnavailable, match="unable to open database file"):
            call()


def test_a_file_that_is_no_database_is_said(tmp_path):
    (tmp_path / "runner.db").write_text("this is not a database, it is a letter to my mother" * 100)
    store = Store(f"sqlite:///{tmp_path}/runner.db")
    with pytest.raises(StoreUnavailable, match="not a database"):
        store.check()


def test_a_check_fails_when_only_reading_works(record):
    record.store.check()
    with locked(record.file), pytest.raises(StoreUnavailable):
        record.store.check()
    record.store.check()


def test_a_broken_rule_is_a_bug_and_not_an_outage(record):
    invocation = record.get(record.start())
    with pytest.raises(Exception, match="exists") as broken:
        record.store.start(invocation)
    assert not isinstance(broken.value, StoreUnavailable)
