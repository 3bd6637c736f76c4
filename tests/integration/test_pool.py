"""Containers that are ready before anybody calls: each used once, and never one that should not be."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from support.docker_cli import container_ids, docker
from support.waiting import wait_until

WARM = "description: kept warm\nwarm: {warm}\nmemory: 128\n"
PREDICT = {"model_name": "iris_model", "model_version": "latest", "features": [5.1, 3.5, 1.4, 0.2]}


def pool_of(stack, function):
    return stack.get(f"/functions/{function}").json["pool"]


def wait_ready(stack, function, number):
    wait_until(
        lambda: (found := pool_of(stack, function))["ready"] >= number and not found["starting"],
        seconds=90,
        every=0.2,
        what=f"{number} containers of {function} are ready",
    )


def ready_containers(stack, function):
    return {found["Name"].lstrip("/") for found in stack.function_containers(function)}


def test_it_works(stack, drop):
    drop("ready-memory", copy_of="remembers", manifest=WARM.format(warm=2))
    wait_ready(stack, "ready-memory", 2)
    waiting = ready_containers(stack, "ready-memory")

    answers = [stack.invoke("ready-memory") for _ in range(2)]

    assert [answer.json["start"] for answer in answers] == ["warm", "warm"]
    assert {answer.json["container_name"] for answer in answers} == waiting
    timings = answers[0].json["timings"]
    assert (timings["build_ms"], timings["create_ms"], timings["start_ms"], timings["init_ms"]) == (0, 0, 0, 0)
    wait_ready(stack, "ready-memory", 2)
    wait_until(
        lambda: not waiting & ready_containers(stack, "ready-memory"), seconds=30, what="those that were used are gone"
    )


def test_no_invocation_sees_what_another_left(stack, drop):
    drop("ready-fresh", copy_of="remembers", manifest=WARM.format(warm=2))
    wait_ready(stack, "ready-fresh", 2)

    results = [stack.invoke("ready-fresh").result for _ in range(5)]

    assert all(result == results[0] for result in results), results


def test_random_numbers_of_ready_containers_differ(stack, drop):
    """Each is a process of its own, started from nothing: no two begin with the same state."""
    draws = """
        import random
        import uuid

        loaded = [random.random() for _ in range(4)]


        def handler(event, context):
            return {"loaded": loaded, "called": [random.random() for _ in range(4)], "uuid": str(uuid.uuid4())}
        """
    with_numpy = """
        import random

        import numpy

        loaded = [random.random(), numpy.random.random(), numpy.random.default_rng().random()]


        def handler(event, context):
            return {"loaded": loaded, "called": [random.random(), numpy.random.random()]}
        """
    drop("ready-random", copy_of="remembers", handler=draws, manifest=WARM.format(warm=3))
    drop("ready-numpy", copy_of="predict", handler=with_numpy, manifest=WARM.format(warm=3))
    for function in ("ready-random", "ready-numpy"):
        wait_ready(stack, function, 3)

        answers = [stack.invoke(function) for _ in range(3)]

        assert [answer.json["start"] for answer in answers] == ["warm"] * 3
        assert len({answer.json["container_name"] for answer in answers}) == 3
        numbers = [str(number) for answer in answers for drawn in answer.result.values() for number in flat(drawn)]
        assert len(set(numbers)) == len(numbers), numbers


def flat(drawn):
    return drawn if isinstance(drawn, list) else [drawn]


def test_a_container_that_was_not_used_leaves_no_log(stack, drop):
    drop("ready-silent", copy_of="echo", manifest=WARM.format(warm=1))
    wait_ready(stack, "ready-silent", 1)

    assert not list(stack.logs_path.glob("ready-silent-*.log"))
    answer = stack.invoke("ready-silent")
    assert [path.stem for path in stack.logs_path.glob("ready-silent-*.log")] == [answer.json["container_name"]]


def test_an_edited_handler_is_never_run_in_its_old_form(stack, drop):
    folder = drop("ready-edited", handler="def handler(event, context):\n    return 0\n", manifest=WARM.format(warm=2))
    wait_ready(stack, "ready-edited", 2)

    for version in (1, 2):
        (folder / "handler.py").write_text(f"def handler(event, context):\n    return {version}\n")
        with ThreadPoolExecutor(4) as callers:
            results = [answer.result for answer in callers.map(lambda _: stack.invoke("ready-edited"), range(4))]
        assert results == [version] * 4


def test_a_handler_that_cannot_be_loaded_is_broken_until_it_is_mended(stack, drop):
    folder = drop(
        "ready-broken", handler="print('about to fail')\nimport missing_thing\n", manifest=WARM.format(warm=2)
    )
    found = wait_until(
        lambda: (pool := pool_of(stack, "ready-broken"))["state"] == "broken" and pool, seconds=90, what="it is broken"
    )
    assert "missing_thing" in found["problem"]
    assert any("about to fail" in line for line in found["log_tail"])

    stack.invoke("ready-broken").problem(502, "init_error")
    assert len(stack.function_containers("ready-broken")) <= 2

    (folder / "handler.py").write_text("def handler(event, context):\n    return 'mended'\n")
    assert stack.invoke("ready-broken").result == "mended"
    wait_ready(stack, "ready-broken", 2)
    assert pool_of(stack, "ready-broken")["state"] == "ok"


def test_ready_containers_that_were_killed_are_not_used(stack, drop):
    drop("ready-killed", copy_of="echo", manifest=WARM.format(warm=2))
    wait_ready(stack, "ready-killed", 2)

    docker("kill", *container_ids(f"smlops.stack={stack.name}", "smlops.function=ready-killed", running_only=True))

    assert [stack.invoke("ready-killed").status for _ in range(3)] == [200, 200, 200]


@pytest.mark.timeout(240)
def test_a_burst_beyond_the_pool_loses_nothing(stack, drop, background):
    drop("ready-burst", copy_of="echo", manifest=WARM.format(warm=2))
    wait_ready(stack, "ready-burst", 2)

    answers = list(background.map(lambda n: stack.invoke("ready-burst", {"n": n}), range(24)))

    assert [answer.result for answer in answers] == [{"n": n} for n in range(24)]
    assert len({answer.json["container_name"] for answer in answers}) == 24
    assert {"warm", "cold"} >= {answer.json["start"] for answer in answers}
    records = [stack.record(answer.json["invocation_id"]) for answer in answers]
    assert all(record["status"] == "succeeded" for record in records)


def test_a_container_that_serves_several(stack, drop):
    manifest = "warm: 1\nmemory: 128\ninvocations_per_container: 3\n"
    drop("reused-echo", handler=COUNTING, manifest=manifest)
    wait_ready(stack, "reused-echo", 1)

    answers = []
    for _ in range(4):
        answers.append(stack.invoke("reused-echo"))
        wait_ready(stack, "reused-echo", 1)

    assert [answer.result for answer in answers] == [1, 2, 3, 1]
    assert [answer.json["start"] for answer in answers[:3]] == ["warm", "reused", "reused"]
    assert len({answer.json["container_name"] for answer in answers}) == 2
    for number, answer in enumerate(answers[:3], start=1):
        log = stack.logs(answer.json["invocation_id"]).splitlines()
        assert [line for line in log if line.startswith("call")] == [f"call {number}"]
        # Its last line, unless the engine delivered output only after the answer.
        assert any(line.startswith(f"REPORT RequestId: {answer.json['invocation_id']}") for line in log[-2:])


COUNTING = """
calls = 0

