"""The journey of an invocation, on the fake engine: every way it can end, and what is recorded of it."""

import errno
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from function_runner.errors import (
    AlreadyEnded,
    BuildFailed,
    Busy,
    DiskFull,
    Draining,
    EngineUnavailable,
    ExitedWithoutResult,
    FunctionNotFound,
    HandlerError,
    HandlerNotFound,
    HandlerRefused,
    InitError,
    InvalidResult,
    Killed,
    LogsUnavailable,
    Lost,
    OutOfMemory,
    ParametersInvalid,
    QueueTimeout,
    ResultTooLarge,
    RunnerError,
    StoreUnavailable,
    TimedOut,
)
from function_runner.invocation import LogState, Request, Start, Status, Timings, utc_now
from function_runner.spool import NotKept, NotReadable
from function_runner.store import Wanted
from support.handlers import SLEEP
from support.waiting import wait_until

ECHO = "def handler(event, context):\n    print('echoing')\n    return {'event': event, 'id': context.aws_request_id}\n"


def failing(runner, name, error_class, **parameters):
    """Invoke, expect this error, and return it with the settled record."""
    with pytest.raises(error_class) as caught:
        runner.invoke(name, **parameters)
    error = caught.value
    return error, runner.settled(error.members["invocation_id"])


def running(runner, name):
    """Wait until an invocation of this function runs, and return its record."""

    def found():
        records, _ = runner.store.search(Wanted(function=name, statuses=[Status.RUNNING]), limit=1)
        return records[0] if records else None

    return wait_until(found)


def test_it_works(runner):
    runner.add("echo", ECHO)
    record = runner.invoke("echo", a=1)
    assert record.status is Status.SUCCEEDED
    assert record.result == {"event": {"a": 1}, "id": record.id}
    assert record.start is Start.COLD
    assert record.timings.total_ms >= record.timings.run_ms >= 0
    assert record.container_name.startswith("echo-")
    assert record.image_tag == f"smlops/function-echo:{record.source_hash[:12]}"
    assert runner.store.get(record.id).status is Status.SUCCEEDED


def test_the_log_has_lambdas_lines_around_the_output(runner):
    runner.add("echo", ECHO)
    record = runner.settled(runner.invoke("echo").id)
    start, output, end, report = runner.log(record).splitlines()
    assert start == f"START RequestId: {record.id} Version: {record.source_hash[:12]}"
    assert output == "echoing"
    assert end == f"END RequestId: {record.id}"
    assert report.startswith(f"REPORT RequestId: {record.id}\tDuration: ")
    assert "\tMemory Size: 512 MB\tMax Memory Used: 12 MB\tInit Duration: " in report
    assert record.log_state is LogState.COMPLETE
    assert record.log_sha256
    assert record.max_memory_mb == 12.5


def test_each_invocation_has_a_container_of_its_own(runner):
    runner.add("count", "n = 0\ndef handler(event, context):\n    global n\n    n += 1\n    return n\n")
    records = [runner.invoke("count") for _ in range(3)]
    assert [record.result for record in records] == [1, 1, 1]
    assert len({record.container_name for record in records}) == 3


def test_a_result_of_null_is_a_result(runner):
    runner.add("nothing", "def handler(event, context):\n    return None\n")
    record = runner.invoke("nothing")
    assert record.status is Status.SUCCEEDED
    assert record.result is None


def test_parameters_are_checked_before_anything_is_recorded_or_started(runner):
    runner.add("strict", ECHO, "parameters: {properties: {n: {type: integer}}}")
    with pytest.raises(ParametersInvalid):
        runner.invoke("strict", n="x")
    with pytest.raises(FunctionNotFound):
        runner.invoke("unknown")
    assert runner.store.search()[0] == []
    assert "create" not in runner.engine.calls


def test_defaults_reach_the_handler_and_the_record(runner):
    runner.add("defaults", ECHO, "parameters: {properties: {n: {type: integer, default: 7}}}")
    record = runner.invoke("defaults")
    assert record.result["event"] == record.parameters == {"n": 7}


def test_an_exception_of_the_handler_is_told_with_its_trace(runner):
    runner.add("raises", "def handler(event, context):\n    raise ValueError('no luck')\n")
    error, record = failing(runner, "raises", HandlerError)
    assert "ValueError: no luck" in error.detail
    assert error.members["function_error"]["stack_trace"]
    assert error.members["container_name"] == record.container_name
    assert record.status is Status.FAILED
    assert record.error["code"] == "handler_error"
    assert record.error["type"] == "ValueError"
    assert record.error["diagnosis"] == error.members["diagnosis"]
    assert record.error["diagnosis"]["kind"] == "handler_error"
    assert record.error["diagnosis"]["evidence"][0] == "ValueError: no luck"


def test_a_handler_may_refuse_parameters_field_by_field(runner):
    runner.add(
        "refuses",
        "class InvalidParameters(Exception): pass\n"
        "def handler(event, context):\n    raise InvalidParameters('two problems\\n/a: too odd\\n/b/0: too even')\n",
    )
    error, record = failing(runner, "refuses", HandlerRefused)
    assert [(entry.pointer, entry.detail) for entry in error.errors] == [("/a", "too odd"), ("/b/0", "too even")]
    assert record.error["errors"][0] == {"pointer": "/a", "detail": "too odd"}


