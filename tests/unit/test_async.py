"""Asynchronous invocations, cancelling, idempotency keys, replays and what survives the runner, on the fake engine."""

import random
import sqlite3
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from function_runner.dispatcher import Room
from function_runner.errors import (
    AlreadyEnded,
    BuildFailed,
    Busy,
    Cancelled,
    EngineUnavailable,
    HandlerError,
    IdempotencyKeyReused,
    ImageGone,
    InvocationNotFound,
    Killed,
    Lost,
    OutOfMemory,
    ParametersInvalid,
    StoreUnavailable,
    TimedOut,
)
from function_runner.invocation import Invocation, LogState, Mode, Request, Status, new_invocation_id, utc_now
from function_runner.invoker import MAX_ONLOOKERS
from function_runner.retry import next_attempt
from function_runner.store import Repeated, Wanted
from support.handlers import SLEEP
from support.waiting import wait_until

ECHO = "def handler(event, context):\n    return {'event': event, 'id': context.aws_request_id}\n"
REUSED = "invocations_per_container: 5"
LEAVES = SLEEP.replace("return 'slept'", "raise SystemExit(1)")
NAP = "import time\ndef handler(event, context):\n    time.sleep(0.3)\n    return 'slept'\n"


@pytest.fixture
def dispatching(runner):
    """The runner, with its dispatcher at work."""
    runner.dispatcher.start()
    return runner


def ended(runner, invocation_id, status=Status.SUCCEEDED):
    record = runner.invoker.wait(invocation_id, 60)
    assert record.status is status, record.error
    return record


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


def is_running(runner, invocation_id):
    wait_until(lambda: runner.store.get(invocation_id).status is Status.RUNNING)


class TestSubmit:
    def test_it_works(self, dispatching):
        dispatching.add("echo", ECHO)
        accepted = dispatching.invoker.submit(Request("echo", {"a": 1}, caller="me"))
        assert (accepted.status, accepted.mode, accepted.max_attempts) == (Status.QUEUED, Mode.ASYNC, 3)
        record = ended(dispatching, accepted.id)
        assert record.result == {"event": {"a": 1}, "id": record.id}
        assert (record.attempt, record.delivered, record.caller) == (1, 1, "me")
        assert record.timings.total_ms >= record.timings.run_ms
        assert dispatching.settled(record.id).log_state is LogState.COMPLETE

    def test_it_is_on_record_before_anything_runs(self, runner):
        runner.add("echo", ECHO)
        accepted = runner.invoker.submit(Request("echo", {}))
        assert runner.store.get(accepted.id).status is Status.QUEUED
        assert runner.store.backlog()[0] == 1
        assert "create" not in runner.engine.calls

    def test_what_is_refused_leaves_no_record(self, runner):
        runner.add("strict", ECHO, "parameters: {properties: {n: {type: integer}}}")
        with pytest.raises(ParametersInvalid):
            runner.invoker.submit(Request("strict", {"n": "x"}))
        assert runner.store.search()[0] == []

    def test_the_backlog_is_bounded(self, make_runner):
        runner = make_runner(backlog_limit=2)
        runner.add("echo", ECHO)
        for _ in range(2):
            runner.invoker.submit(Request("echo", {}))
        with pytest.raises(Busy) as caught:
            runner.invoker.submit(Request("echo", {}))
        assert caught.value.retry_after >= 1

    def test_all_of_many_are_run_once_and_in_order(self, dispatching):
        dispatching.add("echo", ECHO, "max_concurrency: 1")
        ids = [dispatching.invoker.submit(Request("echo", {"n": n})).id for n in range(12)]
        records = [ended(dispatching, one) for one in ids]
        assert [record.result["event"]["n"] for record in records] == list(range(12))
        started = [record.started_at for record in records]
        assert started == sorted(started)
        assert {record.delivered for record in records} == {1}

    def test_somebody_who_waits_for_an_answer_is_not_behind_a_long_list(self, dispatching):
        dispatching.add("sleep", SLEEP)
        dispatching.add("echo", ECHO)
        first, others = dispatching.until_woken("first"), dispatching.until_woken("others")
        ids = [dispatching.invoker.submit(Request("sleep", first if n < 4 else others)).id for n in range(30)]
        for one in ids[:4]:  # which is as many as can run
            is_running(dispatching, one)
        echo = dispatching.invoker.invoke(Request("echo", {}), patience=0)
        dispatching.wake("first")
        ended(dispatching, echo.id)
        assert dispatching.store.backlog()[0] > 10
        dispatching.dispatcher.stop()
        dispatching.wake("others")
        wait_until(lambda: not dispatching.invoker.in_flight)

    def test_a_failure_of_the_function_is_final(self, dispatching):
        dispatching.add("bad", "def handler(event, context):\n    raise ValueError('no')\n")
        record = ended(dispatching, dispatching.invoker.submit(Request("bad", {})).id, Status.FAILED)
        assert (record.attempt, record.error["code"]) == (1, "handler_error")

    def test_a_function_that_is_gone_by_then_is_a_failure(self, runner):
        import shutil

        folder = runner.add("echo", ECHO)
        accepted = runner.invoker.submit(Request("echo", {}))
        shutil.rmtree(folder)
        (claimed,) = runner.store.claim(1)
        runner.invoker.run(claimed)
        record = runner.store.get(accepted.id)
        assert (record.status, record.error["code"]) == (Status.FAILED, "function_not_found")


