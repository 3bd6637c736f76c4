"""The database itself refuses what the store would never do: SQL by hand cannot rewrite what happened."""

import sqlite3

import pytest

from function_runner.invocation import Status

ENDS = [status for status in Status if status.is_terminal]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invocations SET status = 'running'",
        "UPDATE invocations SET status = 'queued', attempt = attempt + 1",
        "UPDATE invocations SET status = 'succeeded', result = '1'",
        "UPDATE invocations SET result = '2'",
        "UPDATE invocations SET error = NULL, finished_at = NULL",
        "UPDATE invocations SET owner = 'me', fence = fence + 1",
        "UPDATE invocations SET status = status",
        "UPDATE OR REPLACE invocations SET result = '2'",
        "REPLACE INTO invocations SELECT * FROM invocations",
        (
            "INSERT INTO invocations SELECT * FROM invocations WHERE true "
            "ON CONFLICT (sequence) DO UPDATE SET result = '2'"
        ),
    ],
)
def test_a_row_that_has_ended_never_changes(record, end, statement):
    record.run(status=end, result=1)
    before = record.sql("SELECT * FROM invocations")
    with pytest.raises(sqlite3.IntegrityError):
        record.sql(statement)
    assert record.sql("SELECT * FROM invocations") == before


@pytest.mark.parametrize(
    "change",
    [
        "id = 'other'",
        "sequence = sequence + 1",
        "function = 'other'",
        "parameters = '{}'",
        "parameters_sha256 = ''",
        "created_at = '2020-01-01 00:00:00.000000'",
        "timeout_seconds = 1e9",
        "caller = 'me'",
        "mode = 'async'",
        "idempotency_key = 'k'",
        "callback_url = 'http://example.com'",
        "replay_of = 'x'",
    ],
)
def test_what_was_asked_never_changes(record, change):
    record.start(parameters={"a": 1})
    with pytest.raises(sqlite3.IntegrityError, match="what was asked does not change"):
        record.sql(f"UPDATE invocations SET {change}")


@pytest.mark.parametrize(
    "change",
    ["status = 'queued'", "status = 'starting'", "attempt = attempt - 1", "status = 'queued', attempt = attempt - 1"],
)
def test_a_running_invocation_does_not_go_back(record, change):
    record.mark_running(record.start())
    with pytest.raises(sqlite3.IntegrityError, match="only as a new attempt"):
        record.sql(f"UPDATE invocations SET {change}")


def test_a_new_attempt_may_go_back_to_the_queue(record):
    invocation_id = record.start()
    record.mark_running(invocation_id)
    record.sql("UPDATE invocations SET status = 'queued', attempt = attempt + 1")
    assert record.mark_running(invocation_id)
    assert record.finish(invocation_id)
    assert record.events(invocation_id) == [
        (1, "queued"),
        (1, "running"),
        (2, "queued"),
        (2, "running"),
        (2, "succeeded"),
    ]


def test_a_success_without_a_result_is_refused(record):
    record.mark_running(record.start())
    with pytest.raises(sqlite3.IntegrityError, match="success_has_result"):
        record.sql("UPDATE invocations SET status = 'succeeded'")


def test_a_status_that_does_not_exist_is_refused(record):
    record.start()
    with pytest.raises(sqlite3.IntegrityError, match="status"):
        record.sql("UPDATE invocations SET status = 'done'")


def test_a_row_cannot_be_born_running(record):
    with pytest.raises(sqlite3.IntegrityError, match="starts in the queue"):
        record.sql(
            "INSERT INTO invocations (id, function, parameters, parameters_sha256, timeout_seconds, created_at, status)"
            " VALUES ('x', 'echo', '{}', '', 1, '2026-01-01 00:00:00.000000', 'running')"
        )


def test_an_id_is_never_taken_over(record):
    invocation_id = record.run()
    with pytest.raises(sqlite3.IntegrityError, match="exists"):
        record.sql(
            "INSERT OR REPLACE INTO invocations"
            " (id, function, parameters, parameters_sha256, timeout_seconds, created_at, status)"
            " VALUES (?, 'echo', '{}', '', 1, '2026-01-01 00:00:00.000000', 'queued')",
            invocation_id,
        )
    assert record.get(invocation_id).status is Status.SUCCEEDED


def test_what_has_not_ended_cannot_be_deleted(record):
    record.start()
    with pytest.raises(sqlite3.IntegrityError, match="has not ended"):
        record.sql("DELETE FROM invocations")


def test_what_has_ended_can_be_deleted_and_takes_its_facts_and_events_with_it(record):
    gone, kept = record.run(), record.run()
    for invocation_id in (gone, kept):
        record.store.note_facts(invocation_id, exit_code=0)
    record.sql("DELETE FROM invocations WHERE id = ?", gone)
    assert record.store.get(gone) is None
    assert record.events(gone) == []
    assert record.sql("SELECT invocation_id FROM invocation_facts") == [(kept,)]


def test_the_number_of_a_deleted_row_is_not_given_again(record):
    last = record.run()
    sequence = record.get(last).sequence
    record.sql("DELETE FROM invocations")
    assert record.get(record.start()).sequence == sequence + 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invocation_events SET status = 'failed'",
        "UPDATE invocation_events SET at = '2020-01-01 00:00:00.000000'",
        "DELETE FROM invocation_events",
        "REPLACE INTO invocation_events SELECT * FROM invocation_events",
        (
            "INSERT INTO invocation_events (invocation_id, attempt, status, at)"
            " SELECT invocation_id, attempt, status, at FROM invocation_events"
        ),
        (
            "INSERT INTO invocation_events (invocation_id, attempt, status, at)"
            " SELECT invocation_id, attempt, 'lost', at FROM invocation_events WHERE status = 'succeeded'"
        ),
    ],
)
def test_events_are_never_changed_and_an_invocation_ends_once(record, statement):
    invocation_id = record.run()
    before = record.sql("SELECT * FROM invocation_events")
    with pytest.raises(sqlite3.IntegrityError):
        record.sql(statement)
    assert record.sql("SELECT * FROM invocation_events") == before
    assert record.events(invocation_id)[-1] == (1, "succeeded")


def test_changes_by_hand_are_events_too(record):
    invocation_id = record.start()
    record.sql("UPDATE invocations SET status = 'cancelled'")
    assert record.events(invocation_id) == [(1, "queued"), (1, "cancelled")]


def test_an_event_says_when_who_and_where(record):
    invocation_id = record.start()
    record.mark_running(invocation_id, "echo-1")
    [(owner, container_name, at)] = record.sql(
        "SELECT owner, container_name, at FROM invocation_events WHERE status = 'running'"
    )
    assert (owner, container_name) == ("runner-1", "echo-1")
    [(created_at,)] = record.sql("SELECT created_at FROM invocations")
    assert created_at[:13] <= at[:13]
    assert len(at) == len(created_at)