def test_a_handler_may_say_that_something_does_not_exist(runner):
    runner.add(
        "misses",
        "class ModelNotFound(Exception): pass\n"
        "def handler(event, context):\n    raise ModelNotFound('/name: there is no model x')\n",
    )
    error, _ = failing(runner, "misses", HandlerNotFound)
    assert error.detail == "there is no model x"
    assert error.errors[0].pointer == "/name"


def test_a_module_that_cannot_be_loaded_is_an_init_error(runner):
    runner.add("broken", "print('before')\nimport nonsense_that_is_not_there\n")
    error, record = failing(runner, "broken", InitError)
    assert "nonsense_that_is_not_there" in error.detail
    assert record.error["diagnosis"]["kind"] == "missing_module"
    assert record.status is Status.FAILED
    assert record.timings.run_ms is None
    assert "before" in runner.log(record)


def test_a_process_that_exits_is_told_with_its_exit_code(runner):
    runner.add("exits", "def handler(event, context):\n    print('last words')\n    raise SystemExit(7)\n")
    error, record = failing(runner, "exits", ExitedWithoutResult)
    assert error.members["exit_code"] == 7
    assert record.error["diagnosis"]["kind"] == "exited"
    assert record.error["diagnosis"]["evidence"] == ["last words"]
    assert record.exit_code == 7
    assert "last words" in runner.log(record)


def test_exit_code_zero_is_not_success(runner):
    runner.add("leaves", "def handler(event, context):\n    raise SystemExit(0)\n")
    _, record = failing(runner, "leaves", ExitedWithoutResult)
    assert (record.status, record.exit_code) == (Status.FAILED, 0)


def test_a_process_that_exits_while_loading_is_told(runner):
    runner.add("early", "raise SystemExit(4)\n")
    error, record = failing(runner, "early", ExitedWithoutResult)
    assert "while it was starting" in error.detail
    assert record.exit_code == 4


def test_running_out_of_memory_is_told(runner):
    runner.add("hungry", "def handler(event, context):\n    raise MemoryError\n", "memory: 64")
    error, record = failing(runner, "hungry", OutOfMemory)
    assert "64 MB" in error.detail
    assert record.error["diagnosis"]["kind"] == "out_of_memory"
    assert "64 MB" in record.error["diagnosis"]["cause"]
    assert record.oom_killed
    assert record.max_memory_mb == 64


def test_a_timeout_kills_and_then_records(runner):
    runner.add("sleep", SLEEP, "timeout: 0.3")
    before = time.monotonic()
    error, record = failing(runner, "sleep", TimedOut, seconds=60)
    assert time.monotonic() - before < 30
    assert "0.3 s" in error.detail
    assert record.error["diagnosis"]["kind"] == "timeout"
    assert "printed nothing" in record.error["diagnosis"]["cause"]
    assert record.status is Status.TIMED_OUT
    assert record.timings.run_ms >= 300
    assert "Status: timed_out" in runner.log(record)


def test_the_caller_may_ask_for_another_timeout(runner):
    runner.add("sleep", SLEEP, "timeout: 5")
    with pytest.raises(TimedOut):
        runner.invoker.invoke(Request("sleep", {"seconds": 60}, timeout=0.2))


def test_a_function_that_never_finishes_loading_fails(make_runner):
    runner = make_runner(init_timeout=0.3)
    runner.add("stuck", "import time\ntime.sleep(60)\n")
    error, record = failing(runner, "stuck", TimedOut)
    assert "still loading" in error.detail
    assert record.status is Status.FAILED


@pytest.mark.parametrize("value", ["float('nan')", "float('inf')", "'\\ud800'"])
def test_a_result_that_is_not_strict_json_is_refused(runner, value):
    runner.add("odd", f"def handler(event, context):\n    return {{'x': {value}}}\n")
    _, record = failing(runner, "odd", InvalidResult)
    assert record.result is None


def test_a_result_that_is_too_large_is_refused(make_runner):
    runner = make_runner(result_max_bytes=2000)
    runner.add("large", "def handler(event, context):\n    return 'x' * event['n']\n")
    assert len(runner.invoke("large", n=1998).result) == 1998  # and two quotes
    error, record = failing(runner, "large", ResultTooLarge, n=1999)
    assert "2000 bytes" in error.detail
    assert record.status is Status.FAILED


def test_a_container_killed_from_outside_is_told(runner):
    runner.add("sleep", SLEEP)
    thread, outcome = runner.in_background("sleep", seconds=60)
    runner.engine.kill_from_outside(running(runner, "sleep").container_name)
    thread.join()
    assert isinstance(outcome[0], Killed)
    assert outcome[0].members["exit_code"] == 137
    assert outcome[0].members["diagnosis"]["kind"] == "killed_from_outside"