class TestRetry:
    def test_a_killed_container_is_followed_by_another_attempt(self, make_runner):
        runner = make_runner(retry_pause=0, max_concurrency=4)
        runner.dispatcher.start()
        runner.add("sleep", SLEEP)
        accepted = runner.invoker.submit(Request("sleep", runner.until_woken()))
        is_running(runner, accepted.id)
        first = runner.store.get(accepted.id).container_name
        runner.engine.kill_from_outside(first)
        runner.wake()
        record = ended(runner, accepted.id)
        assert (record.attempt, record.delivered, record.result) == (2, 2, "slept")
        assert record.container_name != first
        assert record.error is None
        wait_until(lambda: "Status: failed" in runner.logs.read(first).decode())  # beside the second attempt

    def test_not_for_ever(self, make_runner):
        runner = make_runner(retry_pause=0, max_attempts=2)
        runner.add("sleep", SLEEP)
        accepted = runner.invoker.submit(Request("sleep", runner.until_woken()))
        for _ in range(2):
            (claimed,) = wait_until(lambda: runner.store.claim(1))
            thread = threading.Thread(target=runner.invoker.run, args=(claimed,))
            thread.start()
            is_running(runner, accepted.id)
            runner.engine.kill_from_outside(runner.store.get(accepted.id).container_name)
            thread.join()
        record = runner.store.get(accepted.id)
        assert (record.status, record.attempt, record.delivered) == (Status.FAILED, 2, 2)
        assert record.error["code"] == "killed"

    def test_while_it_pauses_the_record_says_why(self, make_runner):
        runner = make_runner(retry_pause=3000)
        runner.add("sleep", SLEEP)
        accepted = runner.invoker.submit(Request("sleep", runner.until_woken()))
        (claimed,) = runner.store.claim(1)
        thread = threading.Thread(target=runner.invoker.run, args=(claimed,))
        thread.start()
        is_running(runner, accepted.id)
        runner.engine.kill_from_outside(runner.store.get(accepted.id).container_name)
        thread.join()
        record = runner.store.get(accepted.id)
        assert (record.status, record.attempt) == (Status.QUEUED, 2)
        assert record.error["code"] == "killed"
        assert record.not_before > utc_now() or record.not_before is not None
        assert runner.invoker.cancel(accepted.id).status is Status.CANCELLED

    @pytest.mark.parametrize(
        ("delivered", "mode", "error", "seconds"),
        [
            (1, Mode.ASYNC, Killed(), 60),
            (2, Mode.ASYNC, Lost(), 120),
            (3, Mode.ASYNC, Lost(), None),
            (0, Mode.ASYNC, Busy(), 2),
            (0, Mode.ASYNC, StoreUnavailable(), 2),
            (1, Mode.ASYNC, HandlerError(), None),
            (1, Mode.SYNC, Lost(), None),
            (0, Mode.SYNC, Busy(), None),
        ],
    )
    def test_when(self, delivered, mode, error, seconds):
        now = utc_now()
        one = Invocation("i", "f", {}, Status.QUEUED, now, 1.0, mode=mode, max_attempts=3, delivered=delivered)
        due = next_attempt(one, error, now, pause=60, chance=1.0)
        assert due == (None if seconds is None else now + timedelta(seconds=seconds))

    @pytest.mark.parametrize(
        ("error", "delivered", "is_tried"),
        [
            (HandlerError(), 1, True),
            (TimedOut(), 2, True),
            (HandlerError(), 3, False),
            (TimedOut(), 0, False),  # it never ran
            (TimedOut(phase="init"), 1, False),
            (OutOfMemory(), 1, False),
        ],
    )
    def test_own_failures_that_the_function_wants_tried_again(self, error, delivered, is_tried):
        now = utc_now()
        one = Invocation("i", "f", {}, Status.RUNNING, now, 1.0, mode=Mode.ASYNC, max_attempts=3, delivered=delivered)
        due = next_attempt(one, error, now, pause=60, retry_on=["handler_error", "timed_out"], chance=1.0)
        assert (due is not None) is is_tried

    @pytest.mark.parametrize("failure", ["handler_error", "timed_out"])
    def test_a_function_that_fails_the_first_time(self, make_runner, tmp_path, failure):
        runner = make_runner(retry_pause=0)
        runner.dispatcher.start()
        once = {"handler_error": "raise ValueError('not there yet')", "timed_out": "time.sleep(60)"}[failure]
        source = f"""
import time
from pathlib import Path
def handler(event, context):
    seen = Path({str(tmp_path / "seen")!r})
    if not seen.exists():
        seen.touch()
        {once}
    return context.aws_request_id
"""
        runner.add("flaky", source, f"{{retry_on: [{failure}], timeout: 2}}")
        record = ended(runner, runner.invoker.submit(Request("flaky", {})).id)
        assert (record.result, record.attempt, record.delivered) == (record.id, 2, 2)
        assert record.error is None

    def test_who_waits_for_the_answer_gets_the_first_failure(self, runner):
        runner.add("bad", "def handler(event, context):\n    raise ValueError('no')\n", "retry_on: [handler_error]")
        with pytest.raises(HandlerError):
            runner.invoke("bad")

    def test_not_beyond_its_age(self):
        now = utc_now()
        one = Invocation(
            "i",
            "f",
            {},
            Status.QUEUED,
            now,
            1.0,
            mode=Mode.ASYNC,
            max_attempts=3,
            delivered=1,
            expires_at=now + timedelta(seconds=1),
        )
        assert next_attempt(one, Lost(), now, pause=60, chance=1.0) is None
        # What nobody was handed waits until it is given up for that reason.
        untouched = replace(one, delivered=0)
        assert next_attempt(untouched, Busy(), now, pause=60, chance=1.0) == one.expires_at

    def test_one_that_waited_too_long_is_given_up(self, make_runner):
        runner = make_runner(max_queue_age=0.05)
        runner.add("echo", ECHO)
        accepted = runner.invoker.submit(Request("echo", {}))
        time.sleep(0.1)
        runner.reaper.end_overdue()
        record = runner.store.get(accepted.id)
        assert (record.status, record.error["code"]) == (Status.FAILED, "expired")
        assert record.error["diagnosis"]["kind"] == "queue_timeout"

    def test_one_that_is_overdue_is_not_begun_any_more(self, make_runner):
        runner = make_runner(max_queue_age=0.05)
        runner.add("echo", ECHO)
        runner.invoker.submit(Request("echo", {}))
        time.sleep(0.1)
        assert runner.store.claim(1) == []

    def test_a_locked_database_is_no_failure_of_the_function(self, make_runner, monkeypatch):
        runner = make_runner(retry_pause=0)
        runner.add("echo", ECHO)
        accepted = runner.invoker.submit(Request("echo", {}))
        (claimed,) = runner.store.claim(1)
        monkeypatch.setattr(runner.store, "mark_running", raising(StoreUnavailable("locked")))
        runner.invoker.run(claimed)
        monkeypatch.undo()
        record = runner.store.get(accepted.id)
        assert (record.status, record.error["code"], record.delivered) == (Status.QUEUED, "store_unavailable", 0)
        runner.dispatcher.start()
        assert ended(runner, accepted.id).delivered == 1

    def test_who_works_on_the_next_attempt_is_known_while_the_last_one_leaves(self, runner):
        with runner.invoker._under_way("one", "echo"):
            with runner.invoker._under_way("one", "echo"):
                pass
            assert runner.invoker.is_under_way("one")
        assert not runner.invoker.is_under_way("one")
        assert runner.invoker.in_flight == 0


