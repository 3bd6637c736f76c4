"""The inner door: the AWS Lambda Runtime API, version 2018-06-01, as containers see it.

Every waiting container holds a request open here, so this is an asyncio server in a thread of its own: Flask's threads
never wait with it. It listens on the functions' network only. A container is recognised by the token in the host name
it calls *and* by its address on that network; both must belong to the same execution environment.

What is inside a container counts as hostile: how many connections it may have, and how large its headers and bodies
may be, is bounded before anything is read.

Protocol: AWS, "Lambda runtime API" (OpenAPI 1.0.3). Every answer carries a Content-Type, errors too: without one, the
native client of ``awslambdaric`` crashes.
"""

import asyncio
import json
import logging
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from function_runner.execution_environment import ExecutionEnvironment, ProtocolViolation
from function_runner.settings import MEBIBYTE, Settings

log = logging.getLogger(__name__)

VERSION = "/2018-06-01"
SHUTDOWN_SECONDS = 0.1  # those who wait for work would wait for ever (and so would aiohttp, told 0)
ADDRESS_PATIENCE_SECONDS = 10.0  # a quick container may call before the engine has told us its address

# awslambdaric repeats the whole report of an exception in one header, up to 1 MiB of it.
MAX_HEADER_BYTES = MEBIBYTE + 64 * 1024
MAX_HEADERS = 64
# A container needs two: its native client's, and its Python client's for an error while loading.
MAX_CONNECTIONS_PER_ADDRESS = 8
FUNCTION_ARN = "arn:aws:lambda:local:000000000000:function"
MAX_REFUSALS_NOTED = 20  # a minute

