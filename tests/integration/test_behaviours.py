"""Every way an invocation can end: the right status and code, an honest record, and a log that says what happened."""

import re
import time

import pytest


def ended(stack, answer):
    """The record of an answer, after checking that answer, record and log name the same container."""
    document = answer.json
    record = stack.settled(document["invocation_id"])
    assert answer.headers["X-Invocation-Id"] == document["invocation_id"]
    assert document["container_name"] == record["container_name"]
    assert document["log_file"] == record["log_file"] == f"logs/{record['container_name']}.log"
    assert record["function"] == document["function"]
    assert record["finished_at"]
    return record


def failed(stack, answer, status, code, kind):
    """The problem and its record, which have the same diagnosis."""
    problem = answer.problem(status, code)
    record = ended(stack, answer)
    assert record["status"] == ("timed_out" if code == "timed_out" else "failed")
    assert record["error"]["code"] == code
    assert record["error"]["message"]
    assert record["result"] is None
    assert problem["diagnosis"]["kind"] == kind
    assert problem["diagnosis"]["evidence"]
    assert record["error"]["diagnosis"] == problem["diagnosis"]
    return problem, record


def test_echo(stack):
    parameters = {"text": "Grüße, 世界 🌍", "deep": {"a": [1, 2.5, None, True]}, "\u202e": "\u0301" * 50}

    answer = stack.invoke("echo", parameters)

    assert answer.result == parameters
    record = ended(stack, answer)
    assert record["parameters"] == parameters
    assert record["start"] == "cold"
    assert record["log_state"] == "complete"


def test_defaults_of_the_schema_are_filled_in(stack):
    answer = stack.invoke("sleep", {})

    assert answer.result == {"slept": 1}
    assert ended(stack, answer)["timings"]["run_ms"] >= 1000


def test_raises(stack):
    problem, record = failed(
        stack, stack.invoke("raises", {"message": "the sky fell"}), 500, "handler_error", "handler_error"
    )

    assert problem["function_error"]["type"] == "ValueError"
    assert problem["function_error"]["message"] == "the sky fell"
    assert "handler.py" in "".join(problem["function_error"]["stack_trace"])
    assert problem["diagnosis"]["evidence"] == [
        "ValueError: the sky fell",
        "handler.py, line 10, in _deeper",
        "    raise type(name, (Exception,), {})(message)",
    ]
    assert "the sky fell" in problem["detail"]
    log = stack.log_text(record["container_name"])
    assert "about to raise" in log
    assert "the sky fell" in log
    assert "\r" not in log
    assert re.search(r"^.*Traceback", log, re.M)


@pytest.mark.parametrize(
    "message",
    ["", "x" * 100_000, "a\nb\x1b[31mc", "<script>alert(1)</script>", "🌍"],
    ids=["none", "long", "lines", "markup", "emoji"],
)
def test_raises_odd_messages(stack, message):
    failed(stack, stack.invoke("raises", {"message": message}), 500, "handler_error", "handler_error")


def test_refuses_parameters_in_the_words_of_the_handler(stack):
    problem, _ = failed(stack, stack.invoke("refuses", {}), 422, "handler_refused", "parameters_refused")

    assert problem["errors"] == [
        {"pointer": "/kind", "detail": "is not to my taste"},
        {"pointer": "/lines/0", "detail": "neither is this"},
        {"pointer": "/lines/a name (with spaces)", "detail": "nor that"},
    ]


def test_finds_nothing(stack):
    problem, _ = failed(stack, stack.invoke("refuses", {"kind": "not-found"}), 404, "handler_not_found", "not_found")

    assert "this, that" in problem["detail"]


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_exits(stack, code):
    problem, record = failed(stack, stack.invoke("exits", {"code": code}), 502, "exited_without_result", "exited")

    assert problem["exit_code"] == code
    assert record["exit_code"] == code
    assert str(code) in problem["detail"]
    assert f"leaving with {code}" in stack.log_text(record["container_name"])
    assert problem["diagnosis"]["evidence"][-1] == f"leaving with {code}"


def test_prints_and_dies_leaves_its_last_words(stack):
    for number in range(5):
        answer = stack.invoke("prints-and-dies", {"words": f"last words {number}", "code": 4})
        _, record = failed(stack, answer, 502, "exited_without_result", "exited")
        log = stack.log_text(record["container_name"])
        assert f"last words {number}\n" in log
        assert "and on stderr\n" in log


