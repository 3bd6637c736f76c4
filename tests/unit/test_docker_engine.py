"""What an engine that breaks off in the middle of an answer comes to. Everything else is in the contract."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from function_runner.docker_engine import DockerEngine, _Layers
from function_runner.docker_spec import BuildSpec
from function_runner.errors import EngineUnavailable


class BreaksOff(BaseHTTPRequestHandler):
    """Says that it is an engine, and of every stream sends one piece and the beginning of the next."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.endswith("/logs") or "/logs?" in self.path:
            self._break_off(b"so far\n")
            return
        body = {"ApiVersion": "1.41", "Id": "0", "Config": {"Tty": False}}
        self._answer(json.dumps(body).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._break_off(b'{"stream": "Step 1"}\n')

    def log_message(self, *_: object) -> None:
        """Nothing: tests are quiet."""

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _break_off(self, piece: bytes) -> None:
        if self.path.find("/logs") >= 0:  # framed, as the output of a container without a terminal is
            piece = b"\x01\0\0\0" + len(piece).to_bytes(4, "big") + piece
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" + b"ff\r\nhalf")
        self.close_connection = True


@pytest.fixture
def engine() -> Iterator[DockerEngine]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BreaksOff)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found = DockerEngine(f"tcp://127.0.0.1:{server.server_port}", stack="smlops", network="functions")
    yield found
    found.close()
    server.shutdown()
    server.server_close()


def test_during_a_build_it_is_an_engine_that_does_not_answer(engine, tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    printed = []
    spec = BuildSpec("t", "f", {}, {}, memory_bytes=0, network=None, timeout=10)
    with pytest.raises(EngineUnavailable):
        engine.build(tmp_path, spec, printed.append)
    assert printed == ["Step 1"]


@pytest.mark.parametrize(
    ("pieces", "last"),
    [
        ([" ---> 0123456789ab\n"], None),  # what it is made from is nothing that was left
        (
            [" ---> 0123456789ab\n", "Step 2/3 : COPY a b\n", " ---> aaaaaaaaaaaa\n", "Step 3/3 : RUN x\n"],
            "aaaaaaaaaaaa",
        ),
        ([" ---> 0123456789ab\n ---> Running in 9\n ---> bb", "bbbbbbbbbb", "\n"], "bbbbbbbbbbbb"),
        ([" ---> 0123456789ab\n", "x" * 10_000, " ---> cccccccccccc\n"], None),
        ([], None),
    ],
)
def test_the_last_layer_of_a_build_is_read_from_its_output(pieces, last):
    layers = _Layers()
    for piece in pieces:
        layers.read(piece)
    assert layers.last == last


def test_in_a_followed_log_it_ends_the_log(engine):
    assert b"".join(engine.follow("0")) == b"so far\n"
