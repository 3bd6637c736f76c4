"""The pool on the fake engine: what is kept ready, who gets it, and what becomes of what nobody can use."""

import threading
import time
from collections import Counter
from itertools import pairwise

import pytest

from function_runner.errors import Busy, HandlerError, InitError, QueueTimeout, RunnerError, StoreUnavailable, TimedOut
from function_runner.execution_environment import EnvironmentState
from function_runner.invocation import Request, Start, Status
from function_runner.store import Wanted
from support.handlers import SLEEP
from support.waiting import wait_until

COUNT = "n = 0\ndef handler(event, context):\n    global n\n    n += 1\n    return n\n"
MODEL = """
warm: 1
model: {name: name, version: version}
parameters:
  properties:
    name: {type: string, default: iris}
    version: {type: string, default: latest}
"""


def model(latest, *, created_at="2026-01-31T12:34:56.789Z", **aliases):
    """What MLflow says about a model."""
    return {"latest_version": latest, "aliases": aliases, "created_at": created_at}


@pytest.fixture(autouse=True)
def sources_are_settled(monkeypatch):
    """Nobody is still saving the files."""
    monkeypatch.setattr("function_runner.pool.shelf.SOURCE_SETTLE_SECONDS", 0)


@pytest.fixture
def quiet(make_runner, monkeypatch):
    """Makes a runner whose pool does nothing by itself but when `Pool.look` asks for it."""
    monkeypatch.setattr("function_runner.pool.pool.KEEPER_SECONDS", 3600)
    return lambda **options: make_runner(init_timeout=20, default_timeout=20, max_concurrency=4, **options)


def ready(runner, name, number=1):
    """Wait until so many environments are ready and nothing is being made, and return them."""

    def found():
        shelf = runner.pool._planner.shelves.get(name)
        return shelf is not None and len(shelf.ready) == number and not shelf.starting and list(shelf.ready)

    return wait_until(found, what=f"{number} environments of {name} are ready", every=0.01)


def join(calls):
    for thread, _ in calls:
        thread.join()
    return [outcome[0] for _, outcome in calls]


class TestWarm:
    def test_it_works(self, runner):
        runner.add("count", COUNT, "warm: 1")
        (environment,) = ready(runner, "count")
        record = runner.invoke("count")
        assert record.start is Start.WARM
        assert record.container_name == environment.name
        timings = record.timings
        assert (timings.build_ms, timings.create_ms, timings.start_ms, timings.init_ms) == (0, 0, 0, 0)
        parts = (timings.queue_ms, timings.record_ms, timings.run_ms, timings.result_ms)
        assert sum(parts) == pytest.approx(timings.total_ms, abs=1)
        stored = runner.store.get(record.id)
        assert (stored.status, stored.start, stored.timings) == (record.status, record.start, record.timings)

    def test_every_invocation_has_a_container_that_nobody_used_before(self, runner):
        runner.add("count", COUNT, "warm: 2")
        records = []
        for _ in range(6):
            ready(runner, "count", 2)
            records.append(runner.invoke("count"))
        assert [record.result for record in records] == [1] * 6
        assert [record.start for record in records] == [Start.WARM] * 6
        assert len({record.container_name for record in records}) == 6

    def test_no_call_to_the_engine_is_on_its_path(self, runner, monkeypatch):
        runner.add("count", COUNT, "warm: 1")
        ready(runner, "count")
        callers, called = [], runner.engine._called

        def note(name):
            callers.append(threading.current_thread())
            called(name)

        monkeypatch.setattr(runner.engine, "_called", note)
        thread, outcome = runner.in_background("count")
        thread.join()
        assert outcome[0].start is Start.WARM  # so that it has waited for nobody else
        assert thread not in callers

    def test_nothing_is_kept_of_a_function_that_does_not_ask_for_it(self, runner):
        runner.add("count", COUNT)
        assert runner.invoke("count").start is Start.COLD
        wait_until(lambda: not runner.engine.containers())
        assert runner.pool.statistics("count").state == "off"

    def test_when_none_is_ready_it_waits_for_the_next_one(self, runner):
        runner.add("count", COUNT, "warm: 1")
        ready(runner, "count")
        runner.engine.faults.start_seconds = 1
        assert [runner.invoke("count").start for _ in range(2)] == [Start.WARM, Start.COLD]

    def test_a_cold_start_says_where_the_time_went(self, runner):
        runner.add("count", "import time\ntime.sleep(0.1)\n" + COUNT)
        runner.engine.faults.build_seconds, runner.engine.faults.start_seconds = 0.3, 0.2
        timings = runner.invoke("count").timings
        assert timings.build_ms >= 300
        assert timings.start_ms >= 200
        assert timings.init_ms >= 90
        parts = (timings.queue_ms, timings.build_ms, timings.create_ms, timings.start_ms, timings.init_ms)
        assert sum(parts) + timings.record_ms + timings.run_ms + timings.result_ms == pytest.approx(
            timings.total_ms, abs=50
        )

    def test_it_yields_the_processor_until_it_is_ready(self, runner):
        runner.add("count", COUNT, "warm: 1")
        runner.engine.faults.may_start.clear()
        container = wait_until(lambda: next(iter(runner.engine._containers.values()), None))
        assert container.spec.config["HostConfig"]["CpuShares"] < 1024
        assert container.spec.config["Labels"]["smlops.role"] == "pool"
        runner.engine.faults.may_start.set()
        ready(runner, "count")
        wait_until(lambda: container.spec.config["HostConfig"]["CpuShares"] == 1024)

    def test_one_that_was_never_used_leaves_no_log(self, runner):
        runner.add("count", "print('loading')\n" + COUNT, "warm: 1")
        (environment,) = ready(runner, "count")
        assert list(runner.settings.logs_dir.glob("*.log")) == []
        record = runner.settled_beside_the_pool(runner.invoke("count").id)
        assert runner.log(record).startswith("loading\nSTART RequestId: ")
        ready(runner, "count")
        runner.pool.close()
        assert [path.stem for path in runner.settings.logs_dir.rglob("*.log") if "builds" not in path.parts] == [
            environment.name
        ]

    def test_closing_leaves_no_container(self, runner):
        runner.add("count", COUNT, "warm: 3")
        ready(runner, "count", 3)
        runner.pool.close()
        assert runner.engine.containers() == []