def handler(event, context):
    global calls
    calls += 1
    print("call", calls)
    return calls
"""


@pytest.mark.timeout(240)
def test_predict_is_ready_with_the_newest_model_and_never_answers_with_an_older_one(stack):
    trained = stack.invoke("train", {"n_estimators": 10}).result

    answer = stack.invoke("predict", PREDICT)  # at once, before anything can be made anew

    assert answer.result["model_version"] == trained["model_version"]
    wait_ready(stack, "predict", 2)
    warm = wait_until(
        lambda: (found := stack.invoke("predict", PREDICT)).json["start"] == "warm" and found,
        seconds=60,
        every=1,
        what="predict starts warm",
    )
    assert warm.result["model_version"] == trained["model_version"]
    assert warm.result["model_format"] == "onnx"


def test_the_metrics_tell_how_invocations_started(stack, drop):
    drop("ready-counted", copy_of="echo", manifest=WARM.format(warm=1))
    wait_ready(stack, "ready-counted", 1)
    stack.invoke("ready-counted")

    text = stack.get("/metrics").text

    assert 'smlops_starts_total{function="ready-counted",start="warm"} 1.0' in text
    for phase in ("queue", "build", "create", "start", "init", "record", "run", "result", "total"):
        assert f'smlops_invocation_duration_seconds_count{{function="ready-counted",phase="{phase}"}} 1.0' in text
