"""The runner dies between any two steps of an invocation: whatever the next one finds, the rules hold.

Steps are what has an effect outside of the process: commits, calls of the engine, files that appear among the logs, and
bytes that go to a container. Each test lets the runner die before another one of them; then the next runner sets right
what it finds and runs what waits, and the verifier looks.
"""

from collections import Counter
from contextlib import suppress

import pytest

from function_runner.errors import LogsUnavailable, RunnerError
from function_runner.execution_environment import ExecutionEnvironment
from function_runner.invocation import Request, Status
from function_runner.logs import LogFile
from function_runner.store import Repeated
from support.verify import Snapshot, Verifier
from support.waiting import wait_until

MOST_STEPS = 26
MANIFESTS = {
    "single-use": "",
    "reused": "invocations_per_container: 5",
}


@pytest.fixture(autouse=True)
def the_dead_do_not_linger(monkeypatch):
    """What is left of a runner that is gone need not try for half a minute to write."""
    monkeypatch.setattr("function_runner.store.database.PERSISTENCE_SECONDS", 0.3)
    monkeypatch.setattr("function_runner.invoker.invoker.RECORD_SECONDS", 0.3)


@pytest.fixture
def mortal(make_runner, monkeypatch, tmp_path):
    """A runner of which every step counts, with a function that notes each time it is handed something."""
    runner = make_runner(init_timeout=5, default_timeout=5, retry_pause=0)
    add_functions(runner, tmp_path)
    for method in ("create", "publish"):
        count(monkeypatch, runner, runner.logs, method, LogsUnavailable)
    for method in ("hand_over", "acknowledge"):
        hand = getattr(ExecutionEnvironment, method)

        def step(self, *arguments, hand=hand, method=method, **options):
            if self._engine is not runner.pool._engine or runner.life.step(method):
                hand(self, *arguments, **options)

        monkeypatch.setattr(ExecutionEnvironment, method, step)
    return runner


def add_functions(runner, folder):
    source = f"""
def handler(event, context):
    with open({str(folder / "handled")!r}, 'a') as file:
        file.write(context.aws_request_id + chr(10))
    print('handled')
    return event
"""
    for name, manifest in MANIFESTS.items():
        runner.add(name, source, manifest)


def count(monkeypatch, runner, target, method, error):
    found = getattr(target, method)

    def step(*arguments, **options):
        if not runner.life.step(method):
            raise error("The process is gone.")
        made = found(*arguments, **options)
        if isinstance(made, LogFile):
            write_line = made.write_line
            made.write_line = lambda line: None if runner.life.is_over else write_line(line)
        return made

    monkeypatch.setattr(target, method, step)


def live(runner, function, *, in_background, verifier, calls=1):
    """What a client does: call, and repeat with the same key for as long as there is somebody to call."""
    told = []
    for number in range(calls):
        request = Request(function, {"n": number}, idempotency_key=f"key-{number}")
        try:
            record = runner.invoker.submit(request) if in_background else runner.invoker.invoke(request)
        except Repeated as repeated:
            record = runner.store.get(repeated.invocation_id)
        except RunnerError:
            continue
        if runner.life.is_over:
            return told  # nobody hears the answer of a process that is gone
        told.append(record)
        if record.status is Status.SUCCEEDED:
            verifier.saw_result(record.id, record.result)
    return told


def recover(runner, verifier):
    """The next runner, once it has set everything right and run what waited."""
    following = runner.crash()
    unused = following.logs.unused()
    following.reaper.reconcile()
    following.reaper.finish_logs()
    for name in unused:
        following.logs.forget(name)
    following.dispatcher.start()

    def is_quiet():
        following.reaper.reconcile()
        with suppress(RunnerError):
            following.reaper.sweep()
        return not following.store.open_invocations() and not following.invoker.in_flight

    wait_until(is_quiet, seconds=20, every=0.02, what="everything has ended")
    wait_until(lambda: is_quiet() and not following.engine.containers(), seconds=20, every=0.02, what="no strays")
    wait_until(lambda: not following.store.unsettled(), seconds=20, every=0.02, what="all logs are closed")
    return following


def handled(folder):
    file = folder / "handled"
    return Counter(file.read_text().split()) if file.exists() else Counter()


@pytest.mark.parametrize("step", range(MOST_STEPS + 1))
@pytest.mark.parametrize(
    ("function", "in_background"),
    [("single-use", False), ("single-use", True), ("reused", False)],
    ids=["waited for", "in the background", "reused"],
)
def test_before_each_step(mortal, tmp_path, function, in_background, step):
    verifier = Verifier(lambda: Snapshot.of_file(tmp_path / "runner.db"), mortal.settings.logs_dir)
    calls = 2 if function == "reused" else 1
    mortal.life.ends_before = step
    if in_background:
        mortal.dispatcher.start()
    told = live(mortal, function, in_background=in_background, verifier=verifier, calls=calls)
    if in_background and told:
        wait_until(
            lambda: mortal.life.is_over or mortal.store.get(told[0].id).status.is_terminal, every=0.005, seconds=20
        )
    for record in told:
        verifier._told.setdefault(record.id, None)
    following = recover(mortal, verifier)
    # Whoever got no answer asks again, with the same key.
    again = live(following, function, in_background=in_background, verifier=verifier, calls=calls)
    for record in again:
        ended = following.invoker.wait(record.id, 20)
        assert ended.status in (Status.SUCCEEDED, Status.LOST), ended.error
    wait_until(lambda: not following.invoker.in_flight)
    following.pool.close()
    wait_until(lambda: not following.store.unsettled(), seconds=20, every=0.02, what="all logs are closed")

    snapshot = verifier.check()
    assert len(again) == calls
    times = handled(tmp_path)
    for row in snapshot.rows:
        assert times[row["id"]] <= row["delivered"], f"the handler got what was not handed over: {row}"
        if row["status"] == "succeeded":
            assert times[row["id"]] >= 1
    keys = Counter(row["idempotency_key"] for row in snapshot.rows if row["delivered"])
    assert all(number == 1 for number in keys.values()), f"one key, and handed over as several: {keys}"

    def has_no_strays():
        following.reaper.sweep()  # a call of the engine may have been on its way when the first one died
        return not following.engine.containers()

    wait_until(has_no_strays, seconds=20, every=0.02, what="no strays")
    ready = mortal.settings.logs_dir / ".ready"
    assert not ready.exists() or not list(ready.iterdir())


def test_there_are_no_more_steps_than_that(mortal, tmp_path):
    live(mortal, "reused", in_background=False, verifier=Verifier(lambda: None, tmp_path), calls=2)
    assert len(mortal.life.steps) <= MOST_STEPS, mortal.life.steps
    assert {"run", "create", "start", "hand_over", "acknowledge"} <= set(mortal.life.steps)