class TestOrder:
    def test_a_burst_is_served_first_come_first_served(self, make_runner, monkeypatch):
        runner = make_runner(max_concurrency=4, queue_limit=100)
        runner.add("sleep", SLEEP, "warm: 4")
        ready(runner, "sleep", 4)
        runner.engine.faults.start_seconds = 0.02
        served, note = [], runner.pool._planner._note_end_of_wait
        # In the record, neighbours may have changed places: their threads are on their way to it at the same time.
        monkeypatch.setattr(
            runner.pool._planner, "_note_end_of_wait", lambda place: (served.append(place.invocation_id), note(place))
        )
        calls = []
        for n in range(20):
            calls.append(runner.in_background("sleep", n=n, seconds=0.02))
            wait_until(
                lambda n=n: len(runner.store.search(Wanted(function="sleep"), limit=100)[0]) == n + 1, every=0.002
            )
        records = join(calls)
        assert Counter(record.status for record in records) == {Status.SUCCEEDED: 20}
        assert len({record.container_name for record in records}) == 20
        assert served == [record.id for record in records]

    def test_one_that_gave_up_loses_nothing(self, make_runner):
        runner = make_runner(max_concurrency=1, queue_timeout=0.3)
        runner.add("sleep", SLEEP, "warm: 1")
        ready(runner, "sleep")
        first = runner.in_background("sleep", **runner.until_woken())
        wait_until(lambda: runner.pool.totals()["in_use"] == 1)
        ready(runner, "sleep")
        with pytest.raises(QueueTimeout):
            runner.invoke("sleep")
        runner.wake()
        join([first])
        assert runner.invoke("sleep").start is Start.WARM

    def test_the_position_in_the_queue_is_known(self, make_runner):
        runner = make_runner(max_concurrency=1)
        runner.add("sleep", SLEEP)
        calls = [runner.in_background("sleep", **runner.until_woken())]
        wait_until(lambda: runner.store.search(Wanted(statuses=["running"]))[0])
        for number in (1, 2):
            calls.append(runner.in_background("sleep"))
            wait_until(lambda number=number: runner.pool.totals()["waiting"] == number)
        waiting = sorted(runner.store.search(Wanted(statuses=["queued"]))[0], key=lambda record: record.sequence)
        assert [runner.pool.position(record.id) for record in waiting] == [1, 2]
        runner.wake()
        join(calls)
        assert runner.pool.position(waiting[0].id) is None

    def test_long_ones_leave_a_place_to_short_ones(self, make_runner):
        runner = make_runner(max_concurrency=2, max_timeout=900)
        runner.add("train", SLEEP, "timeout: 300")
        runner.add("predict", COUNT)
        calls = [runner.in_background("train", **runner.until_woken()) for _ in range(3)]
        wait_until(lambda: runner.store.search(Wanted(function="train", statuses=["running"]))[0])
        runner.invoke("predict")
        assert len(runner.store.search(Wanted(function="train", statuses=["running"]))[0]) == 1
        runner.wake()
        assert {record.status for record in join(calls)} == {Status.SUCCEEDED}

    def test_a_full_queue_tells_how_long_it_may_take(self, make_runner):
        runner = make_runner(max_concurrency=1, queue_limit=2)
        runner.add("sleep", SLEEP)
        runner.invoke("sleep", seconds=1)  # from this the wait is estimated
        calls = [runner.in_background("sleep", **runner.until_woken())]
        wait_until(lambda: runner.store.search(Wanted(statuses=["running"]))[0])
        for number in range(2):
            calls.append(runner.in_background("sleep"))
            wait_until(lambda number=number: len(runner.store.search()[0]) == number + 3)
        with pytest.raises(Busy) as caught:
            runner.invoke("sleep")
        assert 2 <= caught.value.retry_after <= 8
        runner.wake()
        join(calls)

    def test_an_environment_that_was_not_used_after_all_goes_back(self, runner, monkeypatch):
        runner.add("count", COUNT, "warm: 1")
        (environment,) = ready(runner, "count")

        def away(*_, **__):
            raise StoreUnavailable

        with monkeypatch.context() as patch:
            patch.setattr(runner.store, "start", away)
            with pytest.raises(StoreUnavailable):
                runner.invoke("count")
        assert ready(runner, "count") == [environment]
        assert runner.invoke("count").container_name == environment.name
        wait_until(lambda: runner.pool.totals()["in_use"] == 0)