_ANSWER = re.compile(VERSION + r"/runtime/invocation/([^/]+)/(response|error)")

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

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = _Server(
            self._handle,
            request_factory=self._make_request,
            loop=self._loop,
            logger=_server_log(),
            access_log=None,
            handler_cancellation=True,  # so that a container that hangs up while it waits is noticed
            keepalive_timeout=3600,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
        )
        runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_SECONDS)
        try:
            self._loop.run_until_complete(runner.setup())
            self._loop.run_until_complete(web.SockSite(runner, self._listener).start())
        except BaseException as error:
            self._started.set_exception(error)
            raise
        self._started.set_result(None)
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.run_until_complete(_end(asyncio.all_tasks(self._loop)))
        self._loop.close()

    def _make_request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        # The largest body is a result of exactly the limit; one byte more is answered with 413.
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop, client_max_size=self._limit + 1)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        environment = await self._identify(request)
        if environment is None:
            return _refuse(403, "Forbidden", "This is not your invocation.")
        match request.method, request.path:
            case "GET", "/2018-06-01/runtime/invocation/next":
                return await _next(environment)
            case "POST", "/2018-06-01/runtime/init/error":
                environment.take_init_error(await _error_report(request))
                return _answer(202, {"status": "OK"})
            case "GET", "/2018-06-01/ping":
                return _answer(200, {"status": "OK"})
            case "POST", path if answered := _ANSWER.fullmatch(path):
                return await self._take_answer(environment, request, *answered.groups())
            case _:
                return _refuse(404, "NotFound", "The runtime API has no such route.")

    async def _take_answer(
        self, environment: ExecutionEnvironment, request: web.BaseRequest, invocation_id: str, kind: str
    ) -> web.Response:
        if not environment.is_serving(invocation_id):
            return _refuse(400, "InvalidRequestID", "Invalid request ID")
        if kind == "error":
            return await _accepted(environment.take_error(await _error_report(request)))
        mode = request.headers.get("Lambda-Runtime-Function-Response-Mode", "")
        if mode not in ("", "streaming"):
            return _refuse(400, "InvalidResponseMode", f"Unknown response mode {mode[:40]!r}")
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            body = None
        if body is None or len(body) > self._limit:
            environment.take_oversized_result(self._limit)
            return _refuse(
                413, "RequestEntityTooLarge", f"Exceeded maximum allowed payload size ({self._limit} bytes)."
            )
        return await _accepted(environment.take_result(body))

    async def _identify(self, request: web.BaseRequest) -> ExecutionEnvironment | None:
        """The environment whose container this is. Anybody else leaves a line in our log."""
        environment = self._find(request.host.partition(".")[0])
        if environment is not None:
            # Known already, but for the first call of a quick container: then nothing is waited for, and a container
            # that dies with its last word on the wire has still said it.
            known = environment.address
            address = known.result() if known.done() else await _patiently(known)
            if address == request.remote:
                return environment
        self._note_refusal(request, environment)
        return None

    def _note_refusal(self, request: web.BaseRequest, environment: ExecutionEnvironment | None) -> None:
        """A line in our log, but not as many as a container likes."""
        minute = int(time.monotonic() // 60)
        self._refusals = Counter({minute: self._refusals[minute] + 1})
        if self._refusals[minute] <= MAX_REFUSALS_NOTED:
            log.warning(
                "runtime API refused a call from %s to %s",
                request.remote,
                request.path[:100],
                extra={"action": "runtime_api_refused", "container": environment.name if environment else None},
            )


class _Server(web.Server):
    """Bounds how many connections one address may have."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._open: Counter[str] = Counter()
        self._peers: dict[RequestHandler, str] = {}

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        peer = transport.get_extra_info("peername")[0]
        self._peers[handler] = peer
        self._open[peer] += 1
        if self._open[peer] > MAX_CONNECTIONS_PER_ADDRESS:
            # A moment later: the connection must have begun before it can end.
            asyncio.get_running_loop().call_soon(transport.abort)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        peer = self._peers.pop(handler)
        self._open[peer] -= 1
        if not self._open[peer]:
            del self._open[peer]


def _server_log() -> logging.Logger:
    """Where aiohttp reports what our own code did wrong, but not what a container sent."""

    def is_ours(record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))

    server_log = log.getChild("server")
    server_log.addFilter(is_ours)
    return server_log


async def _next(environment: ExecutionEnvironment) -> web.Response:
    try:
        waiting = environment.ask_for_work()
    except ProtocolViolation as error:
        return _refuse(403, "InvalidStateTransition", str(error))
    try:
        # Shielded: whatever ends this request must not cancel the future under the invoker's hands.
        work = await asyncio.shield(asyncio.wrap_future(waiting))
    except asyncio.CancelledError:
        # The process hung up, so it is ending; nobody should be sent to it any more.
        environment.lose_connection()
        raise
    if work is None:
        return _refuse(410, "Gone", "This execution environment is over.")
    headers = {
        "Lambda-Runtime-Aws-Request-Id": work.invocation_id,
        "Lambda-Runtime-Deadline-Ms": str(work.deadline_ms),
        "Lambda-Runtime-Invoked-Function-Arn": f"{FUNCTION_ARN}:{environment.function.name}",
    }
    if work.model is not None:
        # AWS's place for what a caller knows beside the event; the handler finds it at context.client_context.custom.
        model = {"name": work.model.name, "version": work.model.version}
        headers["Lambda-Runtime-Client-Context"] = json.dumps({"custom": {"model": model}})
    return web.Response(body=work.event, content_type="application/json", headers=headers)


async def _patiently(known: Future[str]) -> str | None:
    try:
        return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(known)), ADDRESS_PATIENCE_SECONDS)
    except TimeoutError:
        return None


async def _accepted(settled: Future[bool]) -> web.Response:
    """Answer the container only when its result is the record: 202 promises that nothing will be lost."""
    if await asyncio.shield(asyncio.wrap_future(settled)):
        return _answer(202, {"status": "OK"})
    return _refuse(400, "InvalidRequestID", "The invocation has ended already.")


async def _error_report(request: web.BaseRequest) -> dict[str, Any]:
    """The body of an error call. What cannot be read is still reported, under the type the header names."""
    kind = request.headers.get("Lambda-Runtime-Function-Error-Type", "Runtime.Unknown")
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        body = b""
    try:
        report = json.loads(body)
    except (ValueError, RecursionError):
        report = None
    if not isinstance(report, dict):
        return {"errorType": kind, "errorMessage": "The function reported an error that cannot be read."}
    return report


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks - {asyncio.current_task()}:
        task.cancel()
    await asyncio.gather(*tasks - {asyncio.current_task()}, return_exceptions=True)


def _answer(status: int, body: dict[str, str]) -> web.Response:
    return web.json_response(body, status=status)


def _refuse(status: int, kind: str, message: str) -> web.Response:
    return _answer(status, {"errorType": kind, "errorMessage": message})
