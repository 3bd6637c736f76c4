"""``POST /invoke``."""

import io

import pytest

from function_runner import errors
from function_runner.errors import CallbackRefused, FieldError
from function_runner.invocation import Status
from support.api import finished

NAMES = {
    "invocation_id": "0b6e7a52-95a0-4f0c-9d0e-5b2f6f6e7a11",
    "function": "echo",
    "container_name": "echo-0123456789ab",
    "log_file": "logs/echo-0123456789ab.log",
}


def invoke(client, **body):
    return client.post("/invoke", json={"function": "echo", "parameters": {"word": "hello"}, **body})


def test_it_works(client, services):
    services.invoker.result = {"said": ["hello", None, 1.5]}
    response = invoke(client)
    assert response.status_code == 200
    assert response.content_type == "application/json"
    answer = response.get_json()
    assert answer == {
        "invocation_id": answer["invocation_id"],
        "function": "echo",
        "status": "succeeded",
        "container_name": "echo-0123456789ab",
        "log_file": "logs/echo-0123456789ab.log",
        "start": "cold",
        "timings": {
            "queue_ms": 0.1,
            "build_ms": 0.0,
            "create_ms": 9.0,
            "start_ms": 91.0,
            "init_ms": 300.0,
            "record_ms": 1.0,
            "run_ms": 50.0,
            "result_ms": 1.0,
            "total_ms": 452.1,
        },
        "result": {"said": ["hello", None, 1.5]},
    }


def test_the_header_names_the_invocation(client):
    response = invoke(client)
    assert response.headers["X-Invocation-Id"] == response.get_json()["invocation_id"]


def test_what_was_sent_arrives(client, services):
    invoke(client, parameters={"word": "שלום \u202e e\u0301\u0301\u0301 𝄞", "times": 2}, timeout=1.5)
    assert services.invoker.calls == [
        {
            "function": "echo",
            "parameters": {"word": "שלום \u202e e\u0301\u0301\u0301 𝄞", "times": 2},
            "timeout": 1.5,
            "caller": None,
        }
    ]


def test_parameters_and_timeout_are_optional(client, services, folder):
    (folder / "echo" / "function.yaml").unlink()
    assert client.post("/invoke", json={"function": "echo"}).status_code == 200
    assert services.invoker.calls[0]["parameters"] == {}
    assert services.invoker.calls[0]["timeout"] is None


def test_the_caller_is_the_address_nginx_saw(client, services):
    client.post(
        "/invoke",
        json={"function": "echo", "parameters": {"word": "x"}},
        headers={"X-Forwarded-For": "192.0.2.7"},
    )
    assert services.invoker.calls[0]["caller"] == "192.0.2.7"


def test_results_may_be_any_json(client, services):
    for result in (None, True, 0, -1.5, "", "ü", [], {}, [[]]):
        services.invoker.result = result
        assert invoke(client).get_json()["result"] == result


@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"1", b"true"])
def test_a_body_that_is_no_object_is_refused(client, services, problem, body):
    problem(client.post("/invoke", data=body, content_type="application/json"), 400, "invalid_request")
    assert services.invoker.calls == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{'function': 'echo'}",
        b'{"function":"echo",}',
        '{"function":"echo"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"function":"echo"}',
        b'{"function":"ech\xff"}',
        b'{"function":"echo","parameters":{"x":NaN}}',
        b'{"function":"echo","parameters":{"x":-Infinity}}',
        b'{"function":"echo","parameters":{"x":1e999}}',
        b'{"function":"echo","parameters":{"x":%s}}' % (b"9" * 20),
        b'{"function":"echo","parameters":{"x":%s}}' % (b"[" * 32 + b"]" * 32),
        b'{"function":"echo","parameters":{"x":%s}}' % (b"[" * 1500 + b"]" * 1500),
        b'{"function":"echo","parameters":{"x":%s' % (b"[" * 3000),
        b'{"function":"echo","function":"train"}',
        b'{"function":"echo","parameters":{"x":"\\ud800"}}',
        b'{"function":"train\\u0000"}',
        b'{"function":"echo"} {}',
    ],
    ids=repr,
)
def test_what_is_not_strict_json_is_refused(client, services, problem, body):
    problem(client.post("/invoke", data=body, content_type="application/json"), 400, "invalid_json")
    assert services.invoker.calls == []


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "application/json; version=2",
        "application/jsonx",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ],
)
def test_only_json_is_accepted(client, problem, content_type):
    problem(client.post("/invoke", data=b"{}", content_type=content_type), 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON", "application/json;charset=UTF-8", 'application/json; charset="utf-8"'],
)
def test_json_may_name_its_charset(client, content_type):
    body = b'{"function":"echo","parameters":{"word":"x"}}'
    assert client.post("/invoke", data=body, content_type=content_type).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity", "gzip, gzip"])