class TestRetiring:
    def test_an_edited_function_never_runs_old_code(self, runner):
        runner.add("echo", "def handler(event, context):\n    return 'old'\n", "warm: 2")
        old = ready(runner, "echo", 2)
        runner.add("echo", "def handler(event, context):\n    return 'new'\n", "warm: 2")
        assert runner.invoke("echo").result == "new"
        wait_until(lambda: not {env.name for env in old} & {one.name for one in runner.engine.containers()})
        assert {env.function.source_hash for env in ready(runner, "echo", 2)} != {old[0].function.source_hash}

    def test_one_that_is_edited_while_it_is_built_is_built_again(self, runner):
        runner.add("echo", "def handler(event, context):\n    return 'old'\n")
        runner.engine.faults.may_build.clear()
        call = runner.in_background("echo")
        wait_until(lambda: runner.engine.builds, every=0.01)
        runner.add("echo", "def handler(event, context):\n    return 'new'\n")
        runner.engine.faults.may_build.set()
        assert join([call])[0].result == "new"

    def test_one_that_is_saved_file_by_file_and_called_at_once_is_never_half_seen(self, make_runner, monkeypatch):
        monkeypatch.setattr("function_runner.pool.pool.KEEPER_SECONDS", 0.001)  # looks all the time
        runner = make_runner(max_concurrency=4)
        for number in range(30):
            runner.add(f"saved-{number % 3}", f"def handler(event, context):\n    return {number}\n", "timeout: 5")
            assert runner.invoke(f"saved-{number % 3}").result == number

    def test_it_is_noticed_without_a_call(self, runner):
        runner.add("echo", COUNT, "warm: 1")
        (old,) = ready(runner, "echo")
        runner.add("echo", COUNT + "# edited\n", "warm: 1")
        wait_until(lambda: ready(runner, "echo")[0].function.source_hash != old.function.source_hash)

    def test_a_function_that_is_gone_keeps_nothing(self, runner):
        folder = runner.add("echo", COUNT, "warm: 1")
        ready(runner, "echo")
        folder.rename(runner.settings.functions_dir / ".trash")
        wait_until(lambda: not runner.engine.containers())

    def test_one_that_is_removed_while_containers_are_made_is_not_made_for_ever(self, runner):
        folder = runner.add("echo", COUNT, "{warm: 3, warm_max: 3}")
        runner.engine.faults.start_seconds = 0.4
        wait_until(runner.engine.containers, every=0.01)
        folder.rename(runner.settings.functions_dir / ".trash")
        wait_until(lambda: "echo" not in runner.pool._planner.shelves and not runner.engine.containers())
        made = runner.engine.calls.count("create")
        time.sleep(2.5)
        assert runner.engine.calls.count("create") == made
        (runner.settings.functions_dir / ".trash").rename(folder)
        ready(runner, "echo", 3)

    def test_one_that_the_pool_has_not_seen_yet_says_what_it_will_keep(self, runner):
        runner.add("echo", COUNT, "warm: 2")
        assert runner.pool.statistics("echo").target == 2
        assert runner.pool.statistics("echo").state == "ok"
        assert runner.pool.statistics("nobody").state == "off"

    def test_an_old_one_is_replaced(self, runner):
        runner.add("echo", COUNT, "{warm: 1, warm_max_age: 0.5}")
        (old,) = ready(runner, "echo")
        wait_until(lambda: ready(runner, "echo")[0] is not old)
        wait_until(lambda: old.name not in {container.name for container in runner.engine.containers()})

    def test_one_that_dies_while_it_waits_is_replaced(self, runner):
        runner.add("echo", COUNT, "warm: 1")
        (old,) = ready(runner, "echo")
        runner.engine.kill_from_outside(old.name)
        wait_until(lambda: runner.pool.statistics("echo").ready == 0, every=0.005)
        record = runner.invoke("echo")
        assert record.status is Status.SUCCEEDED
        assert record.container_name != old.name
        assert ready(runner, "echo")[0] is not old

    def test_one_whose_image_was_removed_is_made_again(self, runner):
        runner.add("echo", COUNT, "warm: 1")
        (environment,) = ready(runner, "echo")
        runner.engine.remove_image_from_outside(environment.image.tag)
        runner.invoke("echo")
        assert ready(runner, "echo")[0].image.id != environment.image.id

    def test_when_calls_come_faster_more_are_kept_and_later_fewer(self, runner, monkeypatch):
        monkeypatch.setattr("function_runner.demand.FALL_SECONDS", 3)
        monkeypatch.setattr("function_runner.demand.RISE_SECONDS", 1)
        runner.add("echo", COUNT, "{warm: 1, warm_max: 5}")
        runner.engine.faults.start_seconds = 0.2
        ready(runner, "echo")
        calls = [runner.in_background("echo") for _ in range(20)]
        wait_until(lambda: runner.pool.statistics("echo").target > 1, every=0.01)
        join(calls)
        wait_until(lambda: runner.pool.statistics("echo").target == 1)
        ready(runner, "echo", 1)
        wait_until(lambda: len(runner.engine.containers()) == 1)


