"""Many threads, several runners, and processes that are killed: one wins, nothing is lost."""

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from function_runner.invocation import Status
from function_runner.store import Store
from support.waiting import wait_until

PACKAGE = Path(__file__).parents[2] / "function-runner"
ENDS = [status for status in Status if status.is_terminal]

MIGRATE = """
import sys
from function_runner.store import Store
store = Store(sys.argv[1])
sys.stdin.readline()
store.migrate()
store.check()
"""

ACCEPT = """
import sys
from function_runner.invocation import Invocation, Status, new_invocation_id, utc_now
from function_runner.store import Store
store = Store(sys.argv[1])
while True:
    invocation = Invocation(new_invocation_id(), "echo", {}, Status.QUEUED, utc_now(), 1.0)
    print(store.start(invocation).id, flush=True)
"""


def at_once(*calls: Callable[[], object]) -> list[object]:
    """The outcomes of all calls, made by threads that leave the line together."""
    line = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> object:
        line.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(run, call) for call in calls]]


@pytest.fixture
def python():
    """Starts a Python process that can import the package; none is left behind."""
    started = []

    def start(code, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=PACKAGE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_of_many_ends_one_wins(new_record):
    records = [new_record("runner-1"), new_record("runner-2")]
    for _ in range(10):
        invocation_id = records[0].start()
        records[0].mark_running(invocation_id)
        calls = [
            lambda number=number, invocation_id=invocation_id: records[number % 2].finish(
                invocation_id, ENDS[number % len(ENDS)], result=number, exit_code=number
            )
            for number in range(10)
        ]
        won = at_once(*calls)
        assert won.count(True) == 1
        winner = won.index(True)
        invocation = records[1].get(invocation_id)
        assert (invocation.status, invocation.exit_code) == (ENDS[winner % len(ENDS)], winner)
        assert len(records[0].events(invocation_id)) == 3


def test_of_two_containers_one_gets_the_invocation(record):
    for _ in range(10):
        invocation_id = record.start()
        names = [f"echo-{number}" for number in range(6)]
        won = at_once(
            *(lambda name=name, invocation_id=invocation_id: record.mark_running(invocation_id, name) for name in names)
        )
        assert won.count(True) == 1
        assert record.get(invocation_id).container_name == names[won.index(True)]


def test_what_is_cancelled_is_not_handed_over(record):
    for _ in range(10):
        invocation_id = record.start()
        ran, cancelled = at_once(
            lambda invocation_id=invocation_id: record.mark_running(invocation_id),
            lambda invocation_id=invocation_id: record.finish(invocation_id, Status.CANCELLED),
        )
        assert cancelled
        assert record.get(invocation_id).status is Status.CANCELLED
        delivered = (1, "running") in record.events(invocation_id)
        assert ran == delivered


def test_many_threads_get_a_number_each(record):
    at_once(*[record.start] * 32)
    numbers = [invocation.sequence for invocation in record.store.search(limit=100)[0]]
    assert numbers == list(range(32, 0, -1))


def test_whole_invocations_in_parallel(record):
    ids = at_once(*[record.run] * 24)
    assert record.store.count_by_status()["succeeded"] == 24
    for invocation_id in ids:
        assert record.events(invocation_id) == [(1, "queued"), (1, "running"), (1, "succeeded")]


def test_migrating_again_does_nothing(record):
    invocation_id = record.run()
    record.store.migrate()
    assert record.get(invocation_id).status is Status.SUCCEEDED


def test_several_processes_may_migrate_at_once(tmp_path, python):
    url = f"sqlite:///{tmp_path}/runner.db"
    processes = [python(MIGRATE, url) for _ in range(4)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    Store(url).check()


def test_what_was_accepted_survives_kill_9(record, python):
    process = python(ACCEPT, f"sqlite:///{record.file}")
    accepted = [process.stdout.readline().strip() for _ in range(50)]
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    accepted += [line for line in rest.split("\n")[:-1] if line]
    for invocation_id in accepted:
        assert record.get(invocation_id).status is Status.QUEUED
    # At most the one whose id was being printed is there without being known.
    assert record.store.count_by_status()["queued"] - len(accepted) in (0, 1)
    assert record.finish(accepted[0], Status.CANCELLED)


def commits_of(store):
    """Counts the transactions that reach the disk from now on."""
    counted = []
    event.listen(store._writer, "commit", counted.append)
    return counted


def test_writes_of_the_same_moment_share_a_commit(record):
    counted = commits_of(record.store)
    ids = at_once(*[record.start] * 40)
    assert len(set(ids)) == 40
    assert all(record.get(invocation_id).status is Status.QUEUED for invocation_id in ids)
    assert len(counted) < 40


def test_one_that_is_refused_does_not_harm_those_it_shares_with(record):
    existing = record.get(record.start())

    def refused():
        with pytest.raises(IntegrityError, match="exists"):
            record.store.start(existing)
        return "refused"

    outcomes = at_once(*[record.start] * 20, *[refused] * 5, *[record.start] * 20)
    assert outcomes.count("refused") == 5
    accepted = [outcome for outcome in outcomes if outcome != "refused"]
    assert all(record.get(invocation_id).status is Status.QUEUED for invocation_id in accepted)
    assert record.sql("SELECT count(*) FROM invocations") == [(41,)]


def test_a_write_alone_is_done_by_its_own_thread(record):
    seen = []
    event.listen(record.store._writer, "commit", lambda _: seen.append(threading.current_thread()))
    record.start()
    assert seen == [threading.current_thread()]


def test_the_log_of_the_database_is_emptied_in_the_background(record, monkeypatch):
    monkeypatch.setattr("function_runner.store.writing.CHECKPOINT_SECONDS", 0.1)
    record.store.migrate()
    invocation_id = record.run()

    def in_the_file_itself():
        with closing(sqlite3.connect(f"file:{record.file}?mode=ro&immutable=1", uri=True)) as file:
            return file.execute("SELECT status FROM invocations WHERE id = ?", (invocation_id,)).fetchall()

    wait_until(lambda: in_the_file_itself() == [("succeeded",)], what="the file itself has it")