def test_a_container_removed_from_outside_is_told(runner):
    runner.add("sleep", SLEEP)
    thread, outcome = runner.in_background("sleep", seconds=60)
    runner.engine.remove_from_outside(running(runner, "sleep").container_name)
    thread.join()
    assert isinstance(outcome[0], Killed)
    assert "removed from outside" in outcome[0].detail


def test_a_build_that_fails_has_its_output_in_the_log(runner):
    runner.add("unbuilt", ECHO, dockerfile="FROM fake\nRUN exit 1\n")
    error, record = failing(runner, "unbuilt", BuildFailed)
    assert "non-zero code: 1" in error.detail
    assert record.error["diagnosis"]["kind"] == "build_step"
    assert record.error["diagnosis"]["evidence"] == ["Step 1/1 : FROM fake", "returned a non-zero code: 1"]
    state = runner.images.state(runner.catalog.get("unbuilt"))
    assert state.diagnosis == record.error["diagnosis"]
    assert "Step 1/1" in runner.log(record)
    assert record.status is Status.FAILED


def test_a_build_that_failed_is_not_repeated_until_the_source_changes(runner):
    runner.add("unbuilt", ECHO, dockerfile="FROM fake\nRUN exit 1\n")
    for _ in range(2):
        failing(runner, "unbuilt", BuildFailed)
    assert len(runner.engine.builds) == 1
    runner.add("unbuilt", ECHO)
    assert runner.invoke("unbuilt").status is Status.SUCCEEDED


def test_twenty_first_calls_make_one_build(make_runner):
    runner = make_runner(max_concurrency=20)
    runner.add("echo", ECHO)
    runner.engine.faults.build_seconds = 0.3
    calls = [runner.in_background("echo", n=n) for n in range(20)]
    for thread, _ in calls:
        thread.join()
    assert sorted(outcome[0].result["event"]["n"] for _, outcome in calls) == list(range(20))
    assert len(runner.engine.builds) == 1


def test_an_edited_function_runs_its_new_code(runner):
    runner.add("echo", "def handler(event, context):\n    return 'old'\n")
    assert runner.invoke("echo").result == "old"
    runner.add("echo", "def handler(event, context):\n    return 'new'\n")
    assert runner.invoke("echo").result == "new"


def test_an_image_removed_by_hand_is_built_again(runner):
    runner.add("echo", ECHO)
    record = runner.invoke("echo")
    runner.engine.remove_image_from_outside(record.image_tag)
    assert runner.invoke("echo").status is Status.SUCCEEDED
    assert len(runner.engine.builds) == 2


def test_an_engine_that_is_away_fails_the_invocation_and_recovers(runner):
    runner.add("echo", ECHO)
    runner.invoke("echo")
    wait_until(lambda: not runner.engine.containers())
    runner.engine.faults.is_away = True
    with pytest.raises(EngineUnavailable) as caught:
        runner.invoke("echo")
    record = runner.store.get(caught.value.members["invocation_id"])
    assert record.status is Status.FAILED
    assert record.error["diagnosis"]["kind"] == "engine_gone"
    runner.engine.faults.is_away = False
    assert runner.invoke("echo").status is Status.SUCCEEDED


def test_a_refused_start_leaves_nothing_behind(runner):
    runner.add("echo", ECHO)
    runner.engine.faults.start_error = "no space left on device"
    error, record = failing(runner, "echo", EngineUnavailable)
    assert "no space left" in error.detail
    assert record.error["diagnosis"]["kind"] == "disk"
    assert record.status is Status.FAILED
    assert "no space left" in runner.log(record)


def test_a_function_runs_no_more_often_at_once_than_it_allows(runner):
    runner.add("one", SLEEP, "max_concurrency: 1")
    calls = [runner.in_background("one", seconds=0.2) for _ in range(3)]
    seen = set()
    while any(thread.is_alive() for thread, _ in calls):
        seen.add(len(runner.store.search(Wanted(function="one", statuses=["running"]))[0]))
        time.sleep(0.01)
    assert max(seen) == 1
    assert [outcome[0].status for _, outcome in calls] == [Status.SUCCEEDED] * 3


def test_a_function_at_its_limit_does_not_hold_up_others(runner):
    runner.add("one", SLEEP, "max_concurrency: 1")
    runner.add("echo", ECHO)
    calls = [runner.in_background("one", **runner.until_woken()) for _ in range(2)]
    record = running(runner, "one")
    runner.invoke("echo")
    assert runner.store.get(record.id).status is Status.RUNNING
    runner.wake()
    for thread, _ in calls:
        thread.join()


def test_places_are_given_first_come_first_served(make_runner):
    runner = make_runner(max_concurrency=1)
    runner.add("sleep", SLEEP)
    calls = []
    for n in range(4):
        calls.append(runner.in_background("sleep", n=n, **(runner.until_woken() if n == 0 else {})))
        wait_until(lambda n=n: runner.pool.totals()["in_use"] + runner.pool.totals()["waiting"] == n + 1)
    runner.wake()
    for thread, _ in calls:
        thread.join()
    records, _ = runner.store.search(Wanted(function="sleep"))
    by_start = sorted(records, key=lambda record: record.started_at)
    assert [record.parameters["n"] for record in by_start] == [0, 1, 2, 3]