class TestBroken:
    BROKEN = "print('before')\nimport nonsense_that_is_not_there\n"

    def test_one_that_cannot_be_loaded_is_not_tried_in_a_loop(self, runner):
        runner.add("broken", self.BROKEN, "warm: 2")
        found = wait_until(lambda: (s := runner.pool.statistics("broken")).state == "broken" and s)
        assert "nonsense_that_is_not_there" in found.problem
        assert "before" in found.log_tail
        assert found.diagnosis["kind"] == "missing_module"
        assert "nonsense_that_is_not_there" in found.diagnosis["cause"]
        time.sleep(1)
        assert runner.engine.calls.count("create") <= 3
        assert list(runner.settings.logs_dir.glob("*.log")) == []

    def test_a_caller_is_told_and_not_kept_waiting(self, runner):
        runner.add("broken", self.BROKEN, "warm: 1")
        wait_until(lambda: runner.pool.statistics("broken").state == "broken")
        with pytest.raises(InitError) as caught:
            runner.invoke("broken")
        record = runner.settled(caught.value.members["invocation_id"])
        assert record.container_name == caught.value.members["container_name"]
        assert "before" in runner.log(record)

    def test_the_next_change_of_the_source_clears_it(self, runner):
        runner.add("broken", self.BROKEN, "warm: 1")
        wait_until(lambda: runner.pool.statistics("broken").state == "broken")
        runner.add("broken", COUNT, "warm: 1")
        assert runner.invoke("broken").status is Status.SUCCEEDED
        ready(runner, "broken")
        assert runner.pool.statistics("broken").state == "ok"

    def test_a_build_that_fails_is_told_as_well(self, runner):
        runner.add("unbuilt", COUNT, "warm: 1", dockerfile="FROM fake\nRUN exit 1\n")
        found = wait_until(lambda: (s := runner.pool.statistics("unbuilt")).state == "broken" and s)
        assert "non-zero code: 1" in found.problem
        assert len(runner.engine.builds) == 1

    def test_a_build_that_ends_as_nobody_expected_is_tried_again_when_the_source_changes(self, runner, monkeypatch):
        def breaks(*_arguments, **_options):
            raise ValueError("what nobody expected")

        with monkeypatch.context() as patch:
            patch.setattr(runner.engine, "build", breaks)
            runner.add("echo", COUNT, "warm: 1")
            with pytest.raises(RunnerError, match="could not be built"):
                runner.invoke("echo")
        runner.add("echo", COUNT + "# edited\n", "warm: 1")
        assert runner.invoke("echo").status is Status.SUCCEEDED

    def test_a_failed_build_ends_also_when_the_folder_cannot_be_read(self, runner, monkeypatch):
        runner.add("echo", COUNT)
        runner.engine.faults.build_error = "non-zero code: 1"

        def refuse(_name):
            raise PermissionError("functions")

        with monkeypatch.context() as patch:
            patch.setattr(runner.pool, "_turn_to_newest", refuse)
            with pytest.raises(RunnerError, match="could not be built"):
                runner.invoke("echo")
        runner.engine.faults.build_error = None
        runner.add("echo", COUNT + "# edited\n")
        assert runner.invoke("echo").status is Status.SUCCEEDED

    def test_one_that_dies_after_loading_is_not_replaced_in_a_loop(self, runner):
        code = "import threading, time\ndef handler(event, context):\n    return 1\n"
        runner.add("fading", code, "warm: 1")
        for _ in range(2):
            (environment,) = ready(runner, "fading")
            runner.engine.kill_from_outside(environment.name)
            wait_until(lambda: runner.pool.statistics("fading").ready == 0)
        assert runner.pool._planner.shelves["fading"].trouble.failures == 2


