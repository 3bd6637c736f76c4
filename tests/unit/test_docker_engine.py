"""What an engine that breaks off in the middle of an answer comes to. Everything else is in the contract."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from function_runner.docker_engine import DockerEngine, _Steps
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
    spec = BuildSpec("t", "c", {}, {}, memory_bytes=0, network=None, timeout=10)
    with pytest.raises(EngineUnavailable):
        engine.build(tmp_path, spec, printed.append)
    assert printed == ["Step 1"]


BASE, ONE, TWO = "0123456789ab", "a" * 12, "b" * 12
FROM = f"Step 1/3 : FROM x\n ---> {BASE}\n"


@pytest.mark.parametrize(
    ("pieces", "stages", "last"),
    [
        ([], [], ()),
        ([FROM], [], ()),  # what it is made from is nothing that was left
        ([FROM, "Step 2/3 : COPY a b\n", f" ---> {ONE}\n", "Step 3/3 : RUN x\n"], [], (ONE,)),
        ([FROM, f" ---> Running in 9\n ---> {TWO[:5]}", TWO[5:], "\n"], [], (TWO,)),
        ([FROM, "x" * 10_000, f" ---> {ONE}\n"], [], ()),
        ([FROM, f" ---> {ONE}\n", f"Step 2/3 : from y as z\n ---> {BASE}\n"], [ONE], ()),
        ([FROM, f" ---> {ONE}\n", FROM, f" ---> {TWO}\n", FROM], [ONE, TWO], ()),
        ([FROM, FROM, f" ---> {TWO}\n"], [], (TWO,)),
    ],
)
def test_what_a_build_has_made_is_read_from_its_output(pieces, stages, last):
    steps = _Steps()
    for piece in pieces:
        steps.read(piece)
    assert (steps.stages, steps.last) == (stages, last)


def test_in_a_followed_log_it_ends_the_log(engine):
    assert b"".join(engine.follow("0")) == b"so far\n"
