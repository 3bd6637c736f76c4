"""Gunicorn with our worker, in a process of its own, on a socket of its own."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from support.paths import ROOT
from support.waiting import wait_until

MAX_WAITING_THREADS = 32  # as in connection_worker.py; there are only 4 threads beside them
APPLICATION = """
import json, os, threading, time

def app(environ, start_response):
    body = environ["wsgi.input"].read() if environ["PATH_INFO"] == "/read" else b""
    time.sleep(float(environ["QUERY_STRING"] or 0))
    if environ["PATH_INFO"] == "/wait":  # says that it has begun, and goes on when it may
        open("begun", "w").close()
        gives_up_at = time.monotonic() + 60
        while not os.path.exists("go-on") and time.monotonic() < gives_up_at:
            time.sleep(0.02)
    answer = json.dumps({"thread": threading.get_ident(), "length": len(body)}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]
"""


class Client(http.client.HTTPConnection):
    """A kept connection to a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))

    def get(self, path="/", body=None):
        """The answer's JSON."""
        self.request("POST" if body else "GET", path, body)
        answer = self.getresponse()
        assert answer.status == 200
        return json.loads(answer.read())


def is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    (tmp_path / "application.py").write_text(APPLICATION)
    path = tmp_path / "s"
    options = ["--worker-class", "connection_worker.ConnectionWorker", "--threads", str(MAX_WAITING_THREADS + 4)]
    options += [
        "--worker-connections",
        "1000",
        "--keep-alive",
        "75",
        "--graceful-timeout",
        "60",
        "--bind",
        f"unix:{path}",
    ]
    search = os.pathsep.join([str(ROOT / "function-runner"), str(tmp_path)])
    with subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *options, "--worker-tmp-dir", str(tmp_path), "application:app"],
        env={**os.environ, "PYTHONPATH": search},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            wait_until(lambda: is_listening(path), seconds=60, what="gunicorn listens")
            yield process, path
        finally:
            process.kill()


def test_it_works(server):
    with closing(Client(server[1])) as client:
        assert client.get()["length"] == 0
        assert client.get("/read", b"x" * 100_000)["length"] == 100_000


def test_a_connection_stays_with_its_thread(server):
    with closing(Client(server[1])) as client, closing(Client(server[1])) as other:
        threads = [client.get()["thread"] for _ in range(10)]
        assert len(set(threads)) == 1
        assert other.get()["thread"] != threads[0]


def test_a_body_that_nobody_read_is_not_taken_for_the_next_request(server):
    with closing(Client(server[1])) as client:
        assert client.get("/", b"GET / HTTP/1.1\r\n\r\n")["length"] == 0
        assert client.get("/read", b"abc")["length"] == 3


def test_two_requests_in_one_piece_are_both_answered(server):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(server[1]))
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2)
        received = b""
        while received.count(b'"length"') < 2:
            more = client.recv(65536)
            assert more
            received += more


def test_more_kept_connections_than_threads_are_all_served(server):
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(Client(server[1]))) for _ in range(2 * MAX_WAITING_THREADS)]
        for _ in range(3):
            for client in clients:
                client.get()
        # Those that wait do not take a thread from those that are served.
        with closing(Client(server[1])) as another:
            assert another.get("/?0.1")["thread"]


def test_a_connection_that_the_client_closes_frees_its_thread(server):
    for _ in range(3 * MAX_WAITING_THREADS):
        with closing(Client(server[1])) as client:
            client.get()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGQUIT])
def test_kept_connections_do_not_hold_up_the_end(server, stop):
    process, path = server
    with closing(Client(path)) as client:
        client.get()
        began = time.monotonic()
        process.send_signal(stop)
        assert process.wait(timeout=90) == 0
        assert time.monotonic() - began < 30


def test_what_runs_is_answered_before_the_end_and_told_to_close(server):
    process, path = server
    with closing(Client(path)) as client:
        client.get()
        client.request("GET", "/wait")
        wait_until((path.parent / "begun").exists)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: not is_listening(path), what="nobody is let in any more")
        (path.parent / "go-on").touch()
        answer = client.getresponse()
        assert answer.status == 200
        assert process.wait(timeout=90) == 0
