"""What a crash leaves behind, and what becomes of it at the next start."""

import threading

import pytest

from function_runner.docker_spec import ContainerSpec
from function_runner.errors import EngineUnavailable
from function_runner.invocation import (
    HandOver,
    Invocation,
    LogState,
    Start,
    Status,
    Timings,
    new_invocation_id,
    utc_now,
)
from function_runner.store import Wanted
from support.handlers import SLEEP
from support.waiting import wait_until


def orphan(runner, name="sleep-0123456789ab", handler="import time\nprint('so far')\ntime.sleep(60)\n"):
    """A container of ours that no runner knows; returns its id."""
    runner.add("sleep", handler)
    (runner.settings.functions_dir / "sleep" / "main.py").write_text(handler)
    image = runner.images.build(runner.catalog.get("sleep"))
    labels = {"smlops.stack": "smlops", "smlops.function": "sleep", "smlops.environment": name}
    container_id = runner.engine.create(ContainerSpec(name, image.tag, {"Labels": labels, "Env": []}))
    stream = runner.engine.attach(container_id)
    runner.engine.start(container_id)
    next(stream)
    return container_id


def open_record(runner, status, container_name="sleep-0123456789ab"):
    """A record that the previous runner did not finish."""
    invocation = runner.store.start(
        Invocation(new_invocation_id(), "sleep", {}, Status.QUEUED, utc_now(), timeout_seconds=60)
    )
    if status in (Status.STARTING, Status.RUNNING):
        runner.store.mark_starting(invocation.id, container_name=container_name)
    if status is Status.RUNNING:
        log_file = runner.logs.create(container_name)
        log_file.write_line(f"START RequestId: {invocation.id} Version: 0")
        runner.store.mark_running(
            invocation.id,
            HandOver(
                container_name=container_name,
                start=Start.COLD,
                source_hash="0",
                image_tag="t",
                image_id="i",
                base_image_id=None,
                memory_limit_mb=64,
                started_at=utc_now(),
            ),
        )
    return invocation


def test_it_works(runner):
    orphan(runner)
    assert runner.reaper.sweep() == 1
    assert runner.engine.containers() == []


def test_a_container_of_the_pool_is_no_stray(runner):
    runner.add("sleep", SLEEP)
    runner.engine.faults.may_start.clear()
    thread = threading.Thread(target=runner.invoke, args=("sleep",), kwargs=runner.until_woken())
    thread.start()
    wait_until(runner.engine.containers)
    assert runner.reaper.sweep() == 0
    runner.engine.faults.may_start.set()
    wait_until(lambda: runner.store.search(Wanted(statuses=["running"]))[0])
    assert runner.reaper.sweep() == 0
    runner.wake()
    thread.join()
    assert runner.latest().status is Status.SUCCEEDED


@pytest.mark.parametrize("status", [Status.QUEUED, Status.STARTING])
def test_what_was_never_handed_over_is_cancelled(runner, status):
    invocation = open_record(runner, status)
    runner.reaper.reconcile()
    record = runner.store.get(invocation.id)
    assert record.status is Status.CANCELLED
    assert "before the invocation was handed" in record.error["message"]
    assert record.error["diagnosis"]["kind"] == "runner_stopped"


def test_what_was_running_is_lost_and_its_log_is_finished(runner):
    orphan(runner)
    invocation = open_record(runner, Status.RUNNING)
    runner.reaper.reconcile()
    record = runner.store.get(invocation.id)
    assert (record.status, record.log_state) == (Status.LOST, LogState.PARTIAL)
    assert "so far\n" in runner.log(record)
    assert record.error["diagnosis"]["kind"] == "lost"
    assert record.error["diagnosis"]["evidence"][-1] == "so far"
    *_, note, report = runner.log(record).splitlines()
    assert "its outcome is not known" in note
    assert report == f"REPORT RequestId: {record.id}\tStatus: lost"


def test_without_the_container_the_log_is_partial(runner):
    invocation = open_record(runner, Status.RUNNING)
    runner.reaper.reconcile()
    record = runner.store.get(invocation.id)
    assert (record.status, record.log_state) == (Status.LOST, LogState.PARTIAL)


