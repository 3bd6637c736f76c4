"""The only door: which hosts and origins it answers, what it lets through, and how its own errors look."""

import http.client
import json
import re
import socket
import time

import pytest

from support.client import PROBLEM

ECHO = {"function": "echo", "parameters": {}}


def raw(stack, request, *, seconds=10):
    """Send bytes, return everything that comes back until the server closes or is silent."""
    with socket.create_connection(("127.0.0.1", stack.port), timeout=seconds) as connection:
        connection.sendall(request)
        received = b""
        connection.settimeout(2)
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except TimeoutError:
            pass
        return received


def status_of(answer):
    assert answer.startswith(b"HTTP/1.1 "), answer[:200]
    return int(answer.split(b" ", 2)[1])


# --- hosts


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_the_local_names_are_answered(stack, host):
    assert stack.get("/health", headers={"Host": f"{host}:{stack.port}"}).status == 200
    assert stack.get("/health", headers={"Host": host}).status == 200


@pytest.mark.parametrize("host", ["evil.test", "10.evil.example", "localhost.evil.test", "evil.test:80", "mlflow:5000"])
@pytest.mark.parametrize("path", ["/", "/invoke", "/health", "/invocations", "/mlflow/", "/docs"])
def test_foreign_hosts_are_misdirected(stack, host, path):
    method = "POST" if path == "/invoke" else "GET"

    answer = stack.request(method, path, headers={"Host": host}, json=ECHO if method == "POST" else None)

    answer.problem(421, "misdirected_request")


def test_a_foreign_absolute_address_is_misdirected(stack):
    answer = raw(stack, b"GET http://evil.test/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    assert status_of(answer) == 421


def test_no_host_is_refused(stack):
    assert status_of(raw(stack, b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n")) == 400
    assert status_of(raw(stack, b"GET /health HTTP/1.0\r\n\r\n")) in (400, 421)


# --- origins


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.test"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.test", "Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/invoke", "/functions/echo/build", "/mlflow/api/2.0/mlflow/experiments/create"])
def test_other_sites_may_not_change_anything(stack, headers, path):
    stack.post(path, json=ECHO, headers=headers).problem(403, "forbidden_origin")


def test_our_own_pages_may(stack):
    own = {"Origin": stack.url, "Sec-Fetch-Site": "same-origin"}

    assert stack.post("/invoke", json=ECHO, headers=own).status == 200


def test_a_preflight_is_granted_nothing(stack):
    answer = stack.request(
        "OPTIONS",
        "/invoke",
        headers={"Origin": "http://evil.test", "Access-Control-Request-Method": "POST"},
    )

    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


# --- routes


@pytest.mark.parametrize(
    "path",
    [
        "/2018-06-01/runtime/invocation/next",
        "/2018-06-01/runtime/init/error",
        "/runtime/invocation/next",
        "/mlflow/..%2f2018-06-01/runtime/invocation/next",
        "/.env",
        "/nothing/here",
        "/js/../../etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/css/",
    ],
)
def test_there_is_nothing_else_behind_the_door(stack, path):
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=30)
    try:
        connection.request("GET", path, headers={"Host": "localhost"})
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()

    assert response.status in (400, 403, 404), (response.status, body[:300])
    assert response.headers["Content-Type"].startswith(PROBLEM), body[:300]


def test_the_runtime_api_cannot_be_posted_to_either(stack):
    stack.post("/2018-06-01/runtime/invocation/x/response", json={}).problem(404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/invoke"), ("DELETE", "/invocations"), ("PUT", "/functions"), ("POST", "/health"), ("POST", "/models")],
)
def test_a_wrong_method_is_told_the_right_ones(stack, method, path):
    answer = stack.request(method, path)

    answer.problem(405, "method_not_allowed")
    assert answer.headers["Allow"]


@pytest.mark.parametrize("path", ["/x/../health", "//health", "/%68ealth", "/./health"])
def test_other_spellings_of_a_route_are_that_route_or_nothing(stack, path):
    answer = raw(stack, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())

    assert status_of(answer) in (200, 308, 400, 404)


