"""How many at once, how many may wait, and what the others are told."""

from collections import Counter
from datetime import datetime

import pytest
import requests

from support.docker_cli import docker
from support.stack import LIMITS
from support.waiting import wait_until

AT_ONCE = int(LIMITS["MAX_CONCURRENCY"])
WAITING = int(LIMITS["QUEUE_LIMIT"])


def spans(stack, answers):
    records = [stack.record(answer.json["invocation_id"]) for answer in answers]
    return sorted((datetime.fromisoformat(r["started_at"]), datetime.fromisoformat(r["finished_at"])) for r in records)


def most_at_once(found):
    events = sorted([(start, 1) for start, _ in found] + [(end, -1) for _, end in found])
    running = most = 0
    for _, change in events:
        running += change
        most = max(most, running)
    return most


def test_a_function_that_allows_one_at_a_time(stack, drop, background):
    drop("one-by-one", copy_of="sleep", manifest="max_concurrency: 1\n")

    answers = list(background.map(lambda _: stack.invoke("one-by-one", {"seconds": 1}), range(3)))

    assert [answer.status for answer in answers] == [200, 200, 200]
    assert most_at_once(spans(stack, answers)) == 1


@pytest.mark.timeout(300)
def test_beyond_the_queue_callers_are_turned_away_and_may_come_back(stack, running, background):
    blockers = [running(seconds=240) for _ in range(AT_ONCE)]
    before = {record["invocation_id"] for record in stack.get("/invocations?limit=200").json["invocations"]}

    futures = [background.submit(stack.invoke, "sleep", {"seconds": 0.1}) for _ in range(WAITING + 6)]
    refused = wait_until(
        lambda: len(done := [future for future in futures if future.done()]) == 6 and done,
        seconds=60,
        what="six are refused while nothing moves",
    )

    for answer in (future.result() for future in refused):
        answer.problem(429, "busy")
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.json["retry_after"] == int(answer.headers["Retry-After"])
        assert "X-Invocation-Id" not in answer.headers
    docker("kill", *(record["container_name"] for _, record in blockers))
    answers = [future.result(timeout=200) for future in futures]
    assert Counter(answer.status for answer in answers) == {200: WAITING, 429: 6}
    succeeded = [answer for answer in answers if answer.status == 200]
    assert all(answer.json["timings"]["queue_ms"] > 0 for answer in succeeded)
    assert most_at_once(spans(stack, succeeded)) <= AT_ONCE
    after = {record["invocation_id"] for record in stack.get("/invocations?limit=200").json["invocations"]}
    assert len(after - before) == WAITING


def test_health_and_reads_answer_while_everything_is_busy(stack, running):
    for _ in range(AT_ONCE):
        running(seconds=5)

    for path in ("/health", "/ready", "/invocations", "/functions", "/debug", "/metrics", "/models"):
        answer = stack.get(path)
        assert answer.status == 200, (path, answer.text)
        assert answer.seconds < 3, path


def test_a_deadline_is_kept_and_the_container_killed(stack):
    answer = stack.invoke("sleep", {"seconds": 60}, timeout=2)

    problem = answer.problem(504, "timed_out")
    record = stack.settled(problem["invocation_id"])
    assert record["status"] == "timed_out"
    assert record["timeout_seconds"] == 2
    assert 1.9 <= record["timings"]["run_ms"] / 1000 <= 4
    assert record["error"]["code"] == "timed_out"
    assert "Status: timed_out" in stack.log_text(record["container_name"])


def test_a_deadline_of_the_manifest(stack, drop):
    drop("impatient", copy_of="sleep", manifest="timeout: 1\n")

    stack.invoke("impatient", {"seconds": 30}).problem(504, "timed_out")


def test_a_deadline_beyond_the_limit_is_refused(stack):
    stack.invoke("echo", {}, timeout=86_400).problem(400, "invalid_request")


def test_a_caller_that_hangs_up_leaves_an_ended_record(stack):
    with pytest.raises(requests.ReadTimeout):
        stack.post("/invoke", json={"function": "sleep", "parameters": {"seconds": 3}}, timeout=1)

    record = stack.get("/invocations?function=sleep&limit=1").json["invocations"][0]
    final = wait_until(
        lambda: (found := stack.record(record["invocation_id"]))["finished_at"] and found, seconds=30, what="it ended"
    )
    assert final["status"] in ("succeeded", "cancelled")