def test_beyond_the_queue_callers_are_sent_away_with_an_estimate(make_runner):
    runner = make_runner(max_concurrency=1, queue_limit=1)
    runner.add("sleep", SLEEP)
    calls = [runner.in_background("sleep", **runner.until_woken())]
    running(runner, "sleep")
    calls.append(runner.in_background("sleep"))
    wait_until(lambda: len(runner.store.search()[0]) == 2)
    with pytest.raises(Busy) as caught:
        runner.invoke("sleep", seconds=0)
    assert caught.value.retry_after >= 1
    assert len(runner.store.search()[0]) == 2  # who is sent away leaves no record
    runner.wake()
    for thread, _ in calls:
        thread.join()
    assert runner.invoke("sleep", seconds=0).status is Status.SUCCEEDED


def test_a_queue_of_none_still_runs_what_fits(make_runner):
    runner = make_runner(max_concurrency=1, queue_limit=0)
    runner.add("echo", ECHO)
    assert runner.invoke("echo").status is Status.SUCCEEDED


def test_waiting_too_long_ends_cancelled_and_undelivered(make_runner):
    runner = make_runner(max_concurrency=1, queue_timeout=0.2)
    runner.add("sleep", SLEEP)
    thread, _ = runner.in_background("sleep", **runner.until_woken())
    running(runner, "sleep")
    with pytest.raises(QueueTimeout) as caught:
        runner.invoke("sleep", seconds=0)
    record = runner.store.get(caught.value.members["invocation_id"])
    assert record.status is Status.CANCELLED
    assert record.container_name is None
    runner.wake()
    thread.join()


def test_draining_lets_the_running_finish_and_refuses_the_rest(make_runner):
    runner = make_runner(max_concurrency=1)
    runner.add("sleep", SLEEP)
    first, first_outcome = runner.in_background("sleep", **runner.until_woken())
    running(runner, "sleep")
    second, second_outcome = runner.in_background("sleep", seconds=0)
    wait_until(lambda: runner.pool.totals()["waiting"] == 1)
    with ThreadPoolExecutor() as others:
        drained = others.submit(runner.invoker.drain, 20)
        second.join()
        runner.wake()
        assert drained.result() is True
    first.join()
    assert first_outcome[0].status is Status.SUCCEEDED
    assert isinstance(second_outcome[0], Draining)
    assert runner.store.get(second_outcome[0].members["invocation_id"]).status is Status.CANCELLED
    with pytest.raises(Draining):
        runner.invoke("sleep", seconds=0)


def test_draining_kills_what_does_not_finish(runner):
    runner.add("sleep", SLEEP)
    thread, outcome = runner.in_background("sleep", seconds=60)
    running(runner, "sleep")
    assert runner.invoker.drain(0.2) is False
    thread.join()
    assert isinstance(outcome[0], Killed)


def test_places_are_given_back_however_it_ends(runner):
    runner.add("raises", "def handler(event, context):\n    raise ValueError\n")
    runner.add("unbuilt", ECHO, dockerfile="FROM fake\nRUN exit 1\n")
    for name in ("raises", "unbuilt", "raises"):
        with pytest.raises(RunnerError):
            runner.invoke(name)
    wait_until(lambda: runner.pool.totals()["in_use"] == 0)
    assert runner.pool.names() == set()
    assert runner.invoker.in_flight == 0


def test_what_a_result_says_about_mlflow_is_in_the_record(runner):
    runner.add(
        "train", "def handler(event, context):\n    return {'run_id': 'r1', 'model_version': 3, 'accuracy': 1}\n"
    )
    record = runner.store.get(runner.invoke("train").id)
    assert record.mlflow["run_id"] == "r1"
    assert record.mlflow["model_version"] == "3"


USES_A_MODEL = """
model: {name: model, version: version}
parameters:
  type: object
  properties: {model: {type: string, default: m}, version: {type: [string, integer], default: latest}}
"""


@pytest.mark.parametrize(
    ("asked", "kept"),
    [({}, "latest"), ({"version": "@champion"}, "@champion"), ({"version": 3}, "3"), ({"model": "other"}, None)],
)
def test_what_was_asked_of_a_model_is_in_the_record_beside_what_was_used(runner, asked, kept):
    runner.add(
        "ask", "def handler(event, context):\n    return {'model_name': 'm', 'model_version': '3'}\n", USES_A_MODEL
    )
    record = runner.store.get(runner.invoke("ask", **asked).id)
    assert record.mlflow["model_version"] == "3"
    assert record.mlflow.get("model_alias") == kept
    counted = [line for line in runner.metrics.render()[0].decode().splitlines() if "predictions_total{" in line]
    word = "number" if kept == "3" else kept
    expected = f'smlops_model_predictions_total{{asked="{word}",model="m",version="3"}} 1.0'
    assert counted == ([expected] if kept else [])


def test_the_functions_own_environment_reaches_the_container(runner):
    runner.add("sleep", SLEEP, "environment: {LEVEL: 3}")
    thread, _ = runner.in_background("sleep", **runner.until_woken())
    running(runner, "sleep")
    (container,) = runner.engine._containers.values()
    assert "LEVEL=3" in container.spec.config["Env"]
    runner.wake()
    thread.join()