def test_compressed_bodies_are_refused(client, problem, encoding):
    response = client.post(
        "/invoke", data=b"{}", content_type="application/json", headers={"Content-Encoding": encoding}
    )
    problem(response, 415, "unsupported_media_type")


def body_of(size):
    start, end = b'{"function":"echo","parameters":{"word":"', b'"}}'
    return start + b"x" * (size - len(start) - len(end)) + end


@pytest.mark.parametrize("spare", [1, 0])
def test_a_body_up_to_the_limit_is_accepted(client, settings, spare):
    body = body_of(settings.request_max_bytes - spare)
    assert client.post("/invoke", data=body, content_type="application/json").status_code == 200


def test_a_longer_body_is_refused(client, settings, services, problem):
    body = body_of(settings.request_max_bytes + 1)
    document = problem(client.post("/invoke", data=body, content_type="application/json"), 413, "payload_too_large")
    assert "4096" in document["detail"]
    assert services.invoker.calls == []


def test_a_longer_body_is_refused_by_its_announcement(client, problem):
    response = client.post(
        "/invoke", data=b"{}", content_type="application/json", environ_overrides={"CONTENT_LENGTH": "10737418240"}
    )
    problem(response, 413, "payload_too_large")


@pytest.mark.parametrize(("spare", "status"), [(1, 200), (0, 200), (-1, 413), (-100_000, 413)])
def test_the_limit_holds_without_announcement(client, settings, spare, status):
    """A chunked body. What is beyond the limit must not just be cut off."""
    body = (
        body_of(settings.request_max_bytes) + b" " * -spare
        if spare < 0
        else body_of(settings.request_max_bytes - spare)
    )
    response = client.post(
        "/invoke",
        input_stream=io.BytesIO(body),
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
    )
    assert response.status_code == status, response.text


class BrokenChunks(io.RawIOBase):
    """A body as the server hands it on when its chunks make no sense."""

    def __init__(self, error):
        self.error = error

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, *_):
        return 0

    def readinto(self, buffer):
        raise self.error


@pytest.mark.parametrize("error", [OSError("no more data"), RuntimeError("invalid chunk size")], ids=repr)
def test_a_body_that_breaks_off_is_refused(client, problem, error):
    response = client.post(
        "/invoke",
        input_stream=io.BufferedReader(BrokenChunks(error)),
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
    )
    problem(response, 400, "invalid_request")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/function"),
        ({"function": None}, "/function"),
        ({"function": 1}, "/function"),
        ({"function": ["echo"]}, "/function"),
        ({"function": ""}, "/function"),
        ({"function": "x" * 300}, "/function"),
        ({"function": "echo", "parameters": None}, "/parameters"),
        ({"function": "echo", "parameters": []}, "/parameters"),
        ({"function": "echo", "parameters": "{}"}, "/parameters"),
        ({"function": "echo", "timeout": 0}, "/timeout"),
        ({"function": "echo", "timeout": -1}, "/timeout"),
        ({"function": "echo", "timeout": 900.5}, "/timeout"),
        ({"function": "echo", "timeout": "5"}, "/timeout"),
        ({"function": "echo", "timeout": True}, "/timeout"),
        ({"function": "echo", "params": {}}, "/params"),
        ({"function": "echo", "a/b~c": {}}, "/a~1b~0c"),
    ],
    ids=str,
)
def test_a_body_of_another_shape_is_refused(client, services, problem, body, pointer):
    document = problem(client.post("/invoke", json=body), 400, "invalid_request")
    assert [entry["pointer"] for entry in document["errors"]] == [pointer]
    assert services.invoker.calls == []


def test_every_complaint_is_told(client, problem):
    document = problem(client.post("/invoke", json={"parameters": 1, "timeout": -2, "x": 0}), 400, "invalid_request")
    assert document["errors"] == [
        {"pointer": "/function", "detail": "is required"},
        {"pointer": "/parameters", "detail": "must be of type object"},
        {"pointer": "/timeout", "detail": "must be greater than 0"},
        {"pointer": "/x", "detail": "is not known here"},
    ]


@pytest.mark.parametrize(
    "name",
    [
        "train ",
        "Train",
        "x" * 100,
        "../train",
        "train/../x",
        "train%2f..",
        "/etc",
        ".",
        "..",
        "con",
        "echo\n",
        "ech\u202eo",
    ],
)
def test_an_unknown_function_is_not_found(client, problem, name):
    document = problem(client.post("/invoke", json={"function": name}), 404, "function_not_found")
    assert "echo" in document["detail"]


def test_a_function_that_cannot_be_used_is_told(client, problem, folder):
    (folder / "echo" / "Dockerfile").unlink()
    document = problem(invoke(client), 409, "function_invalid")
    assert "no Dockerfile" in document["detail"]