class TestMemory:
    def test_what_is_kept_ready_stays_within_its_budget(self, make_runner):
        runner = make_runner(pool_memory=300)
        runner.add("one", COUNT, "{warm: 2, memory: 100}")
        runner.add("two", COUNT, "{warm: 2, memory: 100}")
        wait_until(lambda: runner.pool.totals()["ready"] == 3)
        time.sleep(1.2)
        assert runner.pool.totals()["ready_memory_mb"] == 300
        states = {runner.pool.statistics(name).state for name in ("one", "two")}
        assert "no_memory" in states
        for name in ("one", "two"):
            assert runner.invoke(name).status is Status.SUCCEEDED

    def test_a_budget_too_small_for_one_keeps_none_and_calls_start_cold(self, make_runner):
        runner = make_runner(pool_memory=50)
        runner.add("one", COUNT, "{warm: 1, memory: 100}")
        found = wait_until(lambda: (s := runner.pool.statistics("one")).state == "no_memory" and s)
        assert "POOL_MEMORY (50 MB)" in found.problem
        assert runner.invoke("one").start is Start.COLD

    def test_who_waits_gets_the_room_of_those_that_only_are_ready(self, make_runner):
        runner = make_runner(functions_memory=300, pool_memory=300)
        runner.add("small", COUNT, "{warm: 3, memory: 100}")
        ready(runner, "small", 3)
        runner.add("large", COUNT, "memory: 200")
        assert runner.invoke("large").status is Status.SUCCEEDED
        ready(runner, "small", 3)
        retired = runner.pool._metrics.render()[0].decode()
        assert 'smlops_warm_pool_retired_total{function="small",reason="memory"} 2.0' in retired

    def test_what_does_not_fit_waits(self, make_runner):
        runner = make_runner(functions_memory=250, max_concurrency=4)
        runner.add("sleep", SLEEP, "memory: 100")
        calls = [runner.in_background("sleep", **runner.until_woken()) for _ in range(4)]
        wait_until(lambda: len(runner.store.search(Wanted(statuses=["running"]))[0]) == 2)
        wait_until(lambda: runner.pool.totals()["waiting"] == 2)
        time.sleep(0.3)  # as long as nothing ends, nothing more begins
        assert [container.state for container in runner.engine.containers()] == ["running"] * 2
        runner.wake()
        assert {record.status for record in join(calls)} == {Status.SUCCEEDED}

    def test_the_largest_function_runs_alone(self, make_runner):
        runner = make_runner(functions_memory=100)
        runner.add("large", COUNT, "memory: 500")
        assert runner.invoke("large").status is Status.SUCCEEDED