def test_a_long_message_and_a_deep_trace_arrive_cut(runner):
    runner.add("deep", "def handler(event, context):\n    raise ValueError('x' * 100_000)\n")
    error, record = failing(runner, "deep", HandlerError)
    assert len(error.detail) < 1000
    assert len(record.error["message"]) < 1000
    assert len(error.members["function_error"]["message"]) == 10_000


def test_a_result_that_the_runtime_client_cannot_write_is_an_invalid_result(runner):
    # awslambdaric reports it as an error of this type
    runner.add(
        "unwritable",
        "def handler(event, context):\n    raise type('Runtime.MarshalError', (Exception,), {})('Unable to marshal')\n",
    )
    error, _ = failing(runner, "unwritable", InvalidResult)
    assert "Unable to marshal" in error.detail


@pytest.fixture
def stuck(runner, monkeypatch):
    """A runner to which the engine delivers only the beginning of what a container prints."""
    monkeypatch.setattr("function_runner.execution_environment.DRAIN_OUTPUT_SECONDS", 0.3)
    attach, is_over = runner.engine.attach, threading.Event()

    def only_the_beginning(output):
        yield next(output)
        is_over.wait(20)
        yield from output

    monkeypatch.setattr(runner.engine, "attach", lambda container_id: only_the_beginning(attach(container_id)))
    runner.add("say", "print('loading')\ndef handler(event, context):\n    print('one')\n    print('two')\n")
    yield runner
    is_over.set()


def test_output_that_is_not_delivered_is_taken_from_the_engines_copy(stuck):
    record = stuck.settled(stuck.invoke("say").id)
    assert record.log_state is LogState.COMPLETE
    lines = stuck.log(record).splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["loading", "START", "one", "two", "END", "REPORT"]


@pytest.mark.parametrize("kept", [b"", b"other\n", None])
def test_output_that_is_nowhere_is_missing(stuck, monkeypatch, kept):
    def output(_container_id):
        if kept is None:
            raise EngineUnavailable
        return kept

    monkeypatch.setattr(stuck.engine, "output", output)
    record = stuck.settled(stuck.invoke("say").id)
    assert record.log_state is LogState.PARTIAL
    lines = stuck.log(record).splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["loading", "START", "[the", "END", "REPORT"]
    assert "the end of the output is missing" in lines[2]


def test_while_the_log_is_being_written_the_record_says_so(runner):
    runner.add("sleep", SLEEP)
    thread, _ = runner.in_background("sleep", **runner.until_woken())
    assert running(runner, "sleep").log_state is LogState.OPEN
    runner.wake()
    thread.join()


def test_callers_of_one_failed_build_get_errors_of_their_own(make_runner):
    runner = make_runner(max_concurrency=8)
    runner.add("unbuilt", ECHO, dockerfile="FROM fake\nRUN exit 1\n")
    runner.engine.faults.build_seconds = 0.3
    calls = [runner.in_background("unbuilt") for _ in range(8)]
    for thread, _ in calls:
        thread.join()
    errors = [outcome[0] for _, outcome in calls]
    assert len({error.members["container_name"] for error in errors}) == 8
    assert len({error.members["invocation_id"] for error in errors}) == 8
    assert len(runner.engine.builds) == 1


def test_draining_releases_who_waits_for_a_build_and_starts_nothing_more(runner):
    runner.add("echo", ECHO)
    runner.engine.faults.may_build.clear()
    thread, outcome = runner.in_background("echo")
    wait_until(lambda: runner.engine.builds)
    assert runner.invoker.drain(0.1) is False
    thread.join()
    assert isinstance(outcome[0], Draining)
    assert runner.store.get(outcome[0].members["invocation_id"]).status is Status.CANCELLED
    runner.engine.faults.may_build.set()
    wait_until(runner.engine.images)
    runner.pool._builders.shutdown()  # whose work is to start what was waited for
    runner.pool.close()
    assert "create" not in runner.engine.calls


def test_draining_kills_a_container_that_is_just_being_made(runner):
    runner.add("sleep", SLEEP)
    runner.engine.faults.start_seconds = 0.6
    thread, outcome = runner.in_background("sleep", seconds=60)
    wait_until(runner.engine.containers)
    before = time.monotonic()
    assert runner.invoker.drain(0.1) is False
    thread.join()
    assert time.monotonic() - before < 30
    assert isinstance(outcome[0], RunnerError)
    wait_until(lambda: not runner.engine.containers())


def test_a_result_waits_for_a_database_that_is_away(runner, monkeypatch):
    runner.add("echo", ECHO)
    finish, failures = runner.store.finish, iter([StoreUnavailable(), StoreUnavailable()])

    def flaky(*arguments, **outcome):
        for failure in failures:
            raise failure
        return finish(*arguments, **outcome)

    monkeypatch.setattr(runner.store, "finish", flaky)
    assert runner.invoke("echo", a=1).status is Status.SUCCEEDED
    assert runner.latest().result["event"] == {"a": 1}


