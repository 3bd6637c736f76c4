"""The inner door: the AWS Lambda Runtime API, version 2018-06-01, as containers see it.

Every waiting container holds a request open here, so this is an asyncio server in a thread of its own: Flask's threads
never wait with it. It listens on the functions' network only. A container is recognised by the token in the host name
it calls *and* by its address on that network; both must belong to the same execution environment.

Each invocation passes through here twice, so a connection does no more than the protocol asks for: HTTP is parsed by
``httptools`` (llhttp, the parser of Node.js), and what is answered is written down below.

What a container waits for (its next invocation, the word that its result is the record) is written to it by whoever
brings that, in his own thread: waking the loop for it would take as long again.

What is inside a container counts as hostile: how many connections it may have, and how large its headers and bodies
may be, is bounded before anything is kept.

Protocol: AWS, "Lambda runtime API" (OpenAPI 1.0.3). Every answer carries a Content-Type, errors too: without one, the
native client of ``awslambdaric`` crashes.
"""

import asyncio
import contextlib
import json
import logging
import re
import socket
import threading
import time
from asyncio.trsock import TransportSocket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from http import HTTPStatus
from typing import Any, TypeVar

import httptools

from function_runner.execution_environment import ExecutionEnvironment, ProtocolViolation, Work
from function_runner.settings import MEBIBYTE, Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

VERSION = "/2018-06-01"
FUNCTION_ARN = "arn:aws:lambda:local:000000000000:function"
ADDRESS_PATIENCE_SECONDS = 10.0  # a quick container may call before the engine has told us its address

# awslambdaric repeats the whole report of an exception in one header, up to 1 MiB of it.
MAX_HEAD_BYTES = MEBIBYTE + 64 * 1024
MAX_HEADERS = 64
# A container needs two: its native client's, and its Python client's for an error while loading.
MAX_CONNECTIONS_PER_ADDRESS = 8
MAX_REFUSALS_NOTED = 20  # a minute

_NEXT = f"{VERSION}/runtime/invocation/next"
_INIT_ERROR = f"{VERSION}/runtime/init/error"
_PING = f"{VERSION}/ping"
_ANSWER = re.compile(VERSION + r"/runtime/invocation/([^/]+)/(response|error)")
_OK = b'{"status": "OK"}'

Finder = Callable[[str], ExecutionEnvironment | None]


def listen(host: str, port: int) -> socket.socket:
    """The listening socket of the runtime API; its address is known before anything is served on it."""
    return socket.create_server((host, port), backlog=1024)