class TestReuse:
    MANIFEST = "{warm: 1, invocations_per_container: 3}"

    def test_it_works(self, runner):
        runner.add("count", COUNT, self.MANIFEST)
        ready(runner, "count")
        records = []
        for _ in range(4):
            records.append(runner.invoke("count"))
            wait_until(lambda: runner.pool.statistics("count").ready == 1)
        assert [record.result for record in records] == [1, 2, 3, 1]
        assert [record.start for record in records[:3]] == [Start.WARM, Start.REUSED, Start.REUSED]
        assert records[0].container_name == records[2].container_name != records[3].container_name

    def test_nothing_is_kept_for_others_once_the_pool_is_closed(self, runner):
        runner.add("sleep", SLEEP, self.MANIFEST)
        ready(runner, "sleep")
        record = runner.invoker.invoke(Request("sleep", runner.until_woken()), patience=0)
        wait_until(lambda: runner.store.get(record.id).status is Status.RUNNING)
        runner.pool.close()
        runner.wake()
        assert runner.invoker.wait(record.id, 60).status is Status.SUCCEEDED
        wait_until(lambda: not runner.engine.containers())

    def test_each_invocation_has_its_part_of_the_log(self, runner):
        runner.add("say", "def handler(event, context):\n    print(event['word'])\n", self.MANIFEST)
        ready(runner, "say")
        records = []
        for word in ("one", "two"):
            records.append(runner.invoke("say", word=word))
            wait_until(lambda: runner.pool.statistics("say").ready == 1)
        for record, word in zip(records, ("one", "two"), strict=True):
            is_reused = record.start is Start.REUSED
            content = runner.logs.read_part(record.container_name, record.id, is_reused=is_reused)
            part = content.decode().splitlines()
            assert part[0] == f"START RequestId: {record.id} Version: {record.source_hash[:12]}"
            assert part[1:3] == [word, f"END RequestId: {record.id}"]
            assert part[3].startswith(f"REPORT RequestId: {record.id}\t")
            wait_until(lambda record=record: runner.store.get(record.id).log_state == "complete")

    def test_a_line_that_ends_a_moment_after_the_result_is_not_cut(self, runner, monkeypatch):
        monkeypatch.setattr("function_runner.execution_environment.LINE_END_SECONDS", 5)
        runner.add(
            "say",
            "import threading\ndef handler(event, context):\n    print('ec', end='')\n"
            "    threading.Timer(0.1, print, ['ho']).start()\n",
            self.MANIFEST,
        )
        ready(runner, "say")
        record = runner.invoke("say")
        part = runner.logs.read_part(record.container_name, record.id).decode().splitlines()
        assert part[1:3] == ["echo", f"END RequestId: {record.id}"]

    def test_a_handler_that_raised_goes_on(self, runner):
        runner.add(
            "picky",
            "n = 0\ndef handler(event, context):\n    global n\n    n += 1\n    assert n != 1\n    return n\n",
            self.MANIFEST,
        )
        (environment,) = ready(runner, "picky")
        with pytest.raises(HandlerError):
            runner.invoke("picky")
        assert ready(runner, "picky") == [environment]
        assert runner.invoke("picky").result == 2

    def test_one_that_was_killed_does_not(self, runner):
        runner.add("sleep", SLEEP, self.MANIFEST)
        (environment,) = ready(runner, "sleep")
        with pytest.raises(TimedOut):
            runner.invoker.invoke(Request("sleep", {"seconds": 60}, timeout=0.1))
        assert runner.invoke("sleep").container_name != environment.name

    def stands_still(self, runner):
        """An environment that has served one invocation, is to serve more and does not ask for it."""
        runner.add("count", COUNT, self.MANIFEST)
        (environment,) = ready(runner, "count")
        runner.engine.hold_after_its_next_result(environment.name)
        runner.invoke("count")
        assert list(runner.pool._planner.between.values()) == [environment]
        return environment

    def test_one_that_ends_between_two_invocations_is_cleared_away(self, runner):
        environment = self.stands_still(runner)
        runner.engine.kill_from_outside(environment.name)
        wait_until(lambda: environment.name not in runner.pool.names())
        record = runner.invoke("count")
        assert (record.result, record.container_name != environment.name) == (1, True)

    def test_one_that_ends_while_it_is_given_back_is_cleared_away(self, runner, monkeypatch):
        runner.add("count", COUNT, self.MANIFEST)
        (environment,) = ready(runner, "count")
        release = environment.release

        def release_the_dead(*arguments):
            runner.engine.kill_from_outside(environment.name)
            wait_until(lambda: environment.state is EnvironmentState.GONE)
            return release(*arguments)

        monkeypatch.setattr(environment, "release", release_the_dead)
        runner.engine.hold_after_its_next_result(environment.name)
        assert runner.invoke("count").container_name == environment.name
        wait_until(lambda: environment.name not in runner.pool.names())

    def test_one_that_was_idle_for_long_is_not_silent_while_it_is_given_back(self, runner, monkeypatch):
        runner.add("count", COUNT, self.MANIFEST)
        (environment,) = ready(runner, "count")
        environment.idle_since -= 3600
        release = environment.release

        def release_while_the_keeper_looks(*arguments):
            assert [reason for _, reason in runner.pool._superfluous()] == []
            return release(*arguments)

        monkeypatch.setattr(environment, "release", release_while_the_keeper_looks)
        runner.invoke("count")
        assert ready(runner, "count") == [environment]

    @pytest.mark.parametrize("returned", ["float('nan')", "'x' * 10_000"])
    def test_one_whose_result_is_refused_is_not_used_again(self, make_runner, returned):
        runner = make_runner(result_max_bytes=5000)
        code = f"def handler(event, context):\n    return {returned} if event else 'good'\n"
        runner.add("picky", code, self.MANIFEST)
        (environment,) = ready(runner, "picky")
        with pytest.raises(RunnerError):
            runner.invoke("picky", bad=True)
        wait_until(lambda: environment.name not in runner.pool.names())
        assert runner.pool.statistics("picky").state == "ok"
        assert runner.invoke("picky").result == "good"

    def test_one_that_does_not_ask_for_more_is_given_up(self, runner, monkeypatch):
        environment = self.stands_still(runner)
        monkeypatch.setattr("function_runner.pool.pool.SILENCE_SECONDS", 0)
        runner.pool.look()
        wait_until(lambda: environment.name not in runner.pool.names())
        assert (
            'smlops_warm_pool_retired_total{function="count",reason="silent"} 1.0'
            in runner.metrics.render()[0].decode()
        )
        assert runner.invoke("count").container_name != environment.name

    def test_one_that_does_not_ask_for_more_does_not_outlive_the_pool(self, runner):
        self.stands_still(runner)
        runner.pool.close()
        assert (runner.pool.names(), runner.engine.containers()) == (set(), [])

    def test_one_at_a_time(self, make_runner):
        runner = make_runner(max_concurrency=4)
        runner.add("sleep", SLEEP, "{warm: 1, warm_max: 1, invocations_per_container: 100}")
        ready(runner, "sleep")
        records = join([runner.in_background("sleep", seconds=0.05) for _ in range(8)])
        assert len({record.container_name for record in records}) == 1
        spans = sorted((record.started_at, record.finished_at) for record in records)
        assert len(records) == 8
        assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))

    def test_without_warm_it_stays_for_a_while(self, runner):
        runner.add("count", COUNT, "{invocations_per_container: 100, max_idle: 1}")
        first = runner.invoke("count")
        wait_until(lambda: runner.pool.totals()["ready"] == 1, every=0.01)  # else the next may get one of its own
        second = runner.invoke("count")
        assert (first.start, second.start) == (Start.COLD, Start.REUSED)
        wait_until(lambda: not runner.engine.containers())

    def test_an_edited_function_ends_it(self, runner):
        for number in range(5):
            runner.add("count", COUNT + f"# edited {number}\n", self.MANIFEST)
            assert runner.invoke("count").result == 1  # the one that comes back just now is not used either