@pytest.fixture
def away(runner, monkeypatch):
    """While this is open, the database takes no end of any invocation, and nobody waits for long."""
    monkeypatch.setattr("function_runner.invoker.invoker.RECORD_SECONDS", 0)

    def refuse(*_, **__):
        raise StoreUnavailable("The database is away.")

    @contextmanager
    def away():
        with monkeypatch.context() as patch:
            patch.setattr(runner.store, "finish", refuse)
            yield

    return away


def unrecorded(runner, away, **parameters):
    """The id of an invocation whose result the database did not take, and what its caller was told."""
    runner.add("echo", ECHO)
    with away(), pytest.raises(StoreUnavailable) as caught:
        runner.invoke("echo", **parameters)
    invocation_id = caught.value.members["invocation_id"]
    assert runner.store.get(invocation_id).status is Status.RUNNING
    return invocation_id, caught.value.detail


class TestSpool:
    """A result that the database does not take waits on disk."""

    @pytest.fixture(autouse=True)
    def the_dead_do_not_linger(self, monkeypatch):
        monkeypatch.setattr("function_runner.store.database.PERSISTENCE_SECONDS", 0.3)

    def test_it_is_recorded_when_the_database_is_back(self, runner, away):
        invocation_id, detail = unrecorded(runner, away, a=1)
        assert "it is kept" in detail
        assert "The database is away." in detail
        runner.reaper.reconcile()
        record = runner.settled(invocation_id)
        assert (record.status, record.result["event"]) == (Status.SUCCEEDED, {"a": 1})
        assert record.timings.run_ms is not None
        assert record.finished_at >= record.started_at
        assert record.log_state is LogState.COMPLETE
        assert "Status: succeeded" in runner.log(record)
        assert runner.spool.ids() == []

    def test_while_it_is_away_nothing_is_decided(self, runner, away):
        invocation_id, _ = unrecorded(runner, away)
        with away():
            runner.reaper.reconcile()
        assert runner.store.get(invocation_id).status is Status.RUNNING
        assert runner.spool.ids() == [invocation_id]

    def test_it_survives_the_runner(self, runner, away):
        invocation_id, _ = unrecorded(runner, away, a=1)
        runner = runner.crash()
        runner.reaper.adopt_running()
        runner.reaper.reconcile()
        runner.reaper.finish_logs()
        record = runner.store.get(invocation_id)
        assert (record.status, record.result["event"], record.delivered) == (Status.SUCCEEDED, {"a": 1}, 1)
        assert record.log_state is not None

    def test_also_when_the_runner_dies_while_it_waits_for_the_database(self, runner, monkeypatch):
        runner.add("echo", ECHO)
        is_asked = threading.Event()

        def wait(*_, **__):
            is_asked.set()
            if runner.life.is_over:
                raise LookupError("The process is gone.")
            raise StoreUnavailable

        monkeypatch.setattr(runner.store, "finish", wait)
        invocation_id = runner.invoker.invoke(Request("echo", {}), patience=0).id
        wait_until(runner.spool.ids)
        after = runner.crash()
        after.reaper.adopt_running()
        assert after.store.get(invocation_id).status is Status.SUCCEEDED
        wait_until(lambda: not runner.invoker.in_flight)

    def test_what_it_says_of_mlflow_and_null_is_kept(self, runner, away):
        runner.add(
            "made", "def handler(event, context):\n    return {'run_id': 'r1', 'model_name': 'm', 'model_version': 3}\n"
        )
        runner.add("nothing", "def handler(event, context):\n    return None\n")
        ids = []
        for name in ("made", "nothing"):
            with away(), pytest.raises(StoreUnavailable) as caught:
                runner.invoke(name)
            ids.append(caught.value.members["invocation_id"])
        runner.reaper.reconcile()
        made, nothing = map(runner.store.get, ids)
        assert made.mlflow == {"run_id": "r1", "model_name": "m", "model_version": "3"}
        assert (nothing.status, nothing.result) == (Status.SUCCEEDED, None)

    @pytest.mark.parametrize("refuses", ["read", "ids"])
    def test_one_that_the_disk_does_not_give_is_waited_for(self, runner, away, monkeypatch, refuses):
        invocation_id, _ = unrecorded(runner, away)

        def broken(*_):
            raise NotReadable("Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(runner.spool, refuses, broken)
            runner.reaper.reconcile()
            with pytest.raises(StoreUnavailable, match="has a result, or may have one"):
                runner.invoker.cancel(invocation_id)
            assert runner.store.get(invocation_id).status is Status.RUNNING
        runner.reaper.reconcile()
        assert runner.store.get(invocation_id).status is Status.SUCCEEDED

    def test_others_go_on_while_the_disk_does_not_tell_which_have_one(self, runner, monkeypatch):
        runner.add("sleep", SLEEP)
        invocation_id = runner.invoker.invoke(Request("sleep", runner.until_woken()), patience=0).id
        wait_until(lambda: runner.store.get(invocation_id).status is Status.RUNNING)
        runner = runner.crash()

        def broken():
            raise NotReadable("Input/output error")

        monkeypatch.setattr(runner.spool, "ids", broken)
        runner.reaper.adopt_running()
        runner.reaper.start()
        runner.wake()
        wait_until(lambda: runner.store.get(invocation_id).status is Status.SUCCEEDED)
        runner.reaper.stop()

    def test_one_that_ended_otherwise_meanwhile_stays_so(self, runner, away):
        invocation_id, _ = unrecorded(runner, away)
        runner.store.finish(invocation_id, status=Status.LOST, finished_at=utc_now(), timings=Timings())
        runner.reaper.reconcile()
        assert runner.store.get(invocation_id).status is Status.LOST
        assert runner.spool.ids() == []

    def test_it_cannot_be_cancelled_any_more(self, runner, away):
        invocation_id, _ = unrecorded(runner, away)
        with pytest.raises(AlreadyEnded, match="it succeeded"):
            runner.invoker.cancel(invocation_id)

    def test_one_that_gives_up_while_the_reaper_looks_is_not_lost(self, runner, away, monkeypatch):
        """It is still under way when the kept results are looked through, or has its file by then."""
        invocation_id, _ = unrecorded(runner, away)
        claimed, is_under_way = runner.store.claimed, []
        real = runner.invoker.is_under_way
        monkeypatch.setattr(runner.invoker, "is_under_way", lambda one: bool(is_under_way) or real(one))
        is_under_way.append(True)

        def look():
            is_under_way.clear()
            return claimed()

        monkeypatch.setattr(runner.store, "claimed", look)
        runner.reaper.reconcile()
        assert runner.store.get(invocation_id).status is Status.SUCCEEDED

    def test_one_that_is_never_taken_does_not_keep_others_from_it(self, runner, away, monkeypatch):
        first, _ = unrecorded(runner, away)
        second, _ = unrecorded(runner, away)
        real = runner.store.finish

        def refuse_first(invocation_id, **outcome):
            if invocation_id == first:
                raise StoreUnavailable("It does not fit.")
            return real(invocation_id, **outcome)

        monkeypatch.setattr(runner.store, "finish", refuse_first)
        runner.reaper.reconcile()
        assert runner.store.get(second).status is Status.SUCCEEDED
        assert runner.store.get(first).status is Status.RUNNING

    def test_without_room_for_it_the_outcome_is_not_known(self, runner, away, monkeypatch):
        def full(_):
            raise NotKept("no space left")

        monkeypatch.setattr(runner.spool, "keep", full)
        invocation_id, detail = unrecorded(runner, away)
        assert "it may be lost" in detail
        runner.reaper.reconcile()
        assert runner.store.get(invocation_id).status is Status.LOST


def test_what_cannot_name_anything_in_mlflow_is_no_fact_of_it(runner):
    runner.add("made", "def handler(event, context):\n    return event\n")
    result = {"run_id": "r" * 1001, "model_name": ["m"], "model_version": True, "experiment_id": 0, "model_uri": ""}
    record = runner.settled(runner.invoke("made", **result).id)
    assert record.result == result
    assert record.mlflow == {"experiment_id": "0", "model_uri": ""}


def test_an_engine_that_goes_away_while_it_runs_leaves_the_outcome_unknown(runner):
    runner.add("sleep", SLEEP)
    thread, outcome = runner.in_background("sleep", seconds=60)
    name = running(runner, "sleep").container_name
    runner.engine.faults.is_away = True
    runner.engine.kill_from_outside(name)
    thread.join()
    assert isinstance(outcome[0], Lost)
    assert runner.store.get(outcome[0].members["invocation_id"]).status is Status.LOST


def test_the_exit_code_of_a_process_that_ended_by_itself_is_a_fact(runner):
    runner.add("early", "raise SystemExit(4)\n")
    _, record = failing(runner, "early", ExitedWithoutResult)
    assert record.exit_code == 4
    runner.add("fine", ECHO)
    assert runner.settled(runner.invoke("fine").id).exit_code is None  # it was ended by us


def test_a_container_that_cannot_be_started_is_the_functions_fault(runner):
    runner.add("echo", ECHO)
    runner.engine.faults.start_refused = "exec: no such file or directory"
    error, record = failing(runner, "echo", InitError)
    assert "no such file" in error.detail
    assert record.status is Status.FAILED


def test_without_a_log_nothing_is_started(runner):
    runner.add("echo", ECHO)
    runner.settings.logs_dir.chmod(0o755)
    shutil.rmtree(runner.settings.logs_dir)
    with pytest.raises(LogsUnavailable) as caught:
        runner.invoke("echo")
    assert caught.value.retry_after
    record = runner.latest()
    assert (record.status, record.container_name) == (Status.FAILED, None)
    assert "create" not in runner.engine.calls


def test_an_image_that_exists_does_not_wait_behind_builds(make_runner):
    runner = make_runner(max_concurrency=8)
    runner.add("echo", ECHO)
    runner.invoke("echo")
    runner.images._known.clear()  # as after a restart
    runner.engine.faults.may_build.clear()
    for name in ("one", "two"):
        runner.add(name, ECHO)
    calls = [runner.in_background(name) for name in ("one", "two")]
    wait_until(lambda: len(runner.engine.builds) == 3)
    runner.invoke("echo")
    assert all(thread.is_alive() for thread, _ in calls)
    runner.engine.faults.may_build.set()
    for thread, _ in calls:
        thread.join()


def test_a_failed_invocation_is_not_kept_alive_by_its_own_error(runner):
    runner.add("raises", "def handler(event, context):\n    raise ValueError\n")
    with pytest.raises(HandlerError) as caught:
        runner.invoke("raises")
    assert caught.value.__cause__ is not caught.value


def test_a_served_container_is_left_waiting_until_it_is_ended(runner):
    # Told anything else, a real runtime client would complain in the function's log and exit by itself.
    runner.add("echo", ECHO)
    record = runner.settled(runner.invoke("echo").id)
    assert len(runner.log(record).splitlines()) == 4
    assert record.exit_code is None


# --- progress ---------------------------------------------------------------------------------------------------------

STEPS = f"""
{SLEEP.replace("def handler", "def sleep")}
import json
def handler(event, context):
    for done in range(1, 4):
        print(json.dumps({{"progress": {{"done": done, "total": 3, "message": f"step {{done}}"}}}}))
    sleep(event, context)
"""


def test_what_a_function_says_of_its_progress_is_recorded(runner):
    runner.add("steps", STEPS)
    record = runner.settled(runner.invoke("steps").id)
    assert (record.progress.done, record.progress.total, record.progress.message) == (3, 3, "step 3")
    assert record.started_at <= record.progress.at
    assert runner.log(record).count('{"progress": ') == 3


def test_progress_is_known_while_it_runs(runner):
    runner.add("steps", STEPS)
    thread, _ = runner.in_background("steps", **runner.until_woken())
    record = running(runner, "steps")
    wait_until(lambda: (said := runner.pool.progress(record.id)) and said.done == 3)
    assert wait_until(lambda: runner.store.get(record.id).progress).done >= 1  # and reaches the disk soon
    runner.wake()
    thread.join()
    assert runner.settled(record.id).progress.done == 3
    assert runner.pool.progress(record.id) is None


def test_no_progress_is_none(runner):
    runner.add("echo", ECHO)
    assert runner.settled(runner.invoke("echo").id).progress is None


def test_progress_before_the_invocation_is_nobodys(runner):
    runner.add("early", 'print(\'{"progress": {"done": 1}}\')\ndef handler(event, context):\n    return 1\n')
    assert runner.settled(runner.invoke("early").id).progress is None


def test_progress_in_a_reused_container_is_of_the_one_that_runs(runner):
    runner.add(
        "some",
        "def handler(event, context):\n    if event.get('says'):\n        print('{\"progress\": {\"done\": 1}}')\n",
        "invocations_per_container: 3\nwarm: 1\n",
    )
    wait_until(lambda: runner.pool.statistics("some").ready == 1)
    records = []
    for says in (True, False, True):
        records.append(runner.invoke("some", says=says))
        if says:  # the last output may arrive after the answer
            wait_until(lambda: runner.store.get(records[-1].id).progress)
        wait_until(lambda: runner.pool.statistics("some").ready == 1)
    assert len({record.container_name for record in records}) == 1
    wait_until(lambda: all(runner.store.get(record.id).log_state == LogState.COMPLETE for record in records))
    assert [runner.store.get(record.id).progress is not None for record in records] == [True, False, True]


def test_many_lines_of_progress_are_few_writes(runner, monkeypatch):
    # So long that it does not matter how long the printing takes.
    monkeypatch.setattr("function_runner.execution_environment.PROGRESS_SECONDS", 10.0)
    noted = []
    real = runner.store.note_facts
    monkeypatch.setattr(runner.store, "note_facts", lambda *ids, **facts: (noted.append(facts), real(*ids, **facts))[1])
    runner.add(
        "busy",
        'def handler(event, context):\n    for n in range(2000):\n        print(\'{"progress": {"done": %d}}\' % n)\n',
    )
    record = runner.settled(runner.invoke("busy").id)
    assert record.progress.done == 1999
    assert len([facts for facts in noted if facts.get("progress")]) <= 4


def test_without_room_on_the_disk_nothing_is_started(runner, monkeypatch):
    runner.add("echo", ECHO)

    def full():
        raise DiskFull

    monkeypatch.setattr(runner.store, "require_room", full)
    with pytest.raises(DiskFull):
        runner.invoke("echo")
    assert runner.engine.calls == []
    assert runner.store.search()[0] == []


def test_a_full_disk_of_logs_costs_output_and_no_invocation(runner, monkeypatch):
    runner.add("loud", "def handler(event, context):\n    print('x' * 100_000)\n    return 'done'\n")
    real, room = os.write, 50_000

    def write(descriptor, data):
        nonlocal room
        if len(data) > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room -= len(data)
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    for _ in range(2):
        record = runner.settled(runner.invoke("loud").id)
        assert (record.status, record.result) == (Status.SUCCEEDED, "done")
        assert record.log_state is LogState.PARTIAL
