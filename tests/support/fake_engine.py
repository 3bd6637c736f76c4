"""A container engine without containers, for tests that must be quick and for faults that Docker does not do at will.

Its "containers" are threads in this process. A function folder is understood in two ways, as with real images: one
with a ``main.py`` just runs it; any other is served by a small Lambda runtime client that imports ``handler.py`` and
talks to the real runtime API over HTTP, with the host name and everything else as ``awslambdaric`` does.

On request (`FakeEngine.faults`) it is slow to start, refuses to create, breaks builds, or is away altogether. Inside
the code it runs, ``raise SystemExit(n)`` ends the container with that code and ``raise MemoryError`` is the kernel
ending it for want of memory. It passes the same contract test as the Docker engine.
"""

import builtins
import contextlib
import http.client
import itertools
import json
import queue
import re
import secrets
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from function_runner.docker_engine import ContainerInfo, ContainerState, EngineInfo, Image, ImageMissing, StartRefused
from function_runner.docker_spec import LABEL_BASE, LABEL_ENVIRONMENT, BuildSpec, ContainerSpec
from function_runner.errors import BuildFailed, EngineUnavailable

END = None  # closes an output stream
HELD_SECONDS = 60.0  # after which what a test forgot to let go on goes on


def _open() -> threading.Event:
    """A gate that lets everything through."""
    gate = threading.Event()
    gate.set()
    return gate


@dataclass
class Faults:
    """What goes wrong from now on. Tests set these while the engine is in use."""

    is_away: bool = False  # every call raises EngineUnavailable
    start_seconds: float = 0.0  # how long a start takes
    build_seconds: float = 0.0  # how long a build takes
    may_start: threading.Event = field(default_factory=_open)  # while it is clear, starts do not come to an end
    may_build: threading.Event = field(default_factory=_open)  # and builds
    build_error: str | None = None  # every build fails with this
    start_error: str | None = None  # every start fails with this
    start_refused: str | None = None  # every start is refused with this: the image says to run what cannot be run
    kill_error: str | None = None  # every kill is refused with this


@dataclass
class FakeContainer:
    """One container: a thread that runs the folder's code, and what it has written."""

    id: str
    spec: ContainerSpec
    code: dict[str, str]  # by file name
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    state: str = "created"
    exit_code: int | None = None
    oom_killed: bool = False
    written: bytearray = field(default_factory=bytearray)
    streams: list["queue.Queue[bytes | None]"] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    killed: threading.Event = field(default_factory=threading.Event)
    connection: http.client.HTTPConnection | None = None
    may_ask_again: threading.Event = field(default_factory=_open)  # while it is clear, it serves one and stands still

    def write(self, data: bytes) -> None:
        """What the process prints goes to the kept output and to everyone attached."""
        with self.lock:
            if self.state != "running":
                return
            self.written += data
            for stream in self.streams:
                stream.put(data)

    def end(self, exit_code: int, *, oom_killed: bool = False) -> None:
        """The process is over. The first end counts."""
        with self.lock:
            if self.state == "exited":
                return
            self.state, self.exit_code, self.oom_killed = "exited", exit_code, oom_killed
            for stream in self.streams:
                stream.put(END)
        self.killed.set()
        self.may_ask_again.set()
        sock = self.connection.sock if self.connection is not None else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(2)