class TestRoom:
    def test_no_more_than_run_at_once(self):
        room = Room(3, [], {"a": 1})
        assert [room.take("a") for _ in range(3)] == [True, True, False]

    def test_a_functions_own_limit(self, runner):
        runner.add("one", ECHO, "max_concurrency: 1")
        room = Room(4, [runner.catalog.get("one")], {})
        assert [room.take("one"), room.take("one"), room.take("other")] == [True, False, True]
        assert room.full() == ["one"]

    def test_long_ones_leave_a_place(self, runner):
        runner.add("long", ECHO, "timeout: 600")
        room = Room(3, [runner.catalog.get("long")], {"long": 1})
        assert [room.take("long"), room.take("long"), room.take("short")] == [True, False, True]


class TestPatience:
    def test_who_does_not_want_to_wait_gets_the_record_and_it_goes_on(self, runner):
        runner.add("sleep", SLEEP)
        record = runner.invoker.invoke(Request("sleep", runner.until_woken()), patience=0.05)
        assert not record.status.is_terminal
        runner.wake()
        assert ended(runner, record.id).result == "slept"
        assert runner.store.get(record.id).mode is Mode.SYNC

    def test_who_waits_long_enough_gets_the_result(self, runner):
        runner.add("echo", ECHO)
        assert runner.invoker.invoke(Request("echo", {}), patience=20).status is Status.SUCCEEDED

    def test_a_failure_is_in_the_record(self, runner):
        runner.add("bad", "def handler(event, context):\n    raise ValueError('no')\n")
        assert runner.invoker.invoke(Request("bad", {}), patience=20).status is Status.FAILED


class TestOnlookers:
    def test_those_that_are_too_many_are_told_how_it_stands(self, runner):
        """Each holds a thread of the server; others need some, too."""
        runner.add("echo", ECHO)
        accepted = runner.invoker.submit(Request("echo", {}))
        seen = []
        threads = [
            threading.Thread(target=lambda: seen.append(runner.invoker.wait(accepted.id, 20)))
            for _ in range(MAX_ONLOOKERS)
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(runner.store._awaited.get(accepted.id, ())) == MAX_ONLOOKERS)
        assert runner.invoker.wait(accepted.id, 20).status is Status.QUEUED
        assert runner.invoker.invoke(Request("echo", {}), patience=20).status is Status.SUCCEEDED
        runner.dispatcher.start()
        for thread in threads:
            thread.join()
        assert {record.status for record in seen} == {Status.SUCCEEDED}
        assert runner.invoker.wait(accepted.id, 20).status is Status.SUCCEEDED


