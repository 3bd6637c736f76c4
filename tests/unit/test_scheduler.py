"""What is due is asked for once, whatever happens to the clock and to the runner. On the fake engine."""

import shutil
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from function_runner.errors import StoreUnavailable
from function_runner.invocation import Mode, Request, Status, Timings, utc_now
from function_runner.schedule import Occurrence
from function_runner.scheduler import GONE_AFTER, Scheduler
from function_runner.store import AlreadyHandled
from support.waiting import wait_until

ECHO = "def handler(event, context):\n    return event\n"
NIGHTLY = """
parameters: {properties: {n: {type: integer, default: 3}, word: {type: string}}}
schedule: {cron: "0 3 * * *", parameters: {word: night}}
"""
OFTEN = "schedule: {cron: '* * * * *', overlap: allow}"


class Clock:
    def __init__(self):
        self.time = datetime(2026, 1, 31, 12, 0, 30, tzinfo=UTC)

    def __call__(self):
        return self.time

    def set(self, text):
        self.time = datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def look(runner, clock):
    """One round of the runner's scheduler."""
    scheduler = scheduler_of(runner, clock)
    return scheduler.look


def scheduler_of(runner, clock):
    return Scheduler(runner.catalog, runner.store, runner.invoker, runner.metrics, now=clock)


def submitted(runner):
    """All records, oldest first."""
    return list(reversed(runner.store.search(limit=200)[0]))


def end(runner, invocation):
    runner.store.finish(invocation.id, status=Status.CANCELLED, finished_at=utc_now(), timings=Timings())


def progress(runner, function="echo", name="default"):
    return runner.store.schedules()[function, name]


def test_it_works(runner, clock, look):
    runner.add("echo", ECHO, NIGHTLY)
    look()
    clock.set("2026-02-01T02:59:59")
    look()
    assert submitted(runner) == []
    clock.set("2026-02-01T03:00:00.2")
    look()
    (record,) = submitted(runner)
    assert (record.mode, record.caller, record.status) == (Mode.ASYNC, "schedule:default", Status.QUEUED)
    assert record.parameters == {"word": "night", "n": 3}
    state = progress(runner)
    assert (state.last_at, state.last_invocation_id) == (datetime(2026, 2, 1, 3, tzinfo=UTC), record.id)
    assert b'smlops_schedule_occurrences_total{function="echo",result="submitted"} 1.0' in runner.metrics.render()[0]


def test_it_is_run_like_any_other(runner, clock, look):
    runner.add("echo", ECHO, NIGHTLY)
    look()
    clock.set("2026-02-01T03:00:00")
    look()
    runner.dispatcher.start()
    record = runner.invoker.wait(submitted(runner)[0].id, 20)
    assert (record.status, record.result) == (Status.SUCCEEDED, {"word": "night", "n": 3})


def test_once_however_often_it_looks(runner, clock, look):
    runner.add("echo", ECHO, NIGHTLY)
    look()
    for moment in ("2026-02-01T03:00:00", "2026-02-01T03:00:01", "2026-02-01T23:00:00"):
        clock.set(moment)
        look()
    assert len(submitted(runner)) == 1
    clock.set("2026-02-02T03:00:00")
    end(runner, submitted(runner)[0])
    look()
    assert len(submitted(runner)) == 2


def test_what_was_missed_is_made_up_for_once(runner, clock, look):
    runner.add("echo", ECHO, OFTEN)
    look()
    clock.set("2026-03-31T12:00:30")  # nobody looked for two months
    look()
    look()
    assert len(submitted(runner)) == 1
    assert progress(runner).last_at == datetime(2026, 3, 31, 12, 0, tzinfo=UTC)
    clock.set("2026-03-31T12:01:00")
    look()
    assert len(submitted(runner)) == 2


def test_a_clock_that_is_set_back_runs_nothing_twice(runner, clock, look):
    runner.add("echo", ECHO, OFTEN)
    look()
    clock.set("2026-02-01T03:00:00")
    look()
    for minute in range(60):
        clock.set(f"2026-02-01T02:{minute:02}:00")
        look()
    assert len(submitted(runner)) == 1
    clock.set("2026-02-01T03:01:00")
    look()
    assert len(submitted(runner)) == 2


