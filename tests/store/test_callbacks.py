"""What is to be told to whom: written with the acceptance, tried by one at a time, gone with the record."""

from datetime import timedelta

import pytest

from function_runner.invocation import Callback, CallbackState, Status, utc_now
from function_runner.store import DueCallback

URL = "https://hooks.example.com/a?b=c"


def ended(record, url=URL):
    invocation_id = record.start(callback=Callback(url))
    record.finish(invocation_id, Status.FAILED)
    return invocation_id


def due(record, seconds=1):
    return [found.invocation_id for found in record.store.due_callbacks(utc_now() + timedelta(seconds=seconds))]


def test_it_works(record):
    invocation_id = record.start(callback=Callback(URL))
    assert record.get(invocation_id).callback == Callback(URL)
    assert due(record) == []
    record.finish(invocation_id, Status.FAILED)
    since = record.get(invocation_id).created_at
    assert record.store.due_callbacks(utc_now()) == [DueCallback(invocation_id, URL, attempts=0, since=since)]
    assert record.store.claim_callback(invocation_id, 1, until=utc_now() + timedelta(minutes=2))
    assert due(record) == []
    now = utc_now()
    record.store.note_callback(invocation_id, state=CallbackState.DELIVERED, delivered_at=now)
    assert record.get(invocation_id).callback == Callback(URL, CallbackState.DELIVERED, 1, None, now)


def test_pages_leave_nobody_out_when_attempts_begin_meanwhile(record):
    ids = [ended(record) for _ in range(7)]
    seen, last = [], None
    while page := record.store.due_callbacks(utc_now(), limit=2, after=last):
        seen += [one.invocation_id for one in page]
        last = page[-1]
        for one in page:
            assert record.store.claim_callback(one.invocation_id, 1, until=utc_now() + timedelta(minutes=2))
    assert sorted(seen) == sorted(ids)


def test_without_one_there_is_nothing_to_do(record):
    invocation_id = record.run()
    assert record.get(invocation_id).callback is None
    assert record.sql("SELECT * FROM callbacks") == []


def test_an_attempt_is_made_once(record, new_record):
    invocation_id = ended(record)
    until = utc_now() + timedelta(minutes=2)
    other = new_record("runner-2").store
    assert record.store.claim_callback(invocation_id, 1, until=until)
    assert not other.claim_callback(invocation_id, 1, until=until)
    assert other.claim_callback(invocation_id, 2, until=until)


@pytest.mark.parametrize("state", [CallbackState.DELIVERED, CallbackState.FAILED])
def test_what_is_done_is_done(record, state):
    invocation_id = ended(record)
    record.store.claim_callback(invocation_id, 1, until=utc_now())
    record.store.note_callback(invocation_id, state=state, last_error="why")
    record.store.note_callback(invocation_id, state=CallbackState.PENDING, next_at=utc_now())
    assert record.get(invocation_id).callback.state is state
    assert not record.store.claim_callback(invocation_id, 2, until=utc_now())
    assert due(record, seconds=10_000) == []


def test_the_longest_due_comes_first(record):
    first, second = ended(record), ended(record)
    assert due(record) == [first, second]
    record.store.claim_callback(first, 1, until=utc_now())
    record.store.note_callback(first, state=CallbackState.PENDING, next_at=utc_now() + timedelta(seconds=60))
    assert due(record) == [second]
    assert due(record, seconds=61) == [second, first]


def test_it_goes_with_its_record(record):
    ended(record)
    record.sql("DELETE FROM invocations")
    assert record.sql("SELECT * FROM callbacks") == []


def test_whom_to_tell_does_not_change(record):
    import sqlite3

    ended(record)
    with pytest.raises(sqlite3.IntegrityError):
        record.sql("UPDATE invocations SET callback_url = 'http://elsewhere.example'")
