"""What the runner promised before it was killed, stopped or cut off is kept afterwards; and each fault is verified."""

import random
import re
import threading
import time
from concurrent.futures import Future
from contextlib import suppress

import pytest
import requests

from support.client import Answer
from support.docker_cli import docker, inspect
from support.verify import KILL_WORKER, StackVerifier
from support.waiting import wait_until

TERMINAL = {"succeeded", "failed", "timed_out", "cancelled", "lost"}
IN_BACKGROUND = {"Prefer": "respond-async"}
TICKS = """
    import time

    print("loading", flush=True)

    def handler(event, context):
        for number in range(event["ticks"]):
            print(f"tick {number}", flush=True)
            time.sleep(0.1)
        return {"ticks": event["ticks"], "id": context.aws_request_id}
"""
HOLD_DATABASE = """
import sqlite3, sys, time
database = sqlite3.connect("/data/runner.db", timeout=30, isolation_level=None)
database.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
time.sleep(float(sys.argv[1]))
database.execute("ROLLBACK")
"""


@pytest.fixture
def verifier(stack):
    """Looks at everything that the test did, when it is over."""
    verifier = StackVerifier(stack, stack.name, stack.logs_path)
    yield verifier
    verifier.check()


@pytest.fixture
def runner_is_back(stack):
    """Whatever the test did to the runner, the next test finds it ready."""
    yield
    docker("start", stack.container_id("runner"))
    stack.wait_until_ready()


@pytest.fixture
def submit(stack, verifier):
    """Invoke in the background; returns the id."""

    def call(function: str, parameters: dict | None = None, **headers: str) -> str:
        answer = verifier.saw(stack.invoke(function, parameters, headers={**IN_BACKGROUND, **headers}))
        assert answer.status == 202, answer.text
        assert answer.headers["Location"] == f"/invocations/{answer.json['invocation_id']}"
        assert answer.headers["Preference-Applied"] == "respond-async"
        return answer.json["invocation_id"]

    return call


def ended(stack, invocation_id, *, seconds=90):
    return wait_until(
        lambda: (found := stack.record(invocation_id))["status"] in TERMINAL and found,
        seconds=seconds,
        what=f"{invocation_id} has ended",
    )


def is_running(stack, invocation_id):
    return wait_until(
        lambda: (found := stack.record(invocation_id))["status"] == "running" and found,
        seconds=60,
        what=f"{invocation_id} runs",
    )


def id_of(stack, key):
    """The invocation that this key stands for, looked up while its caller still waits."""
    page = stack.get("/invocations?limit=20").json["invocations"]
    return next((found["invocation_id"] for found in page if found["parameters"].get("key") == key), None)


def has_broken(coming: "Future[Answer]"):
    """The caller's connection ended without a result."""
    with suppress(requests.ConnectionError):
        answer = coming.result(timeout=60)
        assert answer.status in (502, 503, 504), answer.text


@pytest.mark.timeout(300)
def test_the_runner_is_killed_twice_and_keeps_its_promises(stack, drop, background, verifier, submit, runner_is_back):
    drop("ticks", handler=TICKS, manifest="timeout: 60\nmemory: 64\n")
    stack.post("/functions/ticks/build", timeout=120)
    runner = stack.container_id("runner")
    # Three run, two of them waited for; one waits for its turn, and is waited for; some are in the record.
    one = submit("ticks", {"ticks": 200})
    waited_for = {"json": {"function": "ticks", "parameters": {"ticks": 200, "key": "waited-for"}}}
    coming = background.submit(stack.post, "/invoke", headers={"Idempotency-Key": "waited-for"}, **waited_for)
    other = background.submit(stack.invoke, "ticks", {"ticks": 200, "key": "other"})
    two = wait_until(lambda: id_of(stack, "waited-for"), what="it is on record")
    three = wait_until(lambda: id_of(stack, "other"), what="it is on record")
    for identifier in (one, two, three):
        is_running(stack, identifier)
    four = submit("ticks", {"ticks": 200})
    is_running(stack, four)
    queued = {"json": {"function": "echo", "parameters": {"key": "queued"}}}
    in_queue = background.submit(stack.post, "/invoke", headers={"Idempotency-Key": "queued"}, **queued)
    waiting = [submit("echo", {"n": number}) for number in range(6)]
    five = wait_until(lambda: id_of(stack, "queued"), what="it is on record")
    containers = {identifier: stack.record(identifier)["container_name"] for identifier in (one, two, three, four)}

    docker("exec", runner, "python3", "-c", KILL_WORKER)
    has_broken(coming)
    has_broken(other)
    has_broken(in_queue)
    stack.wait_until_ready()
    assert all(stack.record(identifier)["status"] == "running" for identifier in containers)
    docker("kill", "--signal", "KILL", runner)
    docker("start", runner)
    stack.wait_until_ready()

    again = verifier.saw(stack.post("/invoke", headers={"Idempotency-Key": "waited-for"}, **waited_for))
    assert again.result == {"ticks": 200, "id": two}
    assert again.headers["Idempotent-Replayed"] == "true"
    for identifier, container in containers.items():
        record = ended(stack, identifier)
        assert (record["status"], record["attempt"], record["container_name"]) == ("succeeded", 1, container), record
        assert record["result"] == {"ticks": 200, "id": identifier}
        settled = stack.settled(identifier)
        log = stack.log_text(settled["container_name"])
        assert re.findall(r"^tick (\d+)$", log, re.M) == [str(number) for number in range(200)], log
        assert sorted(re.findall(r"^(loading|START|END|REPORT)\b", log, re.M)) == [
            "END",
            "REPORT",
            "START",
            "loading",
        ], log
        assert settled["log_state"] == "complete"
    assert ended(stack, five)["status"] == "cancelled"
    once_more = verifier.saw(stack.post("/invoke", headers={"Idempotency-Key": "queued"}, **queued))
    assert once_more.status == 200, once_more.text
    assert once_more.json["invocation_id"] != five
    for number, identifier in enumerate(waiting):
        record = ended(stack, identifier)
        assert (record["status"], record["result"]) == ("succeeded", {"n": number}), record