def test_evidence_wins_over_not_knowing(runner):
    container_id = orphan(runner)
    invocation = open_record(runner, Status.RUNNING)
    runner.engine._containers[container_id].end(137, oom_killed=True)
    runner.reaper.reconcile()
    record = runner.store.get(invocation.id)
    assert (record.status, record.error["code"]) == (Status.FAILED, "out_of_memory")
    assert record.error["diagnosis"]["kind"] == "out_of_memory"
    assert "64 MB" in record.error["diagnosis"]["cause"]
    assert record.oom_killed


def test_a_finished_record_stays_as_it_is(runner):
    runner.add("echo", "def handler(event, context):\n    return 1\n")
    before = runner.settled(runner.invoke("echo").id)
    runner.reaper.reconcile()
    assert runner.store.get(before.id) == before


def test_what_may_still_run_stays_open_until_the_engine_answers(runner):
    running = open_record(runner, Status.RUNNING)
    starting = open_record(runner, Status.STARTING, "sleep-ba9876543210")
    runner.engine.faults.is_away = True
    runner.reaper.reconcile()
    assert runner.store.get(running.id).status is Status.RUNNING
    assert runner.store.get(starting.id).status is Status.CANCELLED
    with pytest.raises(EngineUnavailable):
        runner.reaper.sweep()
    runner.engine.faults.is_away = False
    runner.reaper.reconcile()
    assert runner.store.get(running.id).status is Status.LOST


def test_a_record_stays_open_when_its_container_cannot_be_ended(runner, monkeypatch):
    orphan(runner)
    running = open_record(runner, Status.RUNNING)

    def refuse(_container_id):
        raise EngineUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(runner.engine, "kill", refuse)
        runner.reaper.reconcile()
    assert runner.store.get(running.id).status is Status.RUNNING
    runner.reaper.reconcile()
    assert runner.store.get(running.id).status is Status.LOST


def test_it_comes_back_soon_when_the_engine_did_not_answer(runner, monkeypatch):
    monkeypatch.setattr("function_runner.reaper.ENGINE_SECONDS", 0.05)
    running = open_record(runner, Status.RUNNING)
    runner.engine.faults.is_away = True
    runner.reaper.start()
    assert runner.store.get(running.id).status is Status.RUNNING
    runner.engine.faults.is_away = False
    wait_until(lambda: runner.store.get(running.id).status is Status.LOST)
    runner.reaper.stop()


def test_it_runs_in_the_background_and_stops(runner):
    orphan(runner)
    runner.reaper.start()
    wait_until(lambda: not runner.engine.containers())
    runner.reaper.stop()


def test_what_somebody_works_on_stays_open(runner):
    runner.add("sleep", SLEEP)
    thread = threading.Thread(target=runner.invoke, args=("sleep",), kwargs=runner.until_woken())
    thread.start()
    wait_until(lambda: runner.store.search(Wanted(statuses=["running"]))[0])
    runner.reaper.reconcile()
    runner.wake()
    thread.join()
    assert runner.latest().status is Status.SUCCEEDED


def test_a_log_that_was_not_finished_is_finished_at_the_next_start(runner):
    orphan(runner)
    invocation = open_record(runner, Status.RUNNING)
    runner.store.finish(invocation.id, status=Status.SUCCEEDED, finished_at=utc_now(), timings=Timings(), result=1)
    runner.reaper.finish_logs()
    record = runner.store.get(invocation.id)
    assert (record.status, record.log_state) == (Status.SUCCEEDED, LogState.PARTIAL)
    assert "so far\n" in runner.log(record)


def test_what_is_recorded_as_over_is_over(runner):
    container_id = orphan(runner)
    open_record(runner, Status.RUNNING)
    runner.reaper.reconcile()
    assert not runner.engine.inspect(container_id).running


def test_logs_of_containers_that_were_never_used_are_removed_at_the_start_and_those_of_newer_ones_stay(runner):
    runner.logs.create("sleep-000000000000").close()
    runner.reaper.adopt_running()
    newer = runner.logs.create(
        "sleep-111111111111"
    )  # an adopted one has ended, and there is room for another container
    runner.reaper.start()
    runner.reaper.stop()
    assert runner.logs.unused() == ["sleep-111111111111"]
    newer.close()