class FakeEngine:
    """Implements `function_runner.docker_engine.ContainerEngine`."""

    def __init__(self, *, stack: str = "smlops") -> None:
        self.faults = Faults()
        self.stack = stack
        self.builds: list[str] = []  # tags, in the order their builds began
        self.calls: list[str] = []  # every call, for tests that count them
        self._lock = threading.Lock()
        self._images: dict[str, tuple[Image, dict[str, str]]] = {}  # with the code that was copied into it
        self._cache: dict[str, Image] = {}
        self._containers: dict[str, FakeContainer] = {}
        self._numbers = itertools.count(1)

    def ping(self) -> None:
        self._called("ping")

    def info(self) -> EngineInfo:
        self._called("info")
        return EngineInfo("fake", "1.41", "none", "none", 2, 2**32, "none", "1", "fake")

    def build(self, folder: Path, spec: BuildSpec, on_output: Callable[[str], None]) -> Image:
        self._called("build")
        with self._lock:
            self.builds.append(spec.tag)
        on_output("Step 1/1 : FROM fake\n")
        dockerfile = (folder / "Dockerfile").read_text()
        step = re.search(r"^RUN sleep (\d+)", dockerfile, re.MULTILINE)
        seconds = float(step.group(1)) if step else self.faults.build_seconds
        time.sleep(min(seconds, spec.timeout))
        self.faults.may_build.wait(HELD_SECONDS)
        if seconds > spec.timeout:
            raise BuildFailed(f"The build did not finish within {spec.timeout:g} s.")
        error = self.faults.build_error or ("returned a non-zero code: 1" if "RUN exit 1" in dockerfile else None)
        if error:
            on_output(f"{error}\n")
            left = Image(f"{spec.cache_tag}-1", f"sha256:{secrets.token_hex(32)}", None, 1000, datetime.now(UTC))
            with self._lock:
                self._cache[left.tag] = left
            raise BuildFailed(f"The image could not be built: {error}")
        on_output(f"Successfully tagged {spec.tag}\n")
        image = Image(
            tag=spec.tag,
            id=f"sha256:{secrets.token_hex(32)}",
            base_id=spec.labels.get(LABEL_BASE) or None,
            size_bytes=1000,
            built_at=datetime.now(UTC),
            labels=dict(spec.labels),
        )
        with self._lock:
            if spec.tag in self._images:
                former, of = self._images.pop(spec.tag)
                self._images[former.id] = (replace(former, tag=former.id), of)
            self._images[spec.tag] = (image, {file.name: file.read_text() for file in folder.glob("*.py")})
        return image

    def find_image(self, tag: str) -> Image | None:
        self._called("find_image")
        found = self._images.get(tag)
        return found[0] if found else None

    def images(self) -> list[Image]:
        self._called("images")
        return [image for tag, (image, _) in self._images.items() if tag != image.id]

    def untagged_images(self) -> list[Image]:
        self._called("untagged_images")
        return [image for tag, (image, _) in self._images.items() if tag == image.id]

    def build_cache(self) -> list[Image]:
        self._called("build_cache")
        return list(self._cache.values())

    def remove_image(self, tag: str) -> bool:
        self._called("remove_image")
        with self._lock:
            if any(container.spec.image == tag for container in self._containers.values()):
                return False
            self._images.pop(tag, None)
            self._cache.pop(tag, None)
        return True

    def containers(self) -> list[ContainerInfo]:
        self._called("containers")
        with self._lock:
            containers = list(self._containers.values())
        return [
            ContainerInfo(
                id=container.id,
                name=container.spec.name,
                state=container.state,
                labels=dict(container.spec.config["Labels"]),
                created_at=container.created_at,
                image=container.spec.image,
            )
            for container in containers
            if LABEL_ENVIRONMENT in container.spec.config["Labels"]
        ]

    def create(self, spec: ContainerSpec) -> str:
        self._called("create")
        found = self._images.get(spec.image)
        if found is None:
            raise ImageMissing(spec.image)
        with self._lock:
            if any(container.spec.name == spec.name for container in self._containers.values()):
                raise EngineUnavailable(f"The container engine refused a call: the name {spec.name} is in use")
            container = FakeContainer(f"{next(self._numbers):064x}", spec, found[1])
            self._containers[container.id] = container
        return container.id

    def attach(self, container_id: str) -> Iterator[bytes]:
        self._called("attach")
        container = self._existing(container_id)
        stream: queue.Queue[bytes | None] = queue.Queue()
        with container.lock:
            container.streams.append(stream)
            if container.state == "exited":
                stream.put(END)
        return iter(stream.get, END)

    def follow(self, container_id: str) -> Iterator[bytes]:
        self._called("follow")
        container = self._existing(container_id)
        stream: queue.Queue[bytes | None] = queue.Queue()
        with container.lock:
            stream.put(bytes(container.written))
            container.streams.append(stream)
            if container.state == "exited":
                stream.put(END)
        return iter(stream.get, END)

    def environment(self, container_id: str) -> dict[str, str]:
        self._called("environment")
        container = self._containers.get(container_id)
        pairs = (entry.partition("=") for entry in container.spec.config["Env"]) if container else ()
        return {name: value for name, _, value in pairs}

    def start(self, container_id: str) -> None:
        self._called("start")
        container = self._existing(container_id)
        time.sleep(self.faults.start_seconds)
        self.faults.may_start.wait(HELD_SECONDS)
        if self.faults.start_error:
            raise EngineUnavailable(f"The container engine refused a call: {self.faults.start_error}")
        if self.faults.start_refused:
            raise StartRefused(self.faults.start_refused)
        with container.lock:
            container.state = "running"
        threading.Thread(target=_run, args=(container,), name=f"fake-{container.spec.name}", daemon=True).start()

    def inspect(self, container_id: str) -> ContainerState | None:
        self._called("inspect")
        container = self._containers.get(container_id)
        if container is None:
            return None
        return ContainerState(
            running=container.state == "running",
            exit_code=container.exit_code,
            oom_killed=container.oom_killed,
            ip_address="127.0.0.1" if container.state == "running" else None,
        )

    def memory_mb(self, container_id: str) -> float | None:
        self._called("memory_mb")
        container = self._containers.get(container_id)
        return 12.5 if container is not None and container.state == "running" else None

    def set_cpu_shares(self, container_id: str, shares: int) -> None:
        self._called("set_cpu_shares")
        container = self._containers.get(container_id)
        if container is not None:
            container.spec.config["HostConfig"]["CpuShares"] = shares

    def output(self, container_id: str) -> bytes:
        self._called("output")
        container = self._containers.get(container_id)
        return bytes(container.written) if container is not None else b""

    def kill(self, container_id: str) -> None:
        self._called("kill")
        if self.faults.kill_error:
            raise EngineUnavailable(f"The container engine refused a call: {self.faults.kill_error}")
        container = self._containers.get(container_id)
        if container is not None:
            container.end(137)

    def remove(self, container_id: str) -> None:
        self._called("remove")
        with self._lock:
            container = self._containers.pop(container_id, None)
        if container is not None:
            container.end(137)

    # --- for tests ----------------------------------------------------------------------------------------------------

    def change_image(self, tag: str, /, **changes: Any) -> Image:
        """As if the image had been made otherwise. One that lost its name to a newer build has its id for a tag."""
        with self._lock:
            image, files = self._images.pop(tag)
            changed = replace(image, **changes)
            self._images[changed.tag] = (changed, files)
        return changed

    def age_what_is_left(self, spec: BuildSpec, days: float) -> None:
        """As if the failed build had been so many days ago."""
        with self._lock:
            left = self._cache[f"{spec.cache_tag}-1"]
            self._cache[left.tag] = replace(left, built_at=left.built_at - timedelta(days=days))

    def remove_image_from_outside(self, tag: str) -> None:
        """What ``docker rmi -f`` by hand does."""
        with self._lock:
            del self._images[tag]

    def hold_after_its_next_result(self, name: str) -> None:
        """It does not ask for more work then, as a process that hangs."""
        self._named(name).may_ask_again.clear()

    def kill_from_outside(self, name: str, exit_code: int = 137) -> None:
        """What ``docker kill`` by hand does."""
        self._named(name).end(exit_code)

    def remove_from_outside(self, name: str) -> None:
        """What ``docker rm -f`` by hand does."""
        container = self._named(name)
        with self._lock:
            del self._containers[container.id]
        container.end(137)

    def _named(self, name: str) -> FakeContainer:
        return next(container for container in self._containers.values() if container.spec.name == name)

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.faults.is_away:
            raise EngineUnavailable("The container engine does not answer (fake). Is Docker running?")

    def _existing(self, container_id: str) -> FakeContainer:
        container = self._containers.get(container_id)
        if container is None:
            raise EngineUnavailable(f"The container engine refused a call: no such container {container_id[:12]}")
        return container