@pytest.mark.timeout(180)
def test_what_waits_survives_that_the_runner_is_stopped(stack, submit, verifier, background, runner_is_back):
    runner = stack.container_id("runner")
    running = submit("sleep", {"seconds": 4})
    is_running(stack, running)
    waiting = [submit("sleep", {"seconds": 0.2}) for _ in range(12)]

    docker("stop", "--time", "90", runner)
    assert inspect(runner)[0]["State"]["ExitCode"] == 0
    docker("start", runner)
    stack.wait_until_ready()

    assert stack.record(running)["status"] == "succeeded"
    records = [ended(stack, identifier) for identifier in waiting]
    assert {(record["status"], record["mode"]) for record in records} == {("succeeded", "async")}


@pytest.mark.timeout(120)
def test_another_attempt_follows_what_was_killed_from_outside(stack, submit):
    identifier = submit("sleep", {"seconds": 3})
    first = is_running(stack, identifier)["container_name"]

    docker("kill", first)

    record = ended(stack, identifier)
    assert (record["status"], record["attempt"]) == ("succeeded", 2)
    assert record["container_name"] != first
    assert "Status: failed" in stack.log_text(first)


@pytest.mark.timeout(120)
def test_cancelling_what_runs_and_what_waits(stack, running, submit, verifier):
    answer, record = running(seconds=60)
    background = [submit("sleep", {"seconds": 60}) for _ in range(5)]
    for identifier in (*reversed(background), record["invocation_id"]):
        cancelled = stack.post(f"/invocations/{identifier}/cancel")
        assert (cancelled.status, cancelled.json["status"]) == (200, "cancelled"), cancelled.text
        assert stack.post(f"/invocations/{identifier}/cancel").json["status"] == "cancelled"
    answer.result(timeout=20).problem(409, "cancelled")
    done = stack.invoke("echo", {}).json["invocation_id"]
    stack.post(f"/invocations/{done}/cancel").problem(409, "already_ended")


@pytest.mark.timeout(180)
def test_cancelling_at_random_moments(stack, submit, verifier, background):
    moments = random.Random(11)

    def call(number: int) -> None:
        if number % 2:
            identifier = submit("sleep", {"seconds": 0.3})
            time.sleep(moments.random() * 3)
        else:
            asked = stack.invoke("sleep", {"seconds": 0.3}, headers={"Prefer": f"wait={number % 3}"})
            if asked.status == 429:
                return
            identifier = verifier.saw(asked).headers["X-Invocation-Id"]
        answers = {stack.post(f"/invocations/{identifier}/cancel").status for _ in range(2)}
        assert answers <= {200, 409}, answers

    for done in [background.submit(call, number) for number in range(40)]:
        done.result(timeout=120)


@pytest.mark.timeout(120)
def test_a_hundred_calls_with_one_key_are_one_invocation(stack, drop, verifier):
    drop("nap", handler=TICKS, manifest="timeout: 60\nmemory: 64\n")
    answers: list[Answer] = []
    barrier = threading.Barrier(100)

    def call() -> None:
        barrier.wait()
        answers.append(stack.invoke("nap", {"ticks": 5}, headers={"Idempotency-Key": "one"}))

    threads = [threading.Thread(target=call) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(answers) == 100
    assert {answer.status for answer in answers} <= {200, 202}  # not all may wait for it
    assert sum(answer.status == 200 for answer in answers) > 10
    assert len({verifier.saw(answer).json["invocation_id"] for answer in answers}) == 1
    assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == 99
    other = stack.invoke("nap", {"ticks": 6}, headers={"Idempotency-Key": "one"})
    other.problem(422, "idempotency_key_reused")


def test_replaying_then_and_today(stack, drop, verifier):
    folder = drop("changing", handler="def handler(event, context):\n    return 'then'\n", manifest="memory: 64\n")
    original = verifier.saw(stack.invoke("changing", {}))
    assert original.result == "then"
    (folder / "handler.py").write_text("def handler(event, context):\n    return 'today'\n")

    path = f"/invocations/{original.json['invocation_id']}/replay"
    same, today = (stack.post(path, json={"against": against}).json for against in ("same", "today"))

    assert (same["replay"]["result"], same["same_result"]) == ("then", True)
    assert (today["replay"]["result"], today["same_result"]) == ("today", False)
    assert same["replay"]["replay_of"] == original.json["invocation_id"]


@pytest.mark.timeout(120)
def test_a_database_that_is_locked_for_a_moment_is_not_noticed(stack, submit, verifier, background):
    waiting = [submit("sleep", {"seconds": 0.5}) for _ in range(6)]
    holding = background.submit(
        docker, "exec", stack.container_id("runner"), "python3", "-c", HOLD_DATABASE, "3", timeout=60
    )

    answer = verifier.saw(stack.invoke("echo", {}))

    assert holding.result(timeout=60).strip() == "held"
    assert answer.status == 200, answer.text
    assert {ended(stack, identifier)["status"] for identifier in waiting} == {"succeeded"}