class TestCancel:
    def test_what_runs_is_killed_and_then_recorded(self, runner):
        runner.add("sleep", SLEEP)
        record = runner.invoker.invoke(Request("sleep", runner.until_woken()), patience=0)
        is_running(runner, record.id)
        cancelled = runner.invoker.cancel(record.id)
        assert (cancelled.status, cancelled.error["code"]) == (Status.CANCELLED, "cancelled")
        assert cancelled.cancel_requested_at
        settled = runner.settled(record.id)
        assert "cancelled" in runner.log(settled)
        assert runner.log(settled).splitlines()[-1].endswith("Status: cancelled")

    def test_again_when_the_engine_was_away_the_first_time(self, runner, monkeypatch):
        monkeypatch.setattr("function_runner.invoker.invoker.CANCEL_SECONDS", 0.3)
        runner.add("sleep", SLEEP)
        record = runner.invoker.invoke(Request("sleep", runner.until_woken()), patience=0)
        is_running(runner, record.id)
        runner.engine.faults.is_away = True
        assert runner.invoker.cancel(record.id).status is Status.RUNNING
        runner.engine.faults.is_away = False
        runner.invoker.cancel(record.id)
        ended(runner, record.id, Status.CANCELLED)

    def test_its_caller_is_told(self, runner):
        runner.add("sleep", SLEEP)
        outcome = []

        def call():
            try:
                outcome.append(runner.invoke("sleep", **runner.until_woken()))
            except Cancelled as error:
                outcome.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        (record,) = wait_until(lambda: runner.store.search(Wanted(statuses=["running"]))[0])
        runner.invoker.cancel(record.id)
        thread.join()
        assert isinstance(outcome[0], Cancelled)
        assert outcome[0].members["diagnosis"]["kind"] == "cancelled"
        assert outcome[0].members["invocation_id"] == record.id

    def test_what_waits_in_the_queue(self, make_runner):
        runner = make_runner(max_concurrency=1)
        runner.add("sleep", SLEEP)
        first = runner.invoker.invoke(Request("sleep", runner.until_woken()), patience=0)
        is_running(runner, first.id)
        second = runner.invoker.invoke(Request("sleep", runner.until_woken()), patience=0)
        wait_until(lambda: runner.pool.position(second.id))
        assert runner.invoker.cancel(second.id).status is Status.CANCELLED
        assert runner.pool.position(second.id) is None
        assert runner.store.get(first.id).status is Status.RUNNING
        runner.invoker.cancel(first.id)

    def test_what_waits_in_the_record(self, runner):
        runner.add("echo", ECHO)
        accepted = runner.invoker.submit(Request("echo", {}))
        cancelled = runner.invoker.cancel(accepted.id)
        assert (cancelled.status, cancelled.error["diagnosis"]["kind"]) == (Status.CANCELLED, "cancelled")
        assert runner.store.claim(1) == []

    def test_what_fails_at_the_same_moment_is_not_tried_again(self, make_runner):
        runner = make_runner(retry_pause=0)
        runner.dispatcher.start()
        # It reports that a service is away, which is a reason to try again, when somebody already wants it to end.
        runner.add("away", SLEEP.replace("return 'slept'", "raise type('ThingUnavailable', (Exception,), {})()"))
        accepted = runner.invoker.submit(Request("away", runner.until_woken()))
        is_running(runner, accepted.id)
        runner.store.request_cancel(accepted.id)
        runner.wake()
        record = ended(runner, accepted.id, Status.CANCELLED)
        assert (record.attempt, record.error["code"]) == (1, "cancelled")

    def test_what_has_just_been_put_back(self, make_runner):
        runner = make_runner(retry_pause=3000)
        runner.add("echo", ECHO)
        accepted = runner.invoker.submit(Request("echo", {}))
        (claimed,) = runner.store.claim(1)
        assert runner.invoker.try_again(claimed, Lost())
        with runner.invoker._under_way(accepted.id, "echo"):  # whose attempt it was has not quite left yet
            thread = threading.Thread(target=runner.invoker.cancel, args=(accepted.id,))
            thread.start()
            wait_until(lambda: runner.store.get(accepted.id).cancel_requested_at)
        thread.join()
        assert runner.store.get(accepted.id).status is Status.CANCELLED

    def test_a_wish_that_the_crash_cut_short_comes_true(self, runner):
        runner.add("echo", ECHO)
        accepted = runner.invoker.submit(Request("echo", {}))
        runner.store.request_cancel(accepted.id)
        runner = runner.crash()
        assert runner.store.claim(1) == []
        runner.reaper.reconcile()
        record = runner.store.get(accepted.id)
        assert (record.status, record.error["code"]) == (Status.CANCELLED, "cancelled")

    def test_a_running_one_that_was_to_be_cancelled_is_not_adopted(self, runner):
        runner.add("sleep", SLEEP)
        record = runner.invoker.invoke(Request("sleep", runner.until_woken()), patience=0)
        is_running(runner, record.id)
        runner.store.request_cancel(record.id)
        runner = runner.crash()
        runner.reaper.reconcile()
        assert ended(runner, record.id, Status.CANCELLED).delivered == 1
        assert not any(container.state == "running" for container in runner.engine.containers())

    def test_at_random_moments(self, runner):
        """All end, each in one way, and no container stays."""
        runner.dispatcher.start()
        runner.add("nap", NAP.replace("0.3", "0.02"))
        moments = random.Random(7)
        ids, threads = [], []
        for number in range(60):
            request = Request("nap", {})
            record = runner.invoker.submit(request) if number % 2 else None
            if record is None:
                with suppress(Busy):
                    record = runner.invoker.invoke(request, patience=0)
            if record is None:
                continue
            ids.append(record.id)

            def cancel(invocation_id, pause):
                time.sleep(pause)
                with suppress(AlreadyEnded):
                    assert runner.invoker.cancel(invocation_id).status is Status.CANCELLED

            for _ in range(1 + number % 3 // 2):  # some of them twice at the same time
                threads.append(threading.Thread(target=cancel, args=(record.id, moments.random() * 0.4)))
                threads[-1].start()
        for thread in threads:
            thread.join()
        records = [runner.invoker.wait(one, 30) for one in ids]
        assert {record.status for record in records} <= {Status.CANCELLED, Status.SUCCEEDED}
        assert any(record.status is Status.CANCELLED for record in records)
        wait_until(lambda: not runner.engine.containers() and not runner.invoker.in_flight)

    def test_again_is_no_error_and_too_late_is(self, runner):
        runner.add("echo", ECHO)
        accepted = runner.invoker.submit(Request("echo", {}))
        assert runner.invoker.cancel(accepted.id) == runner.invoker.cancel(accepted.id)
        with pytest.raises(AlreadyEnded):
            runner.invoker.cancel(runner.invoke("echo").id)
        with pytest.raises(InvocationNotFound):
            runner.invoker.cancel(new_invocation_id())

    def test_the_place_is_free_afterwards(self, make_runner):
        runner = make_runner(max_concurrency=1)
        runner.add("sleep", SLEEP)
        for _ in range(3):
            record = runner.invoker.invoke(Request("sleep", runner.until_woken()), patience=0)
            is_running(runner, record.id)
            runner.invoker.cancel(record.id)
        assert runner.invoke("sleep", seconds=0).result == "slept"


class TestIdempotency:
    def test_the_same_key_means_the_same_invocation(self, runner):
        runner.add("echo", ECHO)
        first = runner.invoker.invoke(Request("echo", {"a": 1}, idempotency_key="k"))
        assert first.idempotency_key == "k"
        with pytest.raises(Repeated) as caught:
            runner.invoker.invoke(Request("echo", {"a": 1}, idempotency_key="k"))
        assert caught.value.invocation_id == first.id
        with pytest.raises(Repeated):
            runner.invoker.submit(Request("echo", {"a": 1}, idempotency_key="k"))
        assert len(runner.store.search()[0]) == 1

    def test_of_another_request_it_is_refused(self, runner):
        runner.add("echo", ECHO)
        first = runner.invoker.invoke(Request("echo", {"a": 1}, idempotency_key="k"))
        with pytest.raises(IdempotencyKeyReused) as caught:
            runner.invoker.invoke(Request("echo", {"a": 2}, idempotency_key="k"))
        assert caught.value.members["invocation_id"] == first.id

    def test_of_another_function_it_is_another_key(self, runner):
        runner.add("echo", ECHO)
        runner.add("nap", NAP)
        runner.invoker.invoke(Request("echo", {}, idempotency_key="k"))
        assert runner.invoker.invoke(Request("nap", {}, idempotency_key="k")).result == "slept"

    def test_a_hundred_at_once_are_one_container(self, runner):
        runner.add("nap", NAP)
        ids, barrier = [], threading.Barrier(100)

        def call():
            barrier.wait()
            try:
                ids.append(runner.invoker.invoke(Request("nap", {}, idempotency_key="k"), patience=20).id)
            except Repeated as repeated:
                ids.append(runner.invoker.wait(repeated.invocation_id, 20).id)

        threads = [threading.Thread(target=call) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ids) == 100
        assert len(set(ids)) == 1
        assert runner.engine.calls.count("create") == 1

    def test_a_repetition_finds_its_answer_when_no_more_may_wait(self, make_runner):
        runner = make_runner(backlog_limit=1)
        runner.add("echo", ECHO)
        first = runner.invoker.submit(Request("echo", {}, idempotency_key="k"))
        with pytest.raises(Repeated) as caught:
            runner.invoker.submit(Request("echo", {}, idempotency_key="k"))
        assert caught.value.invocation_id == first.id
        with pytest.raises(Busy):
            runner.invoker.submit(Request("echo", {}, idempotency_key="other"))

    def test_a_failure_is_remembered_too(self, runner):
        runner.add("bad", "def handler(event, context):\n    raise ValueError('no')\n")
        with pytest.raises(HandlerError):
            runner.invoker.invoke(Request("bad", {}, idempotency_key="k"))
        with pytest.raises(Repeated):
            runner.invoker.invoke(Request("bad", {}, idempotency_key="k"))

    def test_what_was_never_handed_over_may_run_again(self, runner):
        runner.add("echo", ECHO)
        first = runner.invoker.submit(Request("echo", {}, idempotency_key="k"))
        runner.invoker.cancel(first.id)
        assert runner.invoker.invoke(Request("echo", {}, idempotency_key="k")).id != first.id

    def test_so_may_what_failed_before_that(self, runner):
        runner.add("echo", ECHO, dockerfile="FROM fake\nRUN exit 1\n")
        with pytest.raises(BuildFailed):
            runner.invoker.invoke(Request("echo", {}, idempotency_key="k"))
        runner.add("echo", ECHO)
        assert runner.invoker.invoke(Request("echo", {}, idempotency_key="k")).status is Status.SUCCEEDED

    def test_an_expired_key_is_free(self, runner, monkeypatch):
        runner.add("echo", ECHO)
        monkeypatch.setattr("function_runner.invoker.invoker.KEY_HOURS", 0)
        first = runner.invoker.invoke(Request("echo", {}, idempotency_key="k"))
        assert runner.invoker.invoke(Request("echo", {}, idempotency_key="k")).id != first.id
        assert runner.store.forget_keys() == 1


class TestReplay:
    def test_against_the_image_of_then(self, runner):
        runner.add("echo", ECHO)
        original = runner.invoke("echo", a=1)
        runner.add("echo", "def handler(event, context):\n    return 'new'\n")
        request = runner.invoker.request_to_replay(original, like_then=True)
        replayed = runner.invoker.invoke(request)
        assert replayed.result["event"] == {"a": 1}
        assert (replayed.replay_of, replayed.image_id, replayed.source_hash) == (
            original.id,
            original.image_id,
            original.source_hash,
        )
        today = runner.invoker.invoke(runner.invoker.request_to_replay(original, like_then=False))
        assert (today.result, today.replay_of) == ("new", original.id)

    def test_in_the_background_too(self, dispatching):
        dispatching.add("echo", ECHO)
        original = dispatching.invoke("echo", a=1)
        dispatching.add("echo", "def handler(event, context):\n    return 'new'\n")
        request = dispatching.invoker.request_to_replay(original, like_then=True)
        record = ended(dispatching, dispatching.invoker.submit(request).id)
        assert record.result["event"] == {"a": 1}

    def test_an_image_that_is_gone_is_said(self, runner):
        runner.add("echo", ECHO)
        original = runner.settled(runner.invoke("echo").id)
        original_image = runner.engine.find_image(original.image_tag)
        runner.add("echo", "def handler(event, context):\n    return 'new'\n")
        runner.engine.remove_image(original.image_tag)
        runner.images.forget(original_image)
        with pytest.raises(ImageGone):
            runner.invoker.invoke(runner.invoker.request_to_replay(original, like_then=True))
        assert runner.latest().error["code"] == "image_gone"


def adopted_one_that_leaves(runner):
    """The next runner, which has adopted a container whose process ends without a result then, and the invocation."""
    runner.add("leaves", LEAVES)
    record = runner.invoker.invoke(Request("leaves", runner.until_woken()), patience=0)
    is_running(runner, record.id)
    after = runner.crash()
    after.reaper.adopt_running()
    after.wake()
    return after, record


class TestAfterACrash:
    """The runner is gone and its container is not: what the next runner makes of it."""

    def test_a_running_container_is_adopted_and_its_result_accepted(self, runner):
        runner.add("sleep", "import time\nprint('first')\n" + SLEEP.replace("return", "print('last')\n    return"))
        record = runner.invoker.invoke(Request("sleep", runner.until_woken()), patience=0)
        is_running(runner, record.id)
        name = runner.store.get(record.id).container_name
        wait_until(lambda: "START" in runner.logs.read(name).decode())
        time.sleep(0.4)
        runner = runner.crash()
        runner.reaper.adopt_running()
        runner.reaper.reconcile()
        runner.wake()
        adopted = ended(runner, record.id)
        assert (adopted.result, adopted.container_name, adopted.attempt) == ("slept", name, 1)
        assert adopted.timings.run_ms > 400
        settled = runner.settled(record.id)
        assert settled.log_state is LogState.COMPLETE
        log = runner.log(settled)
        assert [log.count(word) for word in ("START", "first", "last", "REPORT")] == [1, 1, 1, 1]

    def test_one_that_cannot_be_followed_yet_is_adopted_later_and_its_log_does_not_stay_open(self, runner, monkeypatch):
        runner.add("sleep", SLEEP)
        record = runner.invoker.invoke(Request("sleep", runner.until_woken()), patience=0)
        is_running(runner, record.id)
        name = runner.store.get(record.id).container_name
        wait_until(lambda: "START" in runner.logs.read(name).decode())
        runner = runner.crash()
        asked = []

        def refuse(_container_id):
            asked.append(runner.logs.is_open(name))
            raise EngineUnavailable

        with monkeypatch.context() as patch:
            patch.setattr(runner.engine, "follow", refuse)
            runner.reaper.adopt_running()
            runner.reaper.reconcile()
        assert asked == [True, True]
        assert not runner.logs.is_open(name)
        assert runner.store.get(record.id).status is Status.RUNNING
        runner.reaper.reconcile()
        runner.wake()
        assert ended(runner, record.id).result == "slept"

    def test_one_that_could_not_be_adopted_yet_is_no_stray(self, runner, monkeypatch):
        runner.add("sleep", SLEEP)
        record = runner.invoker.invoke(Request("sleep", runner.until_woken()), patience=0)
        is_running(runner, record.id)
        runner = runner.crash()

        def refuse(_container_id):
            raise EngineUnavailable

        with monkeypatch.context() as patch:
            patch.setattr(runner.engine, "follow", refuse)
            runner.reaper.reconcile()
        assert runner.reaper.sweep() == 0
        runner.reaper.reconcile()
        runner.wake()
        assert ended(runner, record.id).result == "slept"

    def test_one_is_no_stray_when_the_engine_is_back_just_after_it_could_not_be_asked(self, runner):
        runner.add("sleep", SLEEP)
        record = runner.invoker.invoke(Request("sleep", runner.until_woken()), patience=0)
        is_running(runner, record.id)
        runner = runner.crash()
        runner.engine.faults.is_away = True
        runner.reaper.reconcile()
        runner.engine.faults.is_away = False
        assert runner.reaper.sweep() == 0
        runner.reaper.reconcile()
        runner.wake()
        assert ended(runner, record.id).result == "slept"

    @pytest.mark.parametrize("refused", ["inspect", "follow"])
    def test_one_that_the_engine_says_nothing_about_is_lost_when_its_time_is_over(self, runner, monkeypatch, refused):
        monkeypatch.setattr("function_runner.reaper.OVERDUE_SECONDS", 0.0)
        runner.add("sleep", SLEEP)
        record = runner.invoker.invoke(Request("sleep", runner.until_woken()), patience=0)
        is_running(runner, record.id)
        runner = runner.crash()
        monkeypatch.setattr(runner.engine, refused, raising(EngineUnavailable("refused a call")))
        monkeypatch.setattr(runner.engine, "kill", raising(EngineUnavailable("refused a call")))
        monkeypatch.setattr(runner.engine, "output", raising(EngineUnavailable("refused a call")))
        for _ in range(3):
            runner.reaper.reconcile()
            assert runner.store.get(record.id).status is Status.RUNNING
        its_time = timedelta(seconds=record.timeout_seconds)
        monkeypatch.setattr("function_runner.reaper.utc_now", lambda: utc_now() + its_time)
        runner.engine.faults.is_away = True
        runner.reaper.reconcile()
        assert runner.store.get(record.id).status is Status.RUNNING
        runner.engine.faults.is_away = False
        runner.reaper.reconcile()
        lost = runner.store.get(record.id)
        assert (lost.status, lost.error["code"]) == (Status.LOST, "lost")
        assert runner.reaper.sweep() == 1

    def test_while_the_engine_cannot_be_asked_nothing_is_decided(self, runner):
        runner.add("sleep", SLEEP)
        record = runner.invoker.submit(Request("sleep", runner.until_woken()))
        runner.dispatcher.start()
        is_running(runner, record.id)
        runner = runner.crash()
        runner.engine.faults.is_away = True
        runner.reaper.adopt_running()
        runner.reaper.reconcile()
        assert (runner.store.get(record.id).status, runner.store.claim(1)) == (Status.RUNNING, [])
        runner.engine.faults.is_away = False
        runner.reaper.reconcile()
        runner.wake()
        adopted = ended(runner, record.id)
        assert (adopted.result, adopted.delivered) == ("slept", 1)

    def test_one_that_ends_just_then_may_have_had_a_result(self, runner):
        runner, record = adopted_one_that_leaves(runner)
        lost = ended(runner, record.id, Status.LOST)
        assert "just when the function runner came back" in lost.error["message"]

    def test_one_that_ends_long_after_has_ended_by_itself(self, runner, monkeypatch):
        monkeypatch.setattr("function_runner.execution_environment.ADOPTION_DOUBT_SECONDS", 0.0)
        runner, record = adopted_one_that_leaves(runner)
        assert ended(runner, record.id, Status.FAILED).error["code"] == "exited_without_result"

    @pytest.mark.filterwarnings("error")
    def test_one_whose_output_cannot_be_read_any_more_is_lost(self, runner, monkeypatch):
        runner.add("sleep", SLEEP)
        record = runner.invoker.invoke(Request("sleep", runner.until_woken()), patience=0)
        is_running(runner, record.id)
        runner = runner.crash()
        monkeypatch.setattr("function_runner.execution_environment.DRAIN_OUTPUT_SECONDS", 0.2)

        def breaks(_container_id):
            yield b""
            raise ValueError("what nobody expected")

        monkeypatch.setattr(runner.engine, "follow", breaks)
        runner.reaper.adopt_running()
        assert ended(runner, record.id, Status.LOST).error["code"] == "lost"

    def test_what_an_adopted_one_says_of_its_progress_counts(self, runner):
        says = '    print(\'{"progress": {"done": %d}}\')\n'
        runner.add(
            "steps",
            f"{SLEEP.replace('def handler', 'def sleep')}def handler(event, context):\n"
            f"{says % 1}    sleep(event['first'], context)\n{says % 2}    sleep(event['second'], context)\n",
        )
        pauses = {"first": runner.until_woken("first"), "second": runner.until_woken("second")}
        record = runner.invoker.invoke(Request("steps", pauses), patience=0)
        wait_until(lambda: runner.store.get(record.id).progress)
        runner = runner.crash()
        runner.reaper.adopt_running()
        assert runner.store.get(record.id).progress.done == 1
        runner.wake("first")
        wait_until(lambda: runner.store.get(record.id).progress.done == 2)
        assert not runner.store.get(record.id).status.is_terminal
        runner.wake("second")
        ended(runner, record.id)
        assert runner.settled(record.id).progress.done == 2

    def test_an_adopted_one_can_be_cancelled(self, runner):
        runner.add("sleep", SLEEP)
        record = runner.invoker.invoke(Request("sleep", runner.until_woken()), patience=0)
        is_running(runner, record.id)
        runner = runner.crash()
        runner.reaper.reconcile()
        assert runner.invoker.cancel(record.id).status is Status.CANCELLED

    def test_its_deadline_stays(self, runner, monkeypatch):
        runner.add("sleep", SLEEP)
        record = runner.invoker.invoke(Request("sleep", runner.until_woken(), timeout=600), patience=0)
        is_running(runner, record.id)
        runner = runner.crash()
        for module in ("reaper", "invoker.invoker"):  # the next runner comes when there is half a second left
            monkeypatch.setattr(f"function_runner.{module}.utc_now", lambda: utc_now() + timedelta(seconds=599.5))
        runner.reaper.reconcile()
        late = ended(runner, record.id, Status.TIMED_OUT)
        assert 599_000 < late.timings.run_ms < 660_000

    def test_one_that_calls_another_address_is_lost(self, runner):
        runner.add("sleep", SLEEP)
        record = runner.invoker.invoke(Request("sleep", runner.until_woken()), patience=0)
        is_running(runner, record.id)
        runner = runner.crash()
        runner.reaper._runtime = "10.9.8.7:9001"  # as if its address had changed
        runner.reaper.reconcile()
        assert ended(runner, record.id, Status.LOST).error["code"] == "lost"

    def test_what_was_claimed_waits_again(self, runner):
        runner.add("echo", ECHO)
        accepted = runner.invoker.submit(Request("echo", {}))
        assert [one.id for one in runner.store.claim(1)] == [accepted.id]
        assert runner.store.claim(1) == []
        runner = runner.crash()
        runner.reaper.reconcile()
        record = runner.store.get(accepted.id)
        assert (record.status, record.attempt, record.owner) == (Status.QUEUED, 1, None)
        assert [one.id for one in runner.store.claim(1)] == [accepted.id]

    def test_what_was_just_claimed_here_is_left_alone_for_a_round(self, runner):
        runner.add("echo", ECHO)
        accepted = runner.invoker.submit(Request("echo", {}))
        runner.store.claim(1)
        runner.reaper.reconcile()
        assert runner.store.get(accepted.id).owner == runner.store.owner
        runner.reaper.reconcile()
        assert runner.store.get(accepted.id).owner is None

    def test_an_asynchronous_one_whose_container_is_gone_is_tried_again(self, make_runner):
        runner = make_runner(retry_pause=0)
        runner.add("sleep", SLEEP)
        accepted = runner.invoker.submit(Request("sleep", runner.until_woken()))
        (claimed,) = runner.store.claim(1)
        threading.Thread(target=runner.invoker.run, args=(claimed,), daemon=True).start()
        is_running(runner, accepted.id)
        name = runner.store.get(accepted.id).container_name
        runner = runner.crash()
        runner.engine.remove_from_outside(name)
        runner.reaper.reconcile()
        record = runner.store.get(accepted.id)
        assert (record.status, record.attempt, record.delivered) == (Status.QUEUED, 2, 1)
        assert record.error["code"] == "lost"

    def test_a_log_of_an_earlier_one_does_not_end_the_container_of_a_later_one(self, runner):
        """The facts of the first were not on the disk yet when the runner died."""
        runner.add("sleep", "print('loading', end='')\n" + SLEEP, "invocations_per_container: 5")
        first = runner.invoke("sleep", seconds=0)
        wait_until(lambda: runner.pool.totals()["ready"] == 1)  # else the second may get a container of its own
        second = runner.invoker.invoke(Request("sleep", runner.until_woken()), patience=0)
        is_running(runner, second.id)
        wait_until(lambda: f"START RequestId: {second.id}" in runner.log(runner.store.get(second.id)))
        assert runner.store.get(second.id).container_name == first.container_name
        runner.store._later.close()
        runner = runner.crash()
        file = runner.settings.database_url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(file)) as database, database:
            database.execute("DELETE FROM invocation_facts")
        runner.reaper.reconcile()
        runner.reaper.finish_logs()
        runner.wake()
        assert ended(runner, second.id).result == "slept"
        assert runner.store.get(first.id).log_state is LogState.COMPLETE
        log = runner.log(runner.settled(second.id))
        assert [log.count(word) for word in ("loading", "START", "END", "REPORT", "does not fit")] == [1, 2, 2, 2, 0]

    def test_what_came_after_the_report_is_in_the_log(self, runner):
        """A container that is reused is not waited for: its last lines may come when the runner is gone."""
        runner.add("echo", "print('loading')\n" + ECHO.replace("return", "print('late')\n    return"), REUSED)
        record = runner.invoke("echo")
        path = runner.settings.logs_dir / f"{record.container_name}.log"
        wait_until(lambda: "REPORT" in path.read_text() and "late" in path.read_text())
        runner = runner.crash()
        before = path.read_text().replace("late\n", "")
        path.write_text(before)
        runner.reaper.reconcile()
        runner.reaper.finish_logs()
        assert runner.reaper.sweep() == 1
        assert path.read_text() == before + "late\n"