def _run(container: FakeContainer) -> None:
    """The container's process: run main.py, or serve handler.py until killed."""
    try:
        if "main.py" in container.code:
            _load(container, "main.py")
        else:
            _serve(container)
        container.end(0)
    except MemoryError:
        container.end(137, oom_killed=True)
    except SystemExit as end:
        container.end(end.code if isinstance(end.code, int) else 1)
    except _LostRuntimeApi:
        container.end(1)
    except Exception:  # noqa: BLE001 - the process crashed: as Python does, print why and exit with 1
        container.write(traceback.format_exc().encode())
        container.end(1)
    finally:
        if container.connection is not None:
            container.connection.close()


def _load(container: FakeContainer, name: str) -> dict[str, Any]:
    """Run a file of the folder as the container's code, with its prints going to the container's output."""

    def fake_print(*values: object, sep: str = " ", end: str = "\n", **_: Any) -> None:
        container.write((sep.join(map(str, values)) + end).encode())

    namespace = {"__name__": Path(name).stem, "__builtins__": {**vars(builtins), "print": fake_print}}
    exec(compile(container.code[name], f"/var/task/{name}", "exec"), namespace)
    return namespace


class _LostRuntimeApi(Exception):
    """The runtime API closed the connection, or refused."""


@dataclass(frozen=True)
class _ClientContext:
    custom: dict[str, Any] | None