@pytest.mark.parametrize(
    "path",
    [
        "/mlflow/api/2.0/mlflow/webhooks/list",
        "/mlflow/ajax-api/2.0/mlflow/webhooks/list",
        "/mlflow/api/2.0/mlflow//webhooks/list",
        "/mlflow/api/2.0/mlflow/%77ebhooks/list",
        "/mlflow/api/2.0/x/../mlflow/webhooks/list",
        "/mlflow/ajax-api/2.0/mlflow/gateway-proxy",
        "/mlflow/gateway/",
        "/mlflow/ajax-api/3.0/mlflow/scorers/list",
        "/mlflow/ajax-api/3.0/mlflow/jobs/x",
    ],
)
def test_mlflows_outgoing_doors_are_shut(stack, path):
    answer = raw(stack, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())

    assert status_of(answer) in (403, 404), answer[:300]


# --- sizes


def test_a_body_over_the_limit(stack):
    body = json.dumps({"function": "echo", "parameters": {"text": "x" * (1024 * 1024)}})

    answer = stack.post("/invoke", data=body, headers={"Content-Type": "application/json"})

    answer.problem(413, "payload_too_large")


def test_a_body_that_is_only_announced_is_refused_at_once(stack):
    started = time.monotonic()

    answer = raw(
        stack,
        b"POST /invoke HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 10737418240\r\n\r\n",
    )

    assert status_of(answer) == 413
    assert b"payload_too_large" in answer
    assert time.monotonic() - started < 5


def test_a_body_just_under_the_limit_arrives_whole(stack):
    text = "x" * (1024 * 1024 - 200)

    answer = stack.invoke("echo", {"text": text})

    assert text in json.dumps(answer.result)


def test_endless_headers_and_addresses_are_refused(stack):
    long = b"a" * 40_000

    assert status_of(raw(stack, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + long + b"\r\n\r\n")) in (400, 431)
    assert status_of(raw(stack, b"GET /health?" + long + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")) in (400, 414)


# --- two requests in one


BODY = b'{"function":"echo","parameters":{}}'


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 35\r\n",
        b"Content-Length: +35\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 3 5\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"X: a\r\n folded\r\nContent-Length : 35\r\n",
    ],
    ids=lambda framing: framing.decode().strip(),
)
def test_a_request_with_doubtful_ends_is_refused_once(stack, framing):
    answer = raw(
        stack,
        b"POST /invoke HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + framing + b"\r\n" + BODY,
    )

    assert status_of(answer) in (400, 501)
    assert answer.count(b"HTTP/1.1 ") == 1


# --- headers


def test_the_dashboard_has_a_strict_policy(stack):
    answer = stack.get("/")

    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";") if part.strip()
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["style-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == "'none'"
    assert policy["form-action"] == "'none'"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/", "/health", "/docs", "/openapi.json", "/nothing", "/invocations/unknown"])
def test_headers_that_every_answer_carries(stack, path):
    headers = stack.get(path).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert not re.search(r"\d", headers.get("Server", "")), headers["Server"]
    assert len(headers["Content-Security-Policy"].split(",")) == 1


def test_mlflow_may_only_be_framed_by_us(stack):
    headers = stack.get("/mlflow/").headers

    assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]


def test_the_page_asks_only_this_server(stack):
    html = stack.get("/").text

    for address in re.findall(r"""(?:src|href)=["']([^"']+)["']""", html):
        assert not re.match(r"(https?:)?//", address), address
        if not address.startswith(("#", "/mlflow", "data:")):
            assert stack.get("/" + address.lstrip("./")).status == 200, address


# --- the inner door stays inside


def test_only_nginx_publishes_a_port(stack):
    for service in ("runner", "mlflow"):
        assert not any(stack.container(service)["HostConfig"]["PortBindings"] or {}), service
    bindings = stack.container("nginx")["HostConfig"]["PortBindings"]
    published = [binding for entry in bindings.values() for binding in entry]
    assert published == [{"HostIp": "127.0.0.1", "HostPort": str(stack.port)}]


def test_nginx_does_not_stand_in_the_functions_network(stack):
    networks = stack.container("nginx")["NetworkSettings"]["Networks"]

    assert f"{stack.name}-functions" not in networks
