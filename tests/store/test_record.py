"""What goes into the record comes out of it, and states change only where they may."""

import hashlib
import math
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from function_runner.errors import SettingsError, StoreUnavailable
from function_runner.invocation import (
    HandOver,
    Invocation,
    LogState,
    Progress,
    Start,
    Status,
    Timings,
    new_invocation_id,
    utc_now,
)
from function_runner.store import Store
from support.waiting import wait_until

ENDS = [status for status in Status if status.is_terminal]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


def test_it_works(record):
    accepted = record.store.start(
        Invocation(
            id=new_invocation_id(),
            function="train",
            parameters={"n_estimators": 100},
            status=Status.QUEUED,
            created_at=utc_now(),
            timeout_seconds=60.0,
            caller="127.0.0.1",
        )
    )
    assert accepted.sequence == 1
    assert record.get(accepted.id) == accepted

    assert record.store.mark_starting(accepted.id, container_name="train-0123456789ab")
    started_at = utc_now()
    assert record.store.mark_running(
        accepted.id,
        HandOver(
            container_name="train-0123456789ab",
            start=Start.COLD,
            source_hash="5" * 64,
            image_tag="smlops/function-train:555555555555",
            image_id="sha256:1",
            base_image_id="sha256:0",
            memory_limit_mb=512,
            started_at=started_at,
        ),
    )
    finished_at = utc_now()
    timings = Timings(queue_ms=0.1, build_ms=None, start_ms=250.5, run_ms=1000.25, total_ms=1251.0)
    mlflow = {"run_id": "abc", "experiment_id": "1", "model_name": "iris_model", "model_version": "3"}
    assert record.store.finish(
        accepted.id,
        status=Status.SUCCEEDED,
        finished_at=finished_at,
        timings=timings,
        result={"accuracy": 0.97},
        mlflow=mlflow,
    )
    record.store.note_facts(
        accepted.id, exit_code=0, max_memory_mb=99.5, log_state=LogState.COMPLETE, log_bytes=7, log_sha256="a" * 64
    )

    assert record.get(accepted.id) == replace(
        accepted,
        status=Status.SUCCEEDED,
        delivered=1,
        container_name="train-0123456789ab",
        start=Start.COLD,
        source_hash="5" * 64,
        image_tag="smlops/function-train:555555555555",
        image_id="sha256:1",
        base_image_id="sha256:0",
        memory_limit_mb=512,
        started_at=started_at,
        finished_at=finished_at,
        timings=timings,
        result={"accuracy": 0.97},
        result_sha256=hashlib.sha256(b'{"accuracy":0.97}').hexdigest(),
        mlflow=mlflow,
        exit_code=0,
        max_memory_mb=99.5,
        log_state=LogState.COMPLETE,
        log_bytes=7,
        log_sha256="a" * 64,
    )
    assert record.events(accepted.id) == [(1, "queued"), (1, "starting"), (1, "running"), (1, "succeeded")]


def test_an_unknown_invocation_is_none(record):
    assert record.store.get("nobody") is None


def test_nothing_can_be_done_to_an_unknown_invocation(record):
    assert not record.store.mark_starting("nobody", container_name="echo-1")
    assert not record.mark_running("nobody")
    assert not record.finish("nobody", Status.FAILED)
    record.store.note_facts("nobody", exit_code=1)
    assert record.sql("SELECT count(*) FROM invocation_facts") == [(0,)]


def test_an_invocation_is_accepted_as_queued_whatever_it_says(record):
    invocation = Invocation(
        id=new_invocation_id(),
        function="echo",
        parameters={},
        status=Status.SUCCEEDED,
        created_at=utc_now(),
        timeout_seconds=1.0,
        attempt=7,
    )
    assert record.store.start(invocation).status is Status.QUEUED
    assert record.get(invocation.id).status is Status.QUEUED
    assert record.get(invocation.id).attempt == 1


def test_a_warm_start_goes_from_queued_to_running(record):
    invocation_id = record.start()
    assert record.mark_running(invocation_id, "echo-7", Start.WARM)
    invocation = record.get(invocation_id)
    assert (invocation.status, invocation.container_name, invocation.start) == (Status.RUNNING, "echo-7", Start.WARM)
    assert record.events(invocation_id) == [(1, "queued"), (1, "running")]