@dataclass(frozen=True)
class _Context:
    aws_request_id: str
    client_context: _ClientContext | None


def _serve(container: FakeContainer) -> None:
    """What ``python -m awslambdaric handler.handler`` does."""
    variables = dict(entry.split("=", 1) for entry in container.spec.config["Env"])
    api = _Client(container, variables["AWS_LAMBDA_RUNTIME_API"])
    try:
        handler = _load(container, "handler.py")["handler"]
    except (MemoryError, SystemExit):
        raise
    except Exception as error:
        api.post("/runtime/init/error", _report(error))
        raise SystemExit(1) from error
    while not container.killed.is_set():
        context, event = api.next()
        invocation_id = context.aws_request_id
        try:
            body = json.dumps(handler(event, context)).encode()
        except (MemoryError, SystemExit):
            raise
        except Exception as error:  # noqa: BLE001 - whatever the code raises is reported, as the real client does
            api.post(f"/runtime/invocation/{invocation_id}/error", _report(error))
        else:
            api.post(f"/runtime/invocation/{invocation_id}/response", body)
        container.may_ask_again.wait(HELD_SECONDS)


class _Client:
    """The runtime API as a container sees it: one connection, and a host name that carries its token."""

    def __init__(self, container: FakeContainer, runtime_api: str) -> None:
        self._host, _, port = runtime_api.partition(":")
        self._connection = http.client.HTTPConnection("127.0.0.1", int(port))
        self._container = container
        container.connection = self._connection

    def next(self) -> tuple[_Context, Any]:
        headers, body = self._request("GET", "/runtime/invocation/next")
        sent = headers.get("Lambda-Runtime-Client-Context")
        client_context = _ClientContext(json.loads(sent).get("custom")) if sent else None
        return _Context(headers["Lambda-Runtime-Aws-Request-Id"], client_context), json.loads(body)

    def post(self, path: str, body: bytes) -> None:
        self._request("POST", path, body)

    def _request(self, method: str, path: str, body: bytes | None = None) -> tuple[Any, bytes]:
        try:
            answer, content = self._send(method, path, body)
        except (OSError, http.client.HTTPException) as error:
            if method == "GET":
                raise _LostRuntimeApi from error
            # As libcurl does when the connection that it kept turns out to be closed: once more, on a new one.
            self._connection.close()
            try:
                answer, content = self._send(method, path, body)
            except (OSError, http.client.HTTPException) as again:
                raise _LostRuntimeApi from again
        if answer.status >= 400:  # what it said was refused, or nobody knows it: the real client ends its process, too
            raise _LostRuntimeApi
        return answer.headers, content

    def _send(self, method: str, path: str, body: bytes | None) -> tuple[http.client.HTTPResponse, bytes]:
        if self._container.killed.is_set():  # a process that was killed says nothing more
            raise _LostRuntimeApi
        self._connection.request(method, f"/2018-06-01{path}", body, {"Host": self._host})
        answer = self._connection.getresponse()
        return answer, answer.read()


def _report(error: Exception) -> bytes:
    return json.dumps(
        {
            "errorType": type(error).__name__,
            "errorMessage": str(error),
            "stackTrace": traceback.format_tb(error.__traceback__),
        }
    ).encode()