def test_crashes(stack):
    problem, record = failed(stack, stack.invoke("segfault", {}), 502, "exited_without_result", "exited")

    assert record["exit_code"] in (139, -11)
    assert "about to read address 0" in stack.log_text(record["container_name"])
    assert "139" in problem["detail"] or "SIGSEGV" in problem["detail"]


def test_cannot_be_imported(stack):
    problem, record = failed(stack, stack.invoke("bad-import", {}), 502, "init_error", "missing_module")

    assert "a_module_that_is_nowhere" in problem["detail"]
    assert "functions/bad-import/requirements.txt" in problem["diagnosis"]["next_step"]
    assert "a_module_that_is_nowhere" in stack.log_text(record["container_name"])


def test_exits_while_it_is_imported(stack):
    problem, record = failed(stack, stack.invoke("init-exits", {}), 502, "exited_without_result", "exited")

    assert "while it was starting" in problem["detail"]
    assert record["exit_code"] == 7
    assert "leaving before the first invocation" in stack.log_text(record["container_name"])


@pytest.mark.timeout(150)
def test_never_gets_ready(stack):
    started = time.monotonic()

    answer = stack.invoke("init-hangs", {})

    assert answer.status in (502, 504), answer.text
    assert answer.json["code"] in ("init_error", "timed_out")
    assert answer.json["diagnosis"]["kind"] == "timeout"
    assert answer.json["diagnosis"]["evidence"] == ["still importing"]
    assert time.monotonic() - started < 90
    assert "still importing" in stack.log_of(answer)


def test_runs_out_of_memory(stack):
    problem, record = failed(stack, stack.invoke("out-of-memory", {}), 502, "out_of_memory", "out_of_memory")

    assert "96" in problem["detail"]
    assert record["oom_killed"] is True
    assert record["exit_code"] == 137
    assert record["memory_limit_mb"] == 96
    assert "taking memory" in stack.log_text(record["container_name"])


def test_a_child_that_runs_out_of_memory_is_the_handlers_affair(stack):
    answer = stack.invoke("out-of-memory", {"child_alloc": True})

    if answer.status == 200:  # the kernel chose the child, as it mostly does
        assert answer.result == {"child_exit_code": -9}
        assert ended(stack, answer)["status"] == "succeeded"
    else:
        failed(stack, answer, 502, "out_of_memory", "out_of_memory")


@pytest.mark.parametrize("kind", ["object", "set", "bytes", "nan", "infinity", "surrogate"])
def test_returns_what_json_cannot_hold(stack, kind):
    failed(stack, stack.invoke("not-json", {"kind": kind}), 502, "invalid_result", "bad_result")


def test_returns_too_much(stack):
    problem, _ = failed(
        stack, stack.invoke("large-result", {"bytes": 7 * 1024 * 1024}), 502, "result_too_large", "bad_result"
    )

    assert "6" in problem["detail"]


def test_returns_just_enough(stack):
    size = 6 * 1024 * 1024 - 100

    assert len(stack.invoke("large-result", {"bytes": size}).result["text"]) == size


@pytest.mark.timeout(200)
def test_returns_a_hundred_megabytes(stack):
    failed(stack, stack.invoke("large-result", {"bytes": 100_000_000}), 502, "result_too_large", "bad_result")


def test_prints_something_that_looks_like_a_result(stack):
    answer = stack.invoke("fake-result", {})

    assert answer.result == {"real": True}
    assert ended(stack, answer)["result"] == {"real": True}


def test_ignores_sigterm_and_overruns(stack):
    answer = stack.invoke("ignores-sigterm", {})

    _, record = failed(stack, answer, 504, "timed_out", "timeout")
    assert answer.seconds < 15
    assert "working" in stack.log_text(record["container_name"])
    assert record["error"]["diagnosis"]["evidence"][-1] == "working"


def test_forks_until_the_limit(stack, background):
    other = background.submit(stack.invoke, "sleep", {"seconds": 2})

    answer = stack.invoke("forks", {"count": 100_000})

    assert answer.result["stopped_by"] == "EAGAIN"
    assert answer.result["started"] < 128
    assert other.result().status == 200


def test_returns_and_goes_on(stack):
    answer = stack.invoke("returns-then-runs", {})

    assert answer.result == {"returned": True}
    assert answer.seconds < 10
