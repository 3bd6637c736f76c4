"""How far schedules have come: each step once, whoever tries."""

from datetime import UTC, datetime, timedelta

import pytest

from function_runner.invocation import Invocation, Mode, Status, Timings, new_invocation_id, utc_now
from function_runner.schedule import Occurrence, ScheduleState
from function_runner.store import AlreadyHandled

NOON = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


def invocation(**fields):
    return Invocation(new_invocation_id(), "echo", {}, Status.QUEUED, utc_now(), 60.0, mode=Mode.ASYNC, **fields)


@pytest.fixture
def store(record):
    record.store.begin_schedule("echo", "nightly", "0 3 * * * UTC", NOON)
    return record.store


def progress(store):
    return store.schedules()["echo", "nightly"]


def test_it_works(store):
    assert progress(store) == ScheduleState("echo", "nightly", "0 3 * * * UTC", NOON)
    accepted = store.start(invocation(), occurrence=Occurrence("echo", "nightly", LATER, NOON))
    expected = ScheduleState("echo", "nightly", "0 3 * * * UTC", LATER, last_at=LATER, last_invocation_id=accepted.id)
    assert progress(store) == expected


def test_a_step_is_taken_once(store, new_record):
    occurrence = Occurrence("echo", "nightly", LATER, NOON)
    first = store.start(invocation(), occurrence=occurrence)
    other = new_record("runner-2").store
    with pytest.raises(AlreadyHandled):
        other.start(invocation(), occurrence=occurrence)
    with pytest.raises(AlreadyHandled):
        other.skip(occurrence)
    assert [found.id for found in store.search()[0]] == [first.id]


def test_what_is_skipped_is_counted(store):
    store.skip(Occurrence("echo", "nightly", LATER, NOON))
    store.skip(Occurrence("echo", "nightly", LATER + timedelta(hours=1), LATER))
    found = progress(store)
    assert (found.skipped, found.last_skipped_at, found.last_at) == (2, LATER + timedelta(hours=1), None)


def test_one_that_begins_anew_keeps_its_past_but_not_what_was_due(store):
    accepted = store.start(invocation(), occurrence=Occurrence("echo", "nightly", LATER, NOON))
    store.begin_schedule("echo", "nightly", "0 4 * * * UTC", NOON)
    found = progress(store)
    assert (found.timing, found.handled_until) == ("0 4 * * * UTC", NOON)
    assert (found.last_at, found.last_invocation_id) == (LATER, accepted.id)


def test_one_that_is_forgotten_cannot_be_stepped(store):
    store.forget_schedule("echo", "nightly")
    assert store.schedules() == {}
    with pytest.raises(AlreadyHandled):
        store.skip(Occurrence("echo", "nightly", LATER, NOON))


def test_an_open_one_is_found_by_who_asked_for_it(store):
    accepted = store.start(invocation(caller="schedule:nightly"))
    assert store.has_open("echo", "schedule:nightly")
    assert not store.has_open("echo", "schedule:other")
    assert not store.has_open("other", "schedule:nightly")
    store.finish(accepted.id, status=Status.CANCELLED, finished_at=utc_now(), timings=Timings())
    assert not store.has_open("echo", "schedule:nightly")


def test_a_record_that_is_deleted_is_not_pointed_to(store, record):
    accepted = store.start(invocation(), occurrence=Occurrence("echo", "nightly", LATER, NOON))
    store.finish(accepted.id, status=Status.CANCELLED, finished_at=utc_now(), timings=Timings())
    record.sql("DELETE FROM invocations")
    assert (progress(store).last_at, progress(store).last_invocation_id) == (LATER, None)