def test_another_container_is_another_attempt(record):
    invocation_id = record.start()
    assert record.store.mark_starting(invocation_id, container_name="echo-1")
    assert record.store.mark_starting(invocation_id, container_name="echo-1")
    assert record.get(invocation_id).attempt == 1
    assert record.store.mark_starting(invocation_id, container_name="echo-2")
    assert record.get(invocation_id).attempt == 2
    assert record.get(invocation_id).container_name == "echo-2"
    assert record.events(invocation_id) == [(1, "queued"), (1, "starting"), (2, "starting")]


def test_an_invocation_is_handed_over_once(record):
    invocation_id = record.start()
    assert record.mark_running(invocation_id, "echo-1")
    assert not record.mark_running(invocation_id, "echo-2")
    assert not record.store.mark_starting(invocation_id, container_name="echo-2")
    assert record.get(invocation_id).container_name == "echo-1"
    assert record.sql("SELECT delivered FROM invocations") == [(1,)]


@pytest.mark.parametrize("end", ENDS)
def test_the_first_end_wins(record, end):
    invocation_id = record.start()
    record.mark_running(invocation_id)
    assert record.finish(invocation_id, end, result={"first": True}, exit_code=0)
    before = record.get(invocation_id)
    for other in ENDS:
        assert not record.finish(invocation_id, other, result={"first": False}, error={"code": "x"}, exit_code=1)
    assert not record.mark_running(invocation_id)
    assert not record.store.mark_starting(invocation_id, container_name="echo-2")
    assert record.get(invocation_id) == before


@pytest.mark.parametrize("end", [end for end in ENDS if end is not Status.SUCCEEDED])
def test_an_invocation_can_end_before_it_runs(record, end):
    queued, starting = record.start(), record.start()
    record.store.mark_starting(starting, container_name="echo-1")
    assert record.finish(queued, end)
    assert record.finish(starting, end)
    assert record.get(queued).status is record.get(starting).status is end


def test_only_what_was_handed_over_succeeds(record):
    invocation_id = record.start()
    assert not record.finish(invocation_id, Status.SUCCEEDED, result=1)
    record.store.mark_starting(invocation_id, container_name="echo-1")
    assert not record.finish(invocation_id, Status.SUCCEEDED, result=1)
    assert record.get(invocation_id).status is Status.STARTING


@pytest.mark.parametrize("status", [status for status in Status if not status.is_terminal])
def test_finishing_with_a_state_that_is_no_end_is_a_bug(record, status):
    with pytest.raises(ValueError, match="not an end"):
        record.finish(record.start(), status)


def test_only_a_success_has_a_result(record):
    failed = record.run(status=Status.FAILED, result={"half": True}, error={"code": "handler_error", "message": "no"})
    assert record.get(failed).result is None
    assert record.get(failed).error == {"code": "handler_error", "message": "no"}


def test_null_is_a_result(record):
    invocation_id = record.run(result=None)
    assert record.get(invocation_id).status is Status.SUCCEEDED
    assert record.get(invocation_id).result is None
    assert record.sql("SELECT result FROM invocations") == [("null",)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parameters=st.dictionaries(st.text(), JSON, max_size=4), result=JSON)
def test_every_json_value_comes_back_as_it_was(record, parameters, result):
    invocation_id = record.start(parameters=parameters)
    record.mark_running(invocation_id)
    record.finish(invocation_id, result=result)
    invocation = record.get(invocation_id)
    assert invocation.parameters == parameters
    assert list(invocation.parameters) == list(parameters)  # order too
    assert invocation.result == result


@pytest.mark.parametrize("text", ["\ud800", "\x00", "  ", "😀", "a" * 1_000_000])
def test_no_text_makes_an_outcome_impossible_to_record(record, text):
    invocation_id = record.run(result={text: text}, error={"message": text})
    assert record.get(invocation_id).result == {text: text}


