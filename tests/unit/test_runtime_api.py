"""The inner door, spoken to in raw HTTP: what a container may do, and what nobody may."""

import asyncio
import contextlib
import http.client
import json
import socket
import threading

import pytest

from function_runner.errors import RunnerError
from support.waiting import wait_until

HANDLER = "import time\ndef handler(event, context):\n    time.sleep(event.get('seconds', 0))\n    return event\n"


class Container:
    """Speaks to the runtime API as the container that has this token would."""

    def __init__(self, address, token):
        self._connection = http.client.HTTPConnection(*address, timeout=5)
        self._token = token

    def call(self, method, path, body=None, **headers):
        self._connection.request(method, path, body, {"Host": f"{self._token}.runtime:9001", **headers})
        answer = self._connection.getresponse()
        content = answer.read()
        self._connection.close()
        assert answer.headers["Content-Type"].startswith("application/json")  # awslambdaric crashes without
        return answer.status, json.loads(content)


@pytest.fixture
def busy(runner):
    """An invocation under way: its token and its id."""
    runner.add("sleep", HANDLER)

    def invoke():
        with contextlib.suppress(RunnerError):
            runner.invoke("sleep", seconds=1)

    thread = threading.Thread(target=invoke)
    thread.start()
    environment = wait_until(lambda: next(iter(runner.pool._environments.values()), None))
    wait_until(lambda: environment.state == "busy")
    invocation_id = environment._serving
    yield environment.token, invocation_id
    thread.join()
    runner.settled(invocation_id)


def test_it_works(runner, busy):
    token, _ = busy
    assert Container(runner.address, token).call("GET", "/2018-06-01/ping") == (200, {"status": "OK"})


@pytest.mark.parametrize("token", ["", "runtime", "f" * 32, "../x"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/2018-06-01/runtime/invocation/next"),
        ("POST", "/2018-06-01/runtime/invocation/x/response"),
        ("POST", "/2018-06-01/runtime/invocation/x/error"),
        ("POST", "/2018-06-01/runtime/init/error"),
        ("GET", "/2018-06-01/ping"),
        ("GET", "/elsewhere"),
    ],
)
def test_who_has_no_token_of_ours_gets_nothing(runner, token, method, path):
    status, body = Container(runner.address, token).call(method, path)
    assert status == 403
    assert body["errorType"] == "Forbidden"


def test_a_token_counts_only_from_its_containers_address(runner, busy):
    token, _ = busy
    environment = runner.pool.find(token)
    environment.address._result = "10.9.9.9"
    assert Container(runner.address, token).call("GET", "/2018-06-01/ping")[0] == 403
    environment.address._result = "127.0.0.1"


def test_a_second_next_before_the_answer_is_a_violation(runner, busy):
    token, _ = busy
    status, body = Container(runner.address, token).call("GET", "/2018-06-01/runtime/invocation/next")
    assert (status, body["errorType"]) == (403, "InvalidStateTransition")


@pytest.mark.parametrize("kind", ["response", "error"])
def test_an_answer_for_another_invocation_is_refused(runner, busy, kind):
    token, _ = busy
    path = f"/2018-06-01/runtime/invocation/00000000-0000-0000-0000-000000000000/{kind}"
    status, body = Container(runner.address, token).call("POST", path, b"{}")
    assert (status, body["errorType"]) == (400, "InvalidRequestID")


def test_the_first_answer_counts_and_the_second_is_refused(runner, busy):
    token, invocation_id = busy
    container = Container(runner.address, token)
    path = f"/2018-06-01/runtime/invocation/{invocation_id}/response"
    assert container.call("POST", path, b'"first"') == (202, {"status": "OK"})
    status, body = container.call("POST", path, b'"second"')
    assert (status, body["errorType"]) in {(400, "InvalidRequestID"), (403, "Forbidden")}
    assert runner.store.get(invocation_id).result == "first"


def test_an_unknown_response_mode_is_refused(runner, busy):
    token, invocation_id = busy
    status, body = Container(runner.address, token).call(
        "POST",
        f"/2018-06-01/runtime/invocation/{invocation_id}/response",
        b"1",
        **{"Lambda-Runtime-Function-Response-Mode": "telepathy"},
    )
    assert (status, body["errorType"]) == (400, "InvalidResponseMode")


@pytest.mark.parametrize(
    "path", ["/", "/2018-06-01/runtime/restore/next", "/2020-01-01/extension/register", "/2020-08-15/logs"]
)
def test_what_lambda_has_and_we_do_not_is_not_found(runner, busy, path):
    token, _ = busy
    assert Container(runner.address, token).call("GET", path)[0] == 404


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b"[" * 100_000, b"\xff"])
def test_an_error_report_that_cannot_be_read_still_fails_the_invocation(runner, busy, body):
    token, invocation_id = busy
    container = Container(runner.address, token)
    status, _ = container.call(
        "POST",
        f"/2018-06-01/runtime/invocation/{invocation_id}/error",
        body,
        **{"Lambda-Runtime-Function-Error-Type": "Runtime.Odd"},
    )
    assert status == 202
    record = runner.store.get(invocation_id)
    assert record.error["type"] == "Runtime.Odd"


def test_a_container_that_is_gone_leaves_no_open_request(runner):
    runner.add("echo", HANDLER)
    for _ in range(5):
        runner.settled(runner.invoke("echo").id)
    wait_until(lambda: len(asyncio.all_tasks(runner.runtime_api._loop)) == 0)


def test_one_address_has_only_so_many_connections(runner, monkeypatch):
    monkeypatch.setattr("function_runner.runtime_api.MAX_CONNECTIONS_PER_ADDRESS", 3)
    connections = [socket.create_connection(runner.address) for _ in range(4)]
    try:
        connections[-1].settimeout(5)
        with contextlib.suppress(ConnectionResetError):  # closed politely is closed as well
            assert connections[-1].recv(1) == b""
    finally:
        for connection in connections:
            connection.close()
    wait_until(lambda: Container(runner.address, "nobody").call("GET", "/")[0] == 403)


def test_headers_are_bounded_before_anybody_is_known(runner):
    with socket.create_connection(runner.address, timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        sent = 0
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while sent < 20_000_000:
                connection.sendall(b"X-Filler: " + b"x" * 65_000 + b"\r\n")
                sent += 65_000
        assert sent < 20_000_000


def test_a_result_counts_even_when_its_container_dies_with_it_on_the_wire(runner):
    runner.add("sleep", HANDLER)
    for _ in range(10):
        outcome = []
        thread = threading.Thread(target=lambda: outcome.append(runner.invoke("sleep", seconds=3)))  # noqa: B023
        thread.start()
        environment = wait_until(lambda: next(iter(runner.pool._environments.values()), None), every=0.01)
        wait_until(lambda: environment.state == "busy", every=0.01)  # noqa: B023
        invocation_id = environment._serving
        with socket.create_connection(runner.address) as connection:
            connection.sendall(
                f"POST /2018-06-01/runtime/invocation/{invocation_id}/response HTTP/1.1\r\n"
                f"Host: {environment.token}.runtime\r\nContent-Length: 4\r\n\r\ntrue".encode()
            )
        thread.join()
        assert outcome[0].result is True
        runner.settled(invocation_id)