def test_a_clock_that_was_wrong_by_years_does_not_stop_it_for_years(runner, clock, look):
    runner.add("echo", ECHO, NIGHTLY)
    look()
    clock.set("2036-01-01T00:00:00")
    look()
    end(runner, submitted(runner)[0])
    clock.set("2026-02-01T02:00:00")
    look()
    assert len(submitted(runner)) == 1
    clock.set("2026-02-01T03:00:00")
    look()
    assert len(submitted(runner)) == 2


def test_while_an_earlier_one_is_open_it_is_skipped_and_counted(runner, clock, look):
    runner.add("echo", ECHO, NIGHTLY)
    look()
    for day in (1, 2, 3):
        clock.set(f"2026-02-0{day}T03:00:00")
        look()
    (open_one,) = submitted(runner)
    state = progress(runner)
    assert (state.skipped, state.last_skipped_at) == (2, datetime(2026, 2, 3, 3, tzinfo=UTC))
    assert (state.last_at, state.last_invocation_id) == (datetime(2026, 2, 1, 3, tzinfo=UTC), open_one.id)
    assert b'smlops_schedule_occurrences_total{function="echo",result="skipped"} 2.0' in runner.metrics.render()[0]
    end(runner, open_one)
    look()
    assert len(submitted(runner)) == 1  # what was skipped is not made up for
    clock.set("2026-02-04T03:00:00")
    look()
    assert len(submitted(runner)) == 2


def test_what_others_asked_for_is_no_overlap(runner, clock, look):
    runner.add("echo", ECHO, 'schedule: [{name: one, cron: "0 3 * * *"}, {name: two, cron: "0 3 * * *"}]')
    look()
    clock.set("2026-02-01T03:00:00")
    look()
    assert [record.caller for record in submitted(runner)] == ["schedule:one", "schedule:two"]


def test_where_it_is_allowed_they_overlap(runner, clock, look):
    runner.add("echo", ECHO, OFTEN)
    look()
    for minute in (1, 2, 3):
        clock.set(f"2026-02-01T03:0{minute}:00")
        look()
    assert len(submitted(runner)) == 3


def test_an_edited_schedule_begins_anew(runner, clock, look):
    runner.add("echo", ECHO, "schedule: {cron: '0 3 * * *'}")
    look()
    clock.set("2026-02-01T04:00:00")
    runner.add("echo", ECHO, "schedule: {cron: '30 3 * * *'}")
    look()
    look()
    assert submitted(runner) == []
    clock.set("2026-02-02T03:30:00")
    look()
    assert len(submitted(runner)) == 1


def test_new_parameters_are_no_reason_to_begin_anew(runner, clock, look):
    runner.add("echo", ECHO, "schedule: {cron: '0 3 * * *'}")
    look()
    clock.set("2026-02-01T04:00:00")
    runner.add("echo", ECHO, "schedule: {cron: '0 3 * * *', parameters: {a: 1}}")
    look()
    assert [record.parameters for record in submitted(runner)] == [{"a": 1}]


def test_a_removed_one_is_forgotten(runner, clock, look):
    folder = runner.add("echo", ECHO, NIGHTLY)
    runner.add("other", ECHO, OFTEN)
    look()
    assert set(runner.store.schedules()) == {("echo", "default"), ("other", "default")}
    shutil.rmtree(folder)
    runner.add("other", ECHO, "")
    look()
    assert set(runner.store.schedules()) == {("echo", "default")}
    clock.time += GONE_AFTER + timedelta(seconds=1)
    look()
    assert runner.store.schedules() == {}


def test_one_whose_folder_is_replaced_is_not_forgotten(runner, clock, look):
    folder = runner.add("echo", ECHO, NIGHTLY)
    look()
    clock.set("2026-02-01T04:00:00")
    aside = folder.rename(runner.settings.functions_dir / ".aside")
    look()
    aside.rename(folder)
    look()
    assert len(submitted(runner)) == 1
    clock.time += GONE_AFTER  # it was not away for all that time
    folder.rename(aside)
    look()
    assert set(runner.store.schedules()) == {("echo", "default")}


def test_none_is_forgotten_while_the_folder_of_all_functions_is_missing(runner, clock, look):
    runner.add("echo", ECHO, NIGHTLY)
    look()
    folder = runner.settings.functions_dir
    aside = folder.rename(folder.with_name("aside"))
    look()
    clock.time += GONE_AFTER + timedelta(seconds=1)
    look()
    assert set(runner.store.schedules()) == {("echo", "default")}
    aside.rename(folder)


