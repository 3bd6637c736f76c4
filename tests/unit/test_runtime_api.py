"""The inner door, spoken to in raw HTTP: what a container may do, and what nobody may."""

import contextlib
import gc
import hashlib
import http.client
import json
import socket
import threading
import warnings

import pytest

from function_runner import runtime_api
from function_runner.errors import RunnerError
from support.handlers import SLEEP
from support.waiting import wait_until

HANDLER = SLEEP.replace("return 'slept'", "return event")
SECONDS = 30  # after which a socket is given up


class Container:
    """Speaks to the runtime API as the container that has this token would."""

    def __init__(self, address, token):
        self._connection = http.client.HTTPConnection(*address, timeout=SECONDS)
        self._token = token

    def call(self, method, path, body=None, **headers):
        with contextlib.closing(self._connection):
            self._connection.request(method, path, body, {"Host": f"{self._token}.runtime:9001", **headers})
            answer = self._connection.getresponse()
            content = answer.read()
        assert answer.headers["Content-Type"].startswith("application/json")  # awslambdaric crashes without
        return answer.status, json.loads(content)


def at_work(runner):
    """The environment that has an invocation, once there is one. One that has ended may be there as well."""

    def found():
        environments = list(runner.pool._planner.environments.values())
        return next((one for one in environments if one.state == "busy" and one._serving), None)

    return wait_until(found, every=0.01, what="a container is at work")


@pytest.fixture
def busy(runner):
    """An invocation under way: its token and its id."""
    runner.add("sleep", HANDLER)

    def invoke():
        with contextlib.suppress(RunnerError):
            runner.invoke("sleep", **runner.until_woken())

    thread = threading.Thread(target=invoke)
    thread.start()
    environment = at_work(runner)
    invocation_id = environment._serving
    yield environment.token, invocation_id
    runner.wake()
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
    wait_until(lambda: runner.runtime_api.open_connections == 0)


def test_one_address_has_only_so_many_connections(runner, monkeypatch):
    monkeypatch.setattr("function_runner.runtime_api.MAX_CONNECTIONS_PER_ADDRESS", 3)
    connections = [socket.create_connection(runner.address) for _ in range(4)]
    try:
        connections[-1].settimeout(SECONDS)
        with contextlib.suppress(ConnectionResetError):  # closed politely is closed as well
            assert connections[-1].recv(1) == b""
    finally:
        for connection in connections:
            connection.close()

    def is_answered():
        with contextlib.suppress(ConnectionError):  # they have not been missed yet
            return Container(runner.address, "nobody").call("GET", "/")[0] == 403

    wait_until(is_answered)


def test_who_comes_in_the_moment_it_stops_is_closed_as_well(runner):
    loop, clients = runner.runtime_api._loop, []

    def come_and_stop():
        clients.extend(socket.create_connection(runner.address, timeout=SECONDS) for _ in range(3))
        loop.call_soon(loop.stop)  # in the round of the loop that accepts them

    loop.call_soon_threadsafe(come_and_stop)
    runner.runtime_api._thread.join()
    with warnings.catch_warnings(record=True) as left_open:
        warnings.simplefilter("always", ResourceWarning)
        gc.collect()
    ours = f"laddr={runner.address}"  # another test may have left something too
    assert [str(warning.message) for warning in left_open if ours in str(warning.message)] == []
    for client in clients:
        with client, contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""


def test_headers_are_bounded_before_anybody_is_known(runner):
    with socket.create_connection(runner.address, timeout=SECONDS) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        sent = 0
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while sent < 20_000_000:
                connection.sendall(b"X-Filler: " + b"x" * 65_000 + b"\r\n")
                sent += 65_000
        assert sent < 20_000_000


def test_a_result_counts_even_when_its_container_dies_with_it_on_the_wire(runner):
    runner.add("sleep", HANDLER)
    until_the_end = runner.until_woken()
    for _ in range(10):
        outcome = []
        thread = threading.Thread(target=lambda: outcome.append(runner.invoke("sleep", **until_the_end)))  # noqa: B023
        thread.start()
        environment = at_work(runner)
        invocation_id = environment._serving
        with socket.create_connection(runner.address) as connection:
            connection.sendall(
                f"POST /2018-06-01/runtime/invocation/{invocation_id}/response HTTP/1.1\r\n"
                f"Host: {environment.token}.runtime\r\nContent-Length: 4\r\n\r\ntrue".encode()
            )
        thread.join()
        assert outcome[0].result is True
        runner.settled(invocation_id)
    runner.wake()