class RuntimeApi:
    """Serves the runtime API in its own thread."""

    def __init__(self, settings: Settings, listener: socket.socket, find: Finder) -> None:
        """Prepare to serve on ``listener``.

        Args:
            listener: where to serve, see `listen`.
            find: the environment that a token belongs to.
        """
        self._limit = settings.result_max_bytes
        self._listener = listener
        self._find = find
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="runtime-api", daemon=True)
        self._started: Future[None] = Future()
        # Touched by the loop's thread only:
        self._connections: set[_Connection] = set()
        self._by_address: Counter[str] = Counter()
        self._refusals = Counter[int]()  # by minute; only the present one is kept

    def start(self) -> None:
        """Serve until `stop`. Returns when requests are answered, and raises what prevents that."""
        self._thread.start()
        self._started.result()

    def stop(self) -> None:
        """Stop serving; containers that still wait see their connection close and end by themselves."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    @property
    def open_connections(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    def find(self, token: str) -> ExecutionEnvironment | None:
        """The environment that this token belongs to."""
        return self._find(token)

    @property
    def thread_id(self) -> int | None:
        """Of the loop's thread."""
        return self._thread.ident

    @property
    def limit(self) -> int:
        """The most bytes a result may have."""
        return self._limit

    def enter(self, connection: "_Connection") -> bool:
        """A connection was made. False: its address has too many."""
        self._connections.add(connection)
        self._by_address[connection.peer] += 1
        return self._by_address[connection.peer] <= MAX_CONNECTIONS_PER_ADDRESS

    def leave(self, connection: "_Connection") -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        self._by_address[connection.peer] -= 1
        if not self._by_address[connection.peer]:
            del self._by_address[connection.peer]

    def note_refusal(self, peer: str, path: str, environment: ExecutionEnvironment | None) -> None:
        """A line in our log, but not as many as a container likes."""
        minute = int(time.monotonic() // 60)
        self._refusals = Counter({minute: self._refusals[minute] + 1})
        if self._refusals[minute] <= MAX_REFUSALS_NOTED:
            log.warning(
                "runtime API refused a call from %s to %s",
                peer,
                path[:100],
                extra={"action": "runtime_api_refused", "container": environment.name if environment else None},
            )

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            server = self._loop.run_until_complete(
                self._loop.create_server(lambda: _Connection(self, self._loop), sock=self._listener)
            )
        except BaseException as error:
            self._started.set_exception(error)
            raise
        self._started.set_result(None)
        self._loop.run_forever()
        # Accept nobody more; but let those who were accepted in the last moment become connections: a server that is
        # closed forgets them as they are, open.
        self._loop.remove_reader(self._listener)
        if accepting := asyncio.all_tasks(self._loop):
            self._loop.run_until_complete(asyncio.wait(accepting))
        server.close()
        for connection in list(self._connections):
            connection.abort()
        self._loop.run_until_complete(asyncio.sleep(0))  # lets the connections close
        self._loop.close()


class _Connection(asyncio.Protocol):
    """One connection of a container: one request at a time."""

    def __init__(self, api: RuntimeApi, loop: asyncio.AbstractEventLoop) -> None:
        self.peer = ""
        self._api = api
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._direct = _Direct()
        self._parser = httptools.HttpRequestParser(self)
        self._is_answering = False
        self._waits_for_work: ExecutionEnvironment | None = None
        self._forget_request()

    def _forget_request(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = 0
        self._is_in_head = True
        self._body = bytearray()
        self._is_too_large = False

    # --- called by the loop -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self.peer = transport.get_extra_info("peername")[0]
        self._direct.open(transport.get_extra_info("socket"))
        if not self._api.enter(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop passes it
        self._transport = None
        self._direct.close()
        self._api.leave(self)
        waiting, self._waits_for_work = self._waits_for_work, None
        if waiting is not None:
            # Its process hung up, so it is ending; nobody should be sent to it any more.
            waiting.lose_connection()

    def data_received(self, data: bytes) -> None:
        if self._is_answering:  # it has asked for something and says more: no client of this protocol does that
            self.abort()
            return
        if self._is_in_head:
            self._head_bytes += len(data)  # the body's beginning may be among it, which makes no difference
            if self._head_bytes > MAX_HEAD_BYTES:
                self.abort()
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.abort()
        except httptools.HttpParserCallbackError:  # a bug of ours
            log.exception("runtime API failed", extra={"action": "runtime_api_failed"})
            self.abort()
        except httptools.HttpParserError:
            if self._transport is not None:
                self._refuse(400, "BadRequest", "This is not HTTP.", keep_alive=False)

    # --- called by the parser -----------------------------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self._headers) >= MAX_HEADERS:
            self.abort()
            return
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        if self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._is_too_large:
            return
        if len(self._body) + len(body) > self._api.limit:
            # The rest is read and thrown away: who is still sending does not listen.
            self._is_too_large = True
            self._body.clear()
            return
        self._body += body

    def on_message_complete(self) -> None:
        if self._is_answering:  # two requests at once
            self.abort()
            return
        self._is_answering = True
        self._identify()

    # --- who is it ----------------------------------------------------------------------------------------------------

    def _identify(self) -> None:
        """Go on as the environment whose container this is."""
        host = self._headers.get(b"host", b"").decode("latin-1")
        environment = self._api.find(host.partition(".")[0])
        if environment is None:
            self._forbid(None)
            return
        # Known already, but for the first call of a quick container: then nothing is waited for, and a container that
        # dies with its last word on the wire has still said it.
        if environment.address.done():
            self._check_address(environment)
            return
        patience = self._loop.call_later(ADDRESS_PATIENCE_SECONDS, self._forbid, environment)

        def check(_: Any) -> None:
            if not patience.cancelled() and patience.when() > self._loop.time():
                patience.cancel()
                self._check_address(environment)

        self._when_done(environment.address, check)

    def _check_address(self, environment: ExecutionEnvironment) -> None:
        if environment.address.result() == self.peer:
            self._route(environment)
        else:
            self._forbid(environment)

    def _forbid(self, environment: ExecutionEnvironment | None) -> None:
        self._api.note_refusal(self.peer, self._path, environment)
        self._refuse(403, "Forbidden", "This is not your invocation.")

    # --- what does it want --------------------------------------------------------------------------------------------

    @property
    def _path(self) -> str:
        return self._url.decode("latin-1").partition("?")[0]

    def _route(self, environment: ExecutionEnvironment) -> None:
        path = self._path
        match self._parser.get_method(), path:
            case b"GET", path if path == _NEXT:
                self._next(environment)
            case b"POST", path if path == _INIT_ERROR:
                environment.take_init_error(self._error_report())
                self._answer(202, _OK)
            case b"GET", path if path == _PING:
                self._answer(200, _OK)
            case b"POST", path if answered := _ANSWER.fullmatch(path):
                self._take_answer(environment, *answered.groups())
            case _:
                self._refuse(404, "NotFound", "The runtime API has no such route.")

    def _next(self, environment: ExecutionEnvironment) -> None:
        if self._transport is None:  # it hung up before it was recognised
            return
        try:
            waiting = environment.ask_for_work()
        except ProtocolViolation as error:
            self._refuse(403, "InvalidStateTransition", str(error))
            return
        self._waits_for_work = environment
        self._when_done(waiting, self._hand_over, here=True)

    def _hand_over(self, work: Work | None) -> None:
        environment, self._waits_for_work = self._waits_for_work, None
        if environment is None:
            return  # it hung up
        if work is None:
            self._refuse(410, "Gone", "This execution environment is over.")
            return
        headers = {
            "Lambda-Runtime-Aws-Request-Id": work.invocation_id,
            "Lambda-Runtime-Deadline-Ms": str(work.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": f"{FUNCTION_ARN}:{environment.function.name}",
        }
        if work.model is not None:
            # AWS's place for what a caller knows beside the event: context.client_context.custom in the handler.
            model = {"name": work.model.name, "version": work.model.version}
            headers["Lambda-Runtime-Client-Context"] = json.dumps({"custom": {"model": model}})
        self._answer(200, work.event, headers)

    def _take_answer(self, environment: ExecutionEnvironment, invocation_id: str, kind: str) -> None:
        if not environment.is_serving(invocation_id):
            self._refuse(400, "InvalidRequestID", "Invalid request ID")
            return
        if kind == "error":
            self._when_done(environment.take_error(self._error_report()), self._accept, here=True)
            return
        mode = self._headers.get(b"lambda-runtime-function-response-mode", b"").decode("latin-1")
        if mode not in ("", "streaming"):
            self._refuse(400, "InvalidResponseMode", f"Unknown response mode {mode[:40]!r}")
        elif self._is_too_large:
            limit = self._api.limit
            environment.take_oversized_result(limit)
            self._refuse(413, "RequestEntityTooLarge", f"Exceeded maximum allowed payload size ({limit} bytes).")
        else:
            self._when_done(environment.take_result(bytes(self._body)), self._accept, here=True)

    def _accept(self, is_record: bool) -> None:
        """Answer the container only when its result is the record: 202 promises that nothing will be lost."""
        if is_record:
            self._answer(202, _OK)
        else:
            self._refuse(400, "InvalidRequestID", "The invocation has ended already.")

    def _error_report(self) -> dict[str, Any]:
        """The body of an error call. What cannot be read is still reported, under the type the header names."""
        try:
            report = json.loads(self._body)
        except (ValueError, RecursionError):
            report = None
        if isinstance(report, dict):
            return report
        kind = self._headers.get(b"lambda-runtime-function-error-type", b"Runtime.Unknown").decode("latin-1")
        return {"errorType": kind, "errorMessage": "The function reported an error that cannot be read."}

    # --- answering ----------------------------------------------------------------------------------------------------

    def _when_done(self, future: Future[T], go_on: Callable[[T], None], *, here: bool = False) -> None:
        """Go on with the future's result; at once when it is there already.

        Args:
            here: in the thread that sets the result. The loop touches nothing of a connection whose container waits,
                unless that hangs up or breaks the protocol; so ``go_on`` may do no more than answer.
        """
        if future.done():
            go_on(future.result())
            return
        if here:
            future.add_done_callback(lambda done: go_on(done.result()))
            return

        def hand_to_loop(done: Future[T]) -> None:
            try:
                self._loop.call_soon_threadsafe(go_on, done.result())
            except RuntimeError:  # the loop is closed: nobody listens any more
                log.debug("an answer came after the end")

        future.add_done_callback(hand_to_loop)

    def _refuse(self, status: int, kind: str, message: str, *, keep_alive: bool = True) -> None:
        body = json.dumps({"errorType": kind, "errorMessage": message}).encode()
        self._answer(status, body, keep_alive=keep_alive)

    def _answer(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, *, keep_alive: bool = True
    ) -> None:
        keep_alive = keep_alive and self._parser.should_keep_alive()
        head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "Content-Type: application/json"]
        head += [f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in (headers or {}).items())]
        if not keep_alive:
            head.append("Connection: close")
        # Ready for the next request before its client can have an answer to this one.
        self._is_answering = False
        self._forget_request()
        data = "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body
        if threading.get_ident() == self._api.thread_id:
            self._write(data)
            if not keep_alive:
                self._close()
        else:
            self._write_directly(data, keep_alive)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _write_directly(self, data: bytes, keep_alive: bool) -> None:
        """From another thread. What there is no room for is the loop's."""
        transport = self._transport
        if transport is None:
            return
        if transport.get_write_buffer_size() == 0:
            data = data[self._direct.send(data) :]
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            if data:
                self._loop.call_soon_threadsafe(self._write, data)
            if not keep_alive:
                self._loop.call_soon_threadsafe(self._close)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection at once."""
        self._direct.close()
        if self._transport is not None:
            self._transport.abort()


class _Direct:
    """A second handle on a connection's socket, for threads other than the loop's."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()  # nobody writes to a number that is another connection's by now

    def open(self, transport_socket: TransportSocket) -> None:
        """From now on."""
        self._socket = transport_socket.dup()

    def close(self) -> None:
        """No more."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def send(self, data: bytes) -> int:
        """Send what there is room for, without waiting; returns how much that was."""
        with self._lock:
            if self._socket is None:
                return len(data)  # it hung up: nobody is there to miss it
            try:
                return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return 0
            except OSError:  # it has just hung up, which the loop will notice
                return len(data)