def test_parameters_outside_the_schema_are_refused(client, problem):
    response = invoke(client, parameters={"word": 1, "times": 10, "other": 0})
    document = problem(response, 422, "parameters_invalid")
    assert sorted(entry["pointer"] for entry in document["errors"]) == ["/other", "/times", "/word"]
    assert "X-Invocation-Id" not in response.headers


@pytest.mark.parametrize("prefer", ["wait=-1", "wait", ";;;,=", "x" * 2000, 'a="b', "wait=1.5", "return=minimal"])
def test_preferences_that_are_not_understood_are_ignored(client, prefer):
    response = prefers(client, prefer)
    assert response.status_code == 200
    assert "Preference-Applied" not in response.headers


@pytest.mark.parametrize("prefer", ["respond-async", "Respond-Async", "respond-async; x=1", "foo, respond-async"])
def test_respond_async_answers_before_it_is_run(client, services, prefer):
    response = prefers(client, prefer)
    assert response.status_code == 202
    record = response.get_json()
    assert (record["status"], record["mode"]) == ("queued", "async")
    assert response.headers["Location"] == f"/invocations/{record['invocation_id']}"
    assert response.headers["X-Invocation-Id"] == record["invocation_id"]
    assert response.headers["Preference-Applied"] == "respond-async"
    assert response.headers["Retry-After"] == "1"
    assert response.headers["Vary"] == "Prefer"
    assert services.invoker.requests[0].parameters == {"word": "x"}


def test_wait_answers_with_the_result_when_there_is_one(client):
    response = prefers(client, "wait=5")
    assert response.status_code == 200
    assert response.get_json()["result"] == "done"
    assert response.headers["Preference-Applied"] == "wait=5"


def test_wait_answers_with_the_record_when_there_is_no_result_in_time(client, services):
    services.invoker.finishes = False
    response = prefers(client, "wait=1")
    assert response.status_code == 202
    assert response.get_json()["mode"] == "sync"


def test_wait_and_respond_async_together(client, services):
    response = prefers(client, "respond-async, wait=5")
    assert response.status_code == 200
    assert response.headers["Preference-Applied"] == "respond-async, wait=5"
    services.invoker.finishes = False
    assert prefers(client, "wait=5, respond-async").status_code == 202


def test_no_wait_is_longer_than_an_invocation_may_take(client):
    assert prefers(client, "wait=99999").headers["Preference-Applied"] == "wait=900"


def test_a_failure_within_the_wait_is_the_problem_it_would_have_been(client, services, problem):
    raised = {"type": "ValueError", "message": "no", "stack_trace": ["line"]}
    diagnosis = {"kind": "handler_error", "cause": "It raised.", "next_step": "Correct it.", "evidence": ["line"]}
    services.invoker.finishes = False
    queued = prefers(client, "respond-async").get_json()["invocation_id"]
    services.store.records[queued] = finished(
        id=queued,
        status=Status.FAILED,
        result=None,
        exit_code=3,
        error={"code": "handler_error", **raised, "diagnosis": diagnosis},
    )
    services.invoker.keys["k"] = queued
    response = prefers(client, "wait=1", key="k")
    document = problem(response, 500, "handler_error")
    assert (document["invocation_id"], document["detail"], document["exit_code"]) == (queued, "no", 3)
    assert (document["function_error"], document["diagnosis"]) == (raised, diagnosis)
    assert document["log_file"] == "logs/echo-0123456789ab.log"
    assert response.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(("key", "meaning"), [('"abc"', "abc"), ("abc-1", "abc-1"), ('"a b\\"c"', 'a b"c')])
def test_a_repetition_gets_what_came_of_the_first(client, services, key, meaning):
    first = prefers(client, "", key=key)
    assert first.status_code == 200
    assert "Idempotent-Replayed" not in first.headers
    assert services.invoker.requests[0].idempotency_key == meaning
    second = prefers(client, "", key=key)
    assert second.status_code == 200
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.get_json()["invocation_id"] == first.get_json()["invocation_id"]


@pytest.mark.parametrize("key", ["", '""', '"a', "a b", '"ü"', "x" * 256, '"' + "x" * 256 + '"', '"a", "b"'])
def test_a_key_that_is_none_is_refused(client, services, problem, key):
    response = prefers(client, "", key=key)
    assert "Idempotency-Key" in problem(response, 400, "invalid_request")["detail"]
    assert services.invoker.calls == []


def prefers(client, prefer, key=None):
    headers = {"Prefer": prefer} if prefer else {}
    if key is not None:
        headers["Idempotency-Key"] = key
    return client.post("/invoke", json={"function": "echo", "parameters": {"word": "x"}}, headers=headers)


def test_busy_says_when_to_come_back(client, services, problem):
    services.invoker.error = errors.Busy(retry_after=7)
    response = invoke(client)
    assert problem(response, 429, "busy")["retry_after"] == 7
    assert response.headers["Retry-After"] == "7"