def test_what_is_not_json_is_refused_and_leaves_the_record_open(record):
    invocation_id = record.start()
    record.mark_running(invocation_id)
    with pytest.raises(ValueError, match="not JSON compliant"):
        record.finish(invocation_id, result={"loss": math.nan})
    assert record.finish(invocation_id, Status.FAILED, error={"code": "invalid_result"})


def test_equal_parameters_have_equal_digests(record):
    one = record.start(parameters={"a": 1, "b": [2, {"c": None, "d": "é"}]})
    two = record.start(parameters={"b": [2, {"d": "é", "c": None}], "a": 1})
    other = record.start(parameters={"a": 1})
    digests = dict(record.sql("SELECT id, parameters_sha256 FROM invocations"))
    assert digests[one] == digests[two] != digests[other]


def test_moments_come_back_in_utc(record):
    noon = datetime(2026, 7, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    invocation_id = record.run(finished_at=noon)
    assert record.get(invocation_id).finished_at == noon
    assert record.get(invocation_id).finished_at.tzinfo is UTC


def test_a_moment_without_a_zone_is_a_bug(record):
    with pytest.raises(Exception, match="no time zone"):
        record.run(finished_at=datetime(2026, 7, 1, 12, 0, 0))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, None),
        ({}, None),
        ({"something": "else"}, None),
        ({"model_name": "iris_model", "model_version": 3}, {"model_name": "iris_model", "model_version": "3"}),
        ({"model_alias": "champion", "run_id": "r"}, {"model_alias": "champion", "run_id": "r"}),
    ],
)
def test_mlflow_facts_are_kept_as_text(record, given: Any, kept: Any):
    assert record.get(record.run(mlflow=given)).mlflow == kept


def test_facts_can_be_added_after_the_end(record):
    invocation_id = record.run(status=Status.FAILED, exit_code=137)
    record.store.note_facts(invocation_id, oom_killed=True)
    record.store.note_facts(invocation_id, log_state=LogState.TRUNCATED, log_bytes=0)
    record.store.note_facts(invocation_id)
    invocation = record.get(invocation_id)
    assert (invocation.exit_code, invocation.oom_killed) == (137, True)
    assert (invocation.log_state, invocation.log_bytes) == (LogState.TRUNCATED, 0)


@pytest.mark.parametrize("soon", [False, True])
def test_progress_is_kept_as_it_was_said(record, soon):
    invocation_id = record.start()
    record.mark_running(invocation_id)
    for progress in (Progress(1, 3, "one", utc_now()), Progress(2.5, None, None, utc_now())):
        record.store.note_facts(invocation_id, progress=progress, soon=soon)
        wait_until(lambda progress=progress: record.get(invocation_id).progress == progress)
    assert record.store.search()[0][0].progress == progress
    record.finish(invocation_id)
    assert record.get(invocation_id).progress == progress


def test_progress_of_an_earlier_attempt_is_not_that_of_this_one(record):
    invocation_id = record.start()
    record.store.note_facts(invocation_id, progress=Progress(1, 3, None, utc_now()))
    assert record.get(invocation_id).progress is None
    record.mark_running(invocation_id)
    assert record.get(invocation_id).progress is None


def test_facts_of_a_loser_are_not_kept(record):
    invocation_id = record.run(status=Status.TIMED_OUT)
    record.finish(invocation_id, Status.FAILED, exit_code=137, oom_killed=True)
    assert record.get(invocation_id).exit_code is None


def test_false_and_zero_are_facts(record):
    invocation_id = record.run(exit_code=0, oom_killed=False)
    assert record.get(invocation_id).exit_code == 0
    assert record.get(invocation_id).oom_killed is False


def test_each_row_names_the_runner_that_works_on_it(new_record):
    one, two = new_record("runner-1"), new_record("runner-2")
    invocation_id = one.start()
    assert one.sql("SELECT owner, fence FROM invocations") == [("runner-1", 0)]
    two.store.mark_starting(invocation_id, container_name="echo-1")
    assert one.sql("SELECT owner, fence FROM invocations") == [("runner-2", 1)]


def test_a_check_is_a_sign_of_life(new_record):
    one, two = new_record("runner-1"), new_record("runner-2")
    one.store.check()
    one.store.check()
    two.store.check()
    assert one.sql("SELECT owner, beat FROM owners ORDER BY owner") == [("runner-1", 2), ("runner-2", 1)]