def response(invocation_id, token, headers="", body=b""):
    """A result as raw bytes."""
    path = f"/2018-06-01/runtime/invocation/{invocation_id}/response"
    return f"POST {path} HTTP/1.1\r\nHost: {token}.runtime\r\n{headers}\r\n".encode() + body


def status_of(connection):
    """The status of the next answer; None when the connection was closed instead."""
    connection.settimeout(SECONDS)
    try:
        line = connection.recv(65536).split(b"\r\n")[0]
    except ConnectionResetError:
        return None
    return int(line.split()[1]) if line else None


def test_a_result_may_come_in_pieces_of_unknown_number(runner, busy):
    token, invocation_id = busy
    with socket.create_connection(runner.address) as connection:
        connection.sendall(response(invocation_id, token, "Transfer-Encoding: chunked\r\n"))
        for piece in (b'1\r\n"\r\n', b"3\r\nyes\r\n", b'1\r\n"\r\n', b"0\r\n\r\n"):
            connection.sendall(piece)
        assert status_of(connection) == 202
    assert runner.store.get(invocation_id).result == "yes"


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(runner, busy):
    token, invocation_id = busy
    with socket.create_connection(runner.address) as connection:
        connection.sendall(response(invocation_id, token, "Expect: 100-continue\r\nContent-Length: 4\r\n"))
        assert status_of(connection) == 100
        connection.sendall(b"true")
        assert status_of(connection) == 202
    assert runner.store.get(invocation_id).result is True


def test_of_a_result_that_is_too_large_nothing_is_kept(make_runner):
    runner = make_runner(result_max_bytes=5000)
    runner.add("sleep", HANDLER)
    outcome = []

    def invoke():
        try:
            runner.invoke("sleep", **runner.until_woken())
        except RunnerError as error:
            outcome.append(error.code)

    thread = threading.Thread(target=invoke)
    thread.start()
    environment = at_work(runner)
    with socket.create_connection(runner.address) as connection:
        size = 20_000_000
        connection.sendall(response(environment._serving, environment.token, f"Content-Length: {size}\r\n"))
        held = next(iter(c for c in runner.runtime_api._connections if c._transport), None)
        for _ in range(size // 100_000):
            connection.sendall(b"x" * 100_000)
        assert status_of(connection) == 413
        assert held is None or len(held._body) <= 5000
    thread.join()
    assert outcome == ["result_too_large"]
    runner.wake()


def test_who_says_more_while_it_waits_is_cut_off(runner):
    runner.add("sleep", HANDLER, "warm: 1")
    environment = wait_until(lambda: next(iter(runner.pool._planner.environments.values()), None))
    wait_until(lambda: environment.state == "ready", every=0.01)
    ask = f"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: {environment.token}.runtime\r\n\r\n".encode()
    with socket.create_connection(runner.address) as connection:
        connection.sendall(ask)
        sent = 0
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while sent < 20_000_000:
                connection.sendall(b"x" * 65_000)
                sent += 65_000
        assert sent < 20_000_000


def test_a_ready_container_that_hangs_up_is_not_used(runner):
    runner.add("sleep", HANDLER, "warm: 1")
    environment = wait_until(lambda: next(iter(runner.pool._planner.environments.values()), None))
    wait_until(lambda: runner.pool.statistics("sleep").ready == 1, every=0.01)
    container = next(iter(runner.engine._containers.values()))
    container.connection.sock.shutdown(socket.SHUT_RDWR)  # before the engine knows that the process is over
    wait_until(lambda: environment.state == "gone", every=0.001)
    assert runner.invoke("sleep").container_name != environment.name


def test_what_is_not_http_is_refused(runner):
    with socket.create_connection(runner.address) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert status_of(connection) in (400, None)
    assert Container(runner.address, "nobody").call("GET", "/")[0] == 403


def test_an_event_larger_than_what_a_socket_takes_at_once_arrives_whole(runner, monkeypatch):
    sent = []
    original = runtime_api._Direct.send

    def send(self, data):
        sent.append((len(data), original(self, data)))
        return sent[-1][1]

    monkeypatch.setattr(runtime_api._Direct, "send", send)
    runner.add(
        "digest",
        "import hashlib\ndef handler(event, context):\n    return hashlib.sha256(event['text'].encode()).hexdigest()\n",
    )
    text = "".join(str(number) for number in range(1_500_000))
    assert runner.invoke("digest", text=text).result == hashlib.sha256(text.encode()).hexdigest()
    assert any(0 < taken < length for length, taken in sent), sent