class TestModels:
    HANDLER = "def handler(event, context):\n    return context.client_context and context.client_context.custom\n"

    def variables(self, runner, environment):
        container = next(c for c in runner.engine._containers.values() if c.spec.name == environment.name)
        return dict(entry.split("=", 1) for entry in container.spec.config["Env"])

    def test_a_ready_one_is_told_what_to_load(self, make_runner, fake_tracking):
        fake_tracking.models["iris"] = model("3")
        runner = make_runner(tracking=fake_tracking)
        runner.add("predict", self.HANDLER, MODEL)
        (environment,) = ready(runner, "predict")
        told = self.variables(runner, environment)
        assert (told["SMLOPS_MODEL_NAME"], told["SMLOPS_MODEL_VERSION"]) == ("iris", "3")

    def test_an_invocation_is_told_which_version_is_meant(self, make_runner, fake_tracking):
        fake_tracking.models["iris"] = model("3", champion="2")
        runner = make_runner(tracking=fake_tracking)
        runner.add("predict", self.HANDLER, MODEL)
        ready(runner, "predict")
        assert runner.invoke("predict").result == {"model": {"name": "iris", "version": "3"}}
        assert runner.invoke("predict", version="@champion").result == {"model": {"name": "iris", "version": "2"}}
        assert runner.invoke("predict", version="@nobody").result is None

    def test_a_new_version_replaces_those_that_loaded_the_old_one(self, make_runner, fake_tracking):
        fake_tracking.models["iris"] = model("3")
        runner = make_runner(tracking=fake_tracking)
        runner.add("predict", self.HANDLER, MODEL)
        ready(runner, "predict")
        fake_tracking.models["iris"] = model("4")
        wait_until(lambda: ready(runner, "predict")[0].model.version == "4")

    def test_what_a_function_registers_counts_from_the_next_call_on(self, make_runner, fake_tracking, monkeypatch):
        fake_tracking.models["iris"] = model("3")
        runner = make_runner(tracking=fake_tracking)
        runner.add("predict", self.HANDLER, MODEL)
        runner.add("train", "def handler(event, context):\n    return {'model_name': 'iris', 'model_version': '4'}\n")
        ready(runner, "predict")
        learn = runner.models.learn

        def registered(name, version):  # a moment earlier, the version might be seen before the result tells of it
            fake_tracking.models["iris"] = model("4")
            return learn(name, version)

        monkeypatch.setattr(runner.models, "learn", registered)
        runner.invoke("train")
        assert runner.invoke("predict").result["model"]["version"] == "4"

    def test_a_model_registered_anew_is_another_one(self, quiet, fake_tracking):
        fake_tracking.models["iris"] = model("1")
        runner = quiet(tracking=fake_tracking)
        runner.add("predict", self.HANDLER, MODEL)
        runner.pool.look()
        (old,) = ready(runner, "predict")
        fake_tracking.models["iris"] = model("1", created_at="2026-02-01T00:00:00.000Z")
        runner.models.learn("iris", "2")  # forgets what it knew
        assert runner.invoke("predict").result is None  # this container is not told "1": it would answer with the old
        wait_until(lambda: ready(runner, "predict")[0].model != old.model)

    def test_without_mlflow_it_works_all_the_same(self, make_runner, fake_tracking):
        runner = make_runner(tracking=fake_tracking)
        runner.add("predict", self.HANDLER, MODEL)
        (environment,) = ready(runner, "predict")
        assert "SMLOPS_MODEL_NAME" not in self.variables(runner, environment)
        assert runner.invoke("predict").result is None
