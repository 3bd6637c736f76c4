"""A kept-open HTTP connection that does nothing but what a request needs: the same client for everyone measured."""

import json
import socket
import time
from dataclasses import dataclass, field
from typing import Any, Self

PATIENCE_SECONDS = 400.0


@dataclass(frozen=True)
class Answer:
    """One answer, and when its request was sent and its last byte was there (on `time.perf_counter`)."""

    status: int
    headers: dict[str, str]
    body: bytes
    sent_at: float
    received_at: float

    @property
    def seconds(self) -> float:
        """From the first byte sent to the last byte received."""
        return self.received_at - self.sent_at

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Target:
    """One request that can be sent any number of times."""

    port: int
    path: str
    body: bytes = b""
    method: str = "POST"
    request: bytes = field(init=False)

    def __post_init__(self) -> None:
        head = (
            f"{self.method} {self.path} HTTP/1.1\r\nHost: localhost:{self.port}\r\n"
            f"Content-Type: application/json\r\nAccept: application/json\r\nContent-Length: {len(self.body)}\r\n\r\n"
        )
        object.__setattr__(self, "request", head.encode() + self.body)

    @classmethod
    def post(cls, port: int, path: str, body: Any) -> "Target":
        """A POST of this value as JSON."""
        return cls(port, path, json.dumps(body).encode())

    @classmethod
    def get(cls, port: int, path: str) -> "Target":
        """A GET."""
        return cls(port, path, method="GET")


class Connection:
    """To one port of this machine. Not to be shared between threads."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, target: Target) -> Answer:
        """Send the request and wait for the whole answer."""
        sent_at = time.perf_counter()
        self._socket.sendall(target.request)
        head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b"".join(iter(self._chunk, b""))
        else:
            body = self._exactly(int(headers.get("content-length", 0)))
        return Answer(int(head[0].split()[1]), headers, body, sent_at, time.perf_counter())

    def _chunk(self) -> bytes:
        size = int(self._until(b"\r\n").split(b";")[0], 16)
        return self._exactly(size + 2)[:size]

    def _until(self, end: bytes) -> bytes:
        while end not in self._rest:
            self._receive()
        found, _, self._rest = self._rest.partition(end)
        return found

    def _exactly(self, count: int) -> bytes:
        while len(self._rest) < count:
            self._receive()
        found, self._rest = self._rest[:count], self._rest[count:]
        return found

    def _receive(self) -> None:
        received = self._socket.recv(65536)
        if not received:
            raise ConnectionError("the server closed the connection")
        self._rest += received


def send_once(target: Target) -> Answer:
    """Send on a connection of its own."""
    with Connection(target.port) as connection:
        return connection.send(target)