def test_one_that_is_being_edited_is_not_forgotten(runner, clock, look):
    runner.add("echo", ECHO, NIGHTLY)
    look()
    runner.add("echo", ECHO, "schedule: [")
    clock.set("2026-02-01T04:00:00")
    look()
    assert submitted(runner) == []
    runner.add("echo", ECHO, NIGHTLY)
    look()
    assert len(submitted(runner)) == 1


def test_what_is_refused_is_late_and_not_lost(make_runner, clock):
    runner = make_runner(backlog_limit=0)
    scheduler = scheduler_of(runner, clock)
    look = scheduler.look
    runner.add("echo", ECHO, NIGHTLY)
    look()
    clock.set("2026-02-01T03:00:00")
    look()
    look()
    assert submitted(runner) == []
    assert scheduler._refused == {("echo", "default"): "busy"}
    runner.invoker._settings = runner.settings.model_copy(update={"backlog_limit": 10})
    clock.set("2026-02-01T03:10:00")
    look()
    assert [record.caller for record in submitted(runner)] == ["schedule:default"]
    assert progress(runner).last_at == datetime(2026, 2, 1, 3, tzinfo=UTC)
    assert scheduler._refused == {}


def test_two_schedulers_that_see_the_same_ask_once(runner, clock):
    runner.add("echo", ECHO, OFTEN)
    schedulers = [scheduler_of(runner, clock) for _ in range(8)]
    schedulers[0].look()
    clock.set("2026-02-01T03:00:00")
    together = threading.Barrier(8)

    def look(scheduler):
        together.wait()
        scheduler.look()

    threads = [threading.Thread(target=look, args=(scheduler,)) for scheduler in schedulers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(submitted(runner)) == 1


class TestCrash:
    """The step of a schedule and the invocation it asks for are one commit: there is nothing in between."""

    def test_before_the_commit_nothing_has_happened(self, runner, clock):
        runner.add("echo", ECHO, NIGHTLY)
        scheduler_of(runner, clock).look()
        clock.set("2026-02-01T03:00:00")
        runner.life.is_over = True
        with pytest.raises(StoreUnavailable):
            runner.store.skip(Occurrence("echo", "default", clock(), clock()))
        scheduler_of(runner, clock).look()  # refused, as its database is
        assert submitted(runner) == []
        after = runner.crash()
        scheduler_of(after, clock).look()
        assert len(submitted(after)) == 1

    def test_after_it_all_has(self, runner, clock):
        runner.add("echo", ECHO, OFTEN)
        scheduler_of(runner, clock).look()
        clock.set("2026-02-01T03:00:00")
        scheduler_of(runner, clock).look()
        after = runner.crash()
        scheduler_of(after, clock).look()
        assert len(submitted(after)) == 1

    def test_an_occurrence_that_was_handled_leaves_no_invocation(self, runner, clock):
        runner.add("echo", ECHO, OFTEN)
        scheduler_of(runner, clock).look()
        before = progress(runner).handled_until
        occurrence = Occurrence("echo", "default", before + timedelta(minutes=1), before)
        runner.store.skip(occurrence)
        with pytest.raises(AlreadyHandled):
            runner.invoker.submit(Request("echo", {}, occurrence=occurrence))
        assert submitted(runner) == []
        with pytest.raises(AlreadyHandled):
            runner.store.skip(occurrence)


def test_it_runs_in_the_background_and_stops(runner):
    runner.add("echo", ECHO, "schedule: {cron: '* * * * * *', overlap: allow}")
    scheduler = scheduler_of(runner, utc_now)
    scheduler.start()
    wait_until(lambda: len(submitted(runner)) >= 2)
    scheduler.stop()


def test_it_looks_just_after_each_full_second(runner, monkeypatch):
    scheduler = scheduler_of(runner, utc_now)
    monkeypatch.setattr("function_runner.scheduler.time", SimpleNamespace(time=lambda: 1_000_000.75))
    assert scheduler._rounds._pause() == 0.25


def test_a_database_that_is_away_for_a_moment_does_not_end_it(runner, monkeypatch):
    runner.add("echo", ECHO, "schedule: {cron: '* * * * * *', overlap: allow}")
    scheduler, is_away = scheduler_of(runner, utc_now), threading.Event()
    answers = runner.store.schedules

    def once_away():
        if not is_away.is_set():
            is_away.set()
            raise StoreUnavailable
        return answers()

    monkeypatch.setattr(runner.store, "schedules", once_away)
    scheduler.start()
    wait_until(lambda: submitted(runner))
    scheduler.stop()
    assert is_away.is_set()