def test_draining_is_told(client, services, problem):
    services.invoker.error = errors.Draining()
    problem(invoke(client), 503, "draining")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.HandlerError, 500),
        (errors.HandlerRefused, 422),
        (errors.HandlerNotFound, 404),
        (errors.BuildFailed, 500),
        (errors.InitError, 502),
        (errors.ExitedWithoutResult, 502),
        (errors.OutOfMemory, 502),
        (errors.Killed, 502),
        (errors.InvalidResult, 502),
        (errors.ResultTooLarge, 502),
        (errors.Lost, 502),
        (errors.QueueTimeout, 503),
        (errors.TimedOut, 504),
    ],
)
def test_a_failed_invocation_names_itself_and_its_log(client, services, problem, kind, status):
    services.invoker.error = kind(**NAMES)
    response = invoke(client)
    document = problem(response, status, kind.code)
    assert NAMES.items() <= document.items()
    assert document["instance"] == f"/invocations/{NAMES['invocation_id']}"
    assert response.headers["X-Invocation-Id"] == NAMES["invocation_id"]


def test_what_the_handler_raised_is_told(client, services, problem):
    raised = {"type": "ValueError", "message": "no", "stack_trace": ["line 1", "line 2"]}
    services.invoker.error = errors.HandlerError(
        "Function 'echo' raised: no", function_error=raised, exit_code=None, **NAMES
    )
    document = problem(invoke(client), 500, "handler_error")
    assert document["function_error"] == raised
    assert "exit_code" not in document


def test_the_diagnosis_is_told(client, services, problem):
    diagnosis = {
        "kind": "timeout",
        "cause": "Its time was over.",
        "next_step": "Give it more.",
        "evidence": ["epoch 3"],
    }
    services.invoker.error = errors.TimedOut(diagnosis=diagnosis, **NAMES)
    assert problem(invoke(client), 504, "timed_out")["diagnosis"] == diagnosis


def test_what_the_handler_refused_is_told_by_place(client, services, problem):
    services.invoker.error = errors.HandlerRefused(errors=[FieldError("/features/0", "must be a number")], **NAMES)
    document = problem(invoke(client), 422, "handler_refused")
    assert document["errors"] == [{"pointer": "/features/0", "detail": "must be a number"}]


def test_an_exception_with_odd_characters_is_still_told(client, services, problem):
    services.invoker.error = errors.HandlerError(
        "It raised \ud800.", function_error={"type": "E", "message": "\ud800 \x00", "stack_trace": ["\udfff"]}, **NAMES
    )
    document = problem(invoke(client), 500, "handler_error")
    assert document["detail"] == "It raised ?."
    assert document["function_error"]["message"] == "? \x00"


def test_odd_members_do_not_hide_the_error(client, services, problem):
    services.invoker.error = errors.HandlerError("It raised.", function_error="not an object", **NAMES)
    problem(invoke(client), 500, "handler_error")


def test_only_post_is_answered(client, problem):
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
        response = client.open("/invoke", method=method)
        problem(response, 405, "method_not_allowed")
        assert response.headers["Allow"] == "POST"


def test_without_room_on_the_disk_it_is_refused(client, services, problem):
    services.store.is_full = True
    response = invoke(client)
    assert problem(response, 507, "disk_full")["retry_after"] == 60
    assert response.headers["Retry-After"] == "60"
    assert services.store.records == {}


def test_the_callback_is_asked_for_and_shown(client, services):
    response = client.post(
        "/invoke",
        json={"function": "echo", "parameters": {"word": "hello"}, "callback_url": "https://hooks.example.com/a?b=c"},
        headers={"Prefer": "respond-async"},
    )
    assert response.get_json()["callback"]["url"] == "https://hooks.example.com/a?b=c"
    assert response.get_json()["callback"]["state"] == "pending"
    assert services.invoker.requests[-1].callback_url == "https://hooks.example.com/a?b=c"


def test_a_callback_that_is_refused_is_told(client, services, problem):
    reason = FieldError("/callback_url", "must begin with http:// or https://")
    services.invoker.error = CallbackRefused(errors=[reason])
    response = client.post(
        "/invoke", json={"function": "echo", "parameters": {"word": "hello"}, "callback_url": "ftp://example.com"}
    )
    document = problem(response, 422, "callback_refused")
    assert document["errors"] == [{"pointer": "/callback_url", "detail": "must begin with http:// or https://"}]


@pytest.mark.parametrize("url", ["", "https://example.com/" + "x" * 2000, 7, [], {}])
def test_a_callback_of_another_shape_is_refused(client, problem, url):
    response = client.post("/invoke", json={"function": "echo", "parameters": {"word": "x"}, "callback_url": url})
    problem(response, 400, "invalid_request")