def test_the_store_can_be_used_after_it_was_closed(record):
    invocation_id = record.start()
    record.store.close()
    record.store.close()
    assert record.get(invocation_id).status is Status.QUEUED


@pytest.mark.parametrize("url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "nosuchdatabase://host/name"])
def test_a_url_that_cannot_be_used_is_refused_at_once(url):
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        Store(url)


def test_facts_that_may_come_later_are_written_soon_and_at_the_latest_at_the_end(record):
    ids = [record.run() for _ in range(50)]
    for invocation_id in ids:
        record.store.note_facts(invocation_id, log_state=LogState.COMPLETE, log_bytes=7, soon=True)
    record.store.note_facts("nobody", log_bytes=7, soon=True)
    wait_until(lambda: all(record.get(invocation_id).log_bytes == 7 for invocation_id in ids))
    record.store.note_facts(ids[0], log_bytes=8, soon=True)
    record.store.close()
    assert record.get(ids[0]).log_bytes == 8


def test_what_may_come_later_does_not_come_after_what_was_noted_later(record):
    invocation_id = record.run()
    record.store.note_facts(invocation_id, log_bytes=1, max_memory_mb=5.0, soon=True)
    record.store.note_facts(invocation_id, log_bytes=2)
    record.store.close()
    noted = record.get(invocation_id)
    assert (noted.log_bytes, noted.max_memory_mb) == (2, 5.0)


def test_what_is_noted_waits_for_what_is_just_being_written(record, monkeypatch):
    invocation_id, other = record.run(), record.run()
    later = record.store._later
    real, begun, go_on = later._write, threading.Event(), threading.Event()

    def write(noted):
        begun.set()
        assert go_on.wait(10)
        real(noted)

    monkeypatch.setattr(later, "_write", write)
    record.store.note_facts(invocation_id, log_bytes=1, soon=True)
    assert begun.wait(10)
    record.store.note_facts(other, log_bytes=3)  # waits for nobody
    newer = threading.Thread(target=record.store.note_facts, args=(invocation_id,), kwargs={"log_bytes": 2})
    newer.start()
    newer.join(0.1)
    go_on.set()
    newer.join(10)
    assert (record.get(invocation_id).log_bytes, record.get(other).log_bytes) == (2, 3)
    record.store.close()
    assert record.get(invocation_id).log_bytes == 2


def test_one_that_finds_a_container_waiting_is_accepted_and_handed_over_at_once(record):
    invocation_id = new_invocation_id()
    accepted = record.store.start(
        Invocation(invocation_id, "echo", {}, Status.QUEUED, utc_now(), 1.0),
        hand_over=record.hand_over("echo-7", Start.WARM),
    )
    assert accepted.status is Status.RUNNING
    assert record.get(invocation_id) == replace(accepted, log_state=LogState.OPEN)
    assert record.events(invocation_id) == [(1, "queued"), (1, "running")]
    assert not record.mark_running(invocation_id)
    assert record.finish(invocation_id, result=1)


def away(_):
    raise StoreUnavailable("The database is away.")


def test_what_the_database_does_not_take_is_tried_again(record, monkeypatch):
    monkeypatch.setattr("function_runner.store.database.PERSISTENCE_SECONDS", 0.1)
    monkeypatch.setattr("function_runner.store.writing.AWAY_SECONDS", 0.05)
    invocation_id = record.run()
    with monkeypatch.context() as patch:
        patch.setattr(record.store._commits, "run", away)
        record.store.note_facts(invocation_id, log_bytes=1)
        record.store.note_facts(invocation_id, log_bytes=2, max_memory_mb=5.0, soon=True)
    wait_until(lambda: record.get(invocation_id).max_memory_mb == 5.0)
    assert record.get(invocation_id).log_bytes == 2


def test_after_the_end_it_is_not_tried_for_ever(record, monkeypatch):
    invocation_id = record.run()
    record.store.close()
    monkeypatch.setattr(record.store._commits, "run", away)
    record.store.note_facts(invocation_id, log_bytes=1, soon=True)
    wait_until(lambda: record.store._later._thread is None, seconds=10)
