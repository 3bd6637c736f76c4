"""The door to the container engine: the port ``ContainerEngine`` and its real implementation on the Docker SDK.

The second implementation is the fake engine of the tests; both pass one contract test. Everything below speaks of
containers and images *of ours*: those that carry our stack's label, and what their builds left, which carries its
name. Nothing else is ever listed, killed or removed.
"""

import contextlib
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import docker
import docker.errors
import docker.utils
import docker.utils.socket
import requests
import urllib3.exceptions

from function_runner.docker_spec import (
    LABEL_BASE,
    LABEL_ENVIRONMENT,
    LABEL_FUNCTION,
    LABEL_STACK,
    BuildSpec,
    ContainerSpec,
    cache_tag,
)
from function_runner.errors import BuildFailed, EngineUnavailable
from function_runner.settings import MEBIBYTE

log = logging.getLogger(__name__)

CALL_TIMEOUT = 30.0  # seconds for one call to the engine; builds, attach and events have their own limits
NO_SUCH_CONTAINER = 404
NOT_RUNNING = 409
IN_USE = 409
NO_NAME = "<none>:<none>"
LAYER = re.compile(r" ---> ([0-9a-f]{12,64})")  # what the engine prints when a step of a build has succeeded
NEW_STAGE = re.compile(r"Step \d+/\d+ : FROM ", re.IGNORECASE)
MOST_STAGES = 100  # a step may print what looks like them
STEP_LINE = 400  # characters; of a longer line only the end is looked at


@dataclass(frozen=True)
class EngineInfo:
    """What the engine says about itself and its machine."""

    version: str
    api_version: str
    os: str
    kernel: str
    cpus: int
    memory_bytes: int
    storage_driver: str
    cgroup_version: str
    runtime: str


@dataclass(frozen=True)
class Image:
    """An image of ours as it stands in the engine."""

    tag: str
    id: str
    base_id: str | None
    size_bytes: int
    built_at: datetime  # UTC
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ContainerInfo:
    """A function container of ours, running or not, as listed by the engine."""

    id: str
    name: str
    state: str  # created, running, exited, …
    labels: dict[str, str]
    created_at: datetime  # UTC
    image: str


@dataclass(frozen=True)
class ContainerState:
    """What the engine knows about one container."""

    running: bool
    exit_code: int | None  # None while it has not ended
    oom_killed: bool
    ip_address: str | None  # on the functions' network


class ImageMissing(Exception):
    """The image to create a container from is not there (any more)."""


class StartRefused(Exception):
    """The engine cannot start this container, whoever asks: its entry point does not exist, for example."""


class ContainerEngine(Protocol):
    """What the rest of the runner needs from a container engine.

    Every method raises `EngineUnavailable` when the engine cannot be reached or answers nonsense. Destroying is safe
    twice: "not found" and "already in progress" count as success.
    """

    def ping(self) -> None:
        """Return when the engine answers."""

    def info(self) -> EngineInfo:
        """What the engine says about itself."""

    def build(self, folder: Path, spec: BuildSpec, on_output: Callable[[str], None]) -> Image:
        """Build the image from ``folder``; ``on_output`` gets the build's output as it comes.

        Raises:
            BuildFailed: a step failed, or the build took longer than ``spec.timeout``. What it has made is kept for the
                next build; see `build_cache`.
        """

    def find_image(self, tag: str) -> Image | None:
        """The image with this name, or None."""

    def images(self) -> list[Image]:
        """Every function image of ours that has a name."""

    def untagged_images(self) -> list[Image]:
        """Every image of ours that has no name and that no other image is made from; its ``tag`` is its id."""

    def build_cache(self) -> list[Image]:
        """What builds left beside their images: earlier stages, and what one that failed had made until then.

        None of it carries our labels, so each has a name of ours.
        """

    def remove_image(self, tag: str) -> bool:
        """Remove the image's name, and the image when nothing else uses it; returns when it is gone.

        Returns False, and changes nothing, when a container, or an image if it has no name, needs it.
        """

    def containers(self) -> list[ContainerInfo]:
        """Every function container of ours, running or not."""

    def create(self, spec: ContainerSpec) -> str:
        """Create the container and return its id.

        Raises:
            ImageMissing: its image does not exist.
        """

    def attach(self, container_id: str) -> Iterator[bytes]:
        """Everything the container writes from now on, in order; ends when the container ends.

        The stream is open when this returns, so a caller who starts the container afterwards misses nothing.
        """

    def follow(self, container_id: str) -> Iterator[bytes]:
        """The container's output from its beginning (what the engine has kept of it), and on until it ends."""

    def environment(self, container_id: str) -> dict[str, str]:
        """The variables that the container was created with; none when there is no such container."""

    def start(self, container_id: str) -> None:
        """Start a created container.

        Raises:
            StartRefused: its image says to run something that cannot be run.
        """

    def inspect(self, container_id: str) -> ContainerState | None:
        """The container's state, or None when there is no such container."""

    def memory_mb(self, container_id: str) -> float | None:
        """The most memory a running container has used so far, in MB; None when the engine cannot tell."""

    def set_cpu_shares(self, container_id: str, shares: int) -> None:
        """Change the container's weight when the processor is short. Does nothing when there is no such container."""

    def output(self, container_id: str) -> bytes:
        """What the engine itself has kept of the container's output (its tail, when there was much)."""

    def kill(self, container_id: str) -> None:
        """End the container at once; returns when it has ended or does not exist."""

    def remove(self, container_id: str) -> None:
        """Remove the container, running or not; returns when it is gone."""


P = ParamSpec("P")
R = TypeVar("R")
# What a connection to the engine can come to. The SDK reads streams past requests, so urllib3's errors come through.
CONNECTION_ERRORS = (
    docker.errors.DockerException,
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    OSError,
)


def _engine_call(
    method: Callable[Concatenate["DockerEngine", P], R],
) -> Callable[Concatenate["DockerEngine", P], R]:
    """Turn what the SDK raises into `EngineUnavailable`, and count it; our own errors pass through."""

    @wraps(method)
    def call(self: "DockerEngine", /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with self.counting_errors(method.__name__):
                return method(self, *args, **kwargs)
        except docker.errors.APIError as error:
            raise EngineUnavailable(f"The container engine refused a call: {error.explanation or error}") from error
        except CONNECTION_ERRORS as error:
            raise EngineUnavailable(f"The container engine does not answer ({error}). Is Docker running?") from error

    return call


class DockerEngine:
    """A Docker engine reached through the Docker SDK. Safe to use from any thread."""

    def __init__(
        self, docker_host: str, *, stack: str, network: str, count_error: Callable[[str], None] = lambda _: None
    ) -> None:
        """Prepare to talk to the engine; nothing is sent yet.

        Args:
            docker_host: where the engine listens, e.g. ``unix:///var/run/docker.sock``.
            stack: value of our label; everything listed here carries it.
            network: name of the functions' network.
            count_error: gets the name of each operation that failed.
        """
        self._docker_host = docker_host
        self._stack = stack
        self._network = network
        self._count_error = count_error
        self._lock = threading.Lock()
        self._shared: docker.APIClient | None = None

    @_engine_call
    def ping(self) -> None:
        """Return when the engine answers."""
        self._client().ping()

    @_engine_call
    def info(self) -> EngineInfo:
        """What the engine says about itself."""
        info = self._client().info()
        return EngineInfo(
            version=info["ServerVersion"],
            api_version=self._client().api_version,
            os=info["OperatingSystem"],
            kernel=info["KernelVersion"],
            cpus=info["NCPU"],
            memory_bytes=info["MemTotal"],
            storage_driver=info["Driver"],
            cgroup_version=str(info.get("CgroupVersion", "1")),
            runtime=info["DefaultRuntime"],
        )

    @_engine_call
    def build(self, folder: Path, spec: BuildSpec, on_output: Callable[[str], None]) -> Image:
        """Build the image; see `ContainerEngine.build`."""
        steps = _Steps()
        try:
            self._run_build(folder, spec, steps, on_output)
        except BuildFailed:
            self._name_what_is_left([*steps.stages, *steps.last], spec.cache_tag)
            raise
        self._name_what_is_left(steps.stages, spec.cache_tag)
        image = self.find_image(spec.tag)
        if image is None:
            raise BuildFailed("The build ended without an image.")
        return image

    @_engine_call
    def find_image(self, tag: str) -> Image | None:
        """The image with this name, or None."""
        try:
            found = self._client().inspect_image(tag)
        except docker.errors.ImageNotFound:
            return None
        labels = (found.get("Config") or {}).get("Labels") or {}
        return Image(
            tag=tag,
            id=found["Id"],
            base_id=labels.get(LABEL_BASE) or None,
            size_bytes=found["Size"],
            built_at=_parse_time(found["Created"]),
            labels=labels,
        )

    @_engine_call
    def images(self) -> list[Image]:
        """Every function image of ours that has a name."""
        listed = self._client().images(filters={"label": [f"{LABEL_STACK}={self._stack}", LABEL_FUNCTION]})
        return [_listed_image(item, tag) for item in listed for tag in item.get("RepoTags") or () if tag != NO_NAME]

    @_engine_call
    def untagged_images(self) -> list[Image]:
        """Every image of ours that has no name; see `ContainerEngine.untagged_images`."""
        listed = self._client().images(filters={"label": f"{LABEL_STACK}={self._stack}", "dangling": True})
        return [_listed_image(item, item["Id"]) for item in listed]

    @_engine_call
    def build_cache(self) -> list[Image]:
        """What builds left beside their images; see `ContainerEngine.build_cache`."""
        named = cache_tag(self._stack, "*", "*")
        listed = self._client().images(filters={"reference": named})
        return [
            _listed_image(item, tag) for item in listed for tag in item["RepoTags"] or () if fnmatchcase(tag, named)
        ]

    @_engine_call
    def remove_image(self, tag: str) -> bool:
        """Remove the image's name, and the image when nothing else uses it; see `ContainerEngine.remove_image`."""
        try:
            self._client().remove_image(tag, force=False)
        except docker.errors.ImageNotFound:
            return True
        except docker.errors.APIError as error:
            if error.status_code != IN_USE:
                raise
            return False
        return True

    @_engine_call
    def containers(self) -> list[ContainerInfo]:
        """Every function container of ours, running or not."""
        listed = self._client().containers(
            # Not by the labels that images carry too: a container that a person starts from one is not ours.
            all=True,
            filters={"label": [f"{LABEL_STACK}={self._stack}", LABEL_ENVIRONMENT]},
        )
        return [
            ContainerInfo(
                id=item["Id"],
                name=item["Names"][0].lstrip("/") if item.get("Names") else item["Id"][:12],
                state=item["State"],
                labels=item["Labels"],
                created_at=datetime.fromtimestamp(item["Created"], UTC),
                image=item["Image"],
            )
            for item in listed
        ]

    @_engine_call
    def create(self, spec: ContainerSpec) -> str:
        """Create the container and return its id."""
        try:
            created = self._client().create_container_from_config(dict(spec.config), spec.name)
        except docker.errors.ImageNotFound as error:
            raise ImageMissing(spec.image) from error
        container_id: str = created["Id"]
        return container_id

    @_engine_call
    def attach(self, container_id: str) -> Iterator[bytes]:
        """The container's output from now on; see `ContainerEngine.attach`."""
        # The request is sent here, at once; only the reading is lazy.
        stream = self._client().attach_socket(container_id, {"stdout": 1, "stderr": 1, "stream": 1, "logs": 0})
        return _until_end(stream)

    @_engine_call
    def follow(self, container_id: str) -> Iterator[bytes]:
        """The container's output from its beginning on; see `ContainerEngine.follow`."""
        # The request is sent here, at once; only the reading is lazy.
        return _while_it_lasts(self._client().logs(container_id, stdout=True, stderr=True, stream=True, follow=True))

    @_engine_call
    def environment(self, container_id: str) -> dict[str, str]:
        """The variables that the container was created with; none when there is no such container."""
        try:
            found = self._client().inspect_container(container_id)
        except docker.errors.NotFound:
            return {}
        pairs = (entry.partition("=") for entry in found["Config"].get("Env") or ())
        return {name: value for name, _, value in pairs}

    @_engine_call
    def start(self, container_id: str) -> None:
        """Start a created container; see `ContainerEngine.start`."""
        try:
            self._client().start(container_id)
        except docker.errors.APIError as error:
            # 400 and 404 are what the OCI runtime's complaints about the command become.
            if error.status_code in (400, NO_SUCH_CONTAINER) and "No such container" not in str(error.explanation):
                raise StartRefused(str(error.explanation)) from error
            raise

    @_engine_call
    def inspect(self, container_id: str) -> ContainerState | None:
        """The container's state, or None when there is no such container."""
        try:
            found = self._client().inspect_container(container_id)
        except docker.errors.NotFound:
            return None
        state = found["State"]
        ended = state["Status"] in ("exited", "dead")
        network = found["NetworkSettings"]["Networks"].get(self._network) or {}
        return ContainerState(
            running=state["Running"],
            exit_code=state["ExitCode"] if ended else None,
            oom_killed=state["OOMKilled"],
            ip_address=network.get("IPAddress") or None,
        )

    @_engine_call
    def memory_mb(self, container_id: str) -> float | None:
        """The most memory a running container has used so far; see `ContainerEngine.memory_mb`."""
        client = self._client()
        if docker.utils.version_lt(client.api_version, "1.41"):
            return None  # without "one-shot" the engine takes two seconds to answer
        try:
            memory = client.stats(container_id, stream=False, one_shot=True).get("memory_stats") or {}
        except docker.errors.NotFound:
            return None
        # cgroup v1 keeps the peak; v2 only tells what is in use now, of which the page cache is not the function's.
        peak = memory.get("max_usage")
        if peak is None and "usage" in memory:
            peak = memory["usage"] - (memory.get("stats") or {}).get("inactive_file", 0)
        return round(peak / MEBIBYTE, 1) if peak else None

    @_engine_call
    def set_cpu_shares(self, container_id: str, shares: int) -> None:
        """Change the container's weight when the processor is short."""
        try:
            self._client().update_container(container_id, cpu_shares=shares)
        except docker.errors.APIError as error:
            if error.status_code not in (NO_SUCH_CONTAINER, NOT_RUNNING):
                raise

    @_engine_call
    def output(self, container_id: str) -> bytes:
        """What the engine itself has kept of the container's output."""
        try:
            kept: bytes = self._client().logs(container_id, stdout=True, stderr=True)
        except docker.errors.NotFound:
            return b""
        return kept

    @_engine_call
    def kill(self, container_id: str) -> None:
        """End the container at once."""
        try:
            self._client().kill(container_id, signal="SIGKILL")
        except docker.errors.APIError as error:
            if error.status_code not in (NO_SUCH_CONTAINER, NOT_RUNNING):
                raise

    @_engine_call
    def remove(self, container_id: str) -> None:
        """Remove the container, running or not."""
        try:
            self._client().remove_container(container_id, v=True, force=True)
        except docker.errors.APIError as error:
            # 409: somebody else is removing it at this moment
            if error.status_code not in (NO_SUCH_CONTAINER, NOT_RUNNING):
                raise

    def close(self) -> None:
        """Let go of the connections. The next call opens new ones."""
        with self._lock:
            client, self._shared = self._shared, None
        if client is not None:
            client.close()

    @contextlib.contextmanager
    def counting_errors(self, operation: str) -> Iterator[None]:
        """Count what goes wrong between us and the engine; a failing build is the function's own affair."""
        try:
            yield
        except CONNECTION_ERRORS:
            self._count_error(operation)
            raise

    def _run_build(self, folder: Path, spec: BuildSpec, steps: "_Steps", on_output: Callable[[str], None]) -> None:
        # A client of its own: a step may be silent for minutes, which must not count as a dead engine.
        client = docker.APIClient(base_url=self._docker_host, version="auto", timeout=spec.timeout)
        try:
            deadline = time.monotonic() + spec.timeout
            output = client.build(
                path=str(folder),
                tag=spec.tag,
                buildargs=dict(spec.arguments),
                labels=dict(spec.labels),
                container_limits={"memory": spec.memory_bytes, "memswap": spec.memory_bytes},
                network_mode=spec.network,
                timeout=spec.timeout,
                rm=True,
                forcerm=True,
                pull=False,
            )
            # Closed at once when it fails: as long as the connection stands, the engine goes on building.
            with contextlib.closing(output):
                for text in _follow_build(output, deadline, spec):
                    steps.read(text)
                    on_output(text)
        except docker.errors.APIError as error:  # e.g. a Dockerfile that cannot be parsed
            raise BuildFailed(f"The image could not be built: {error.explanation or error}") from error
        except (requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError) as error:
            raise BuildFailed(f"The build did not finish within {spec.timeout:g} s.") from error
        finally:
            client.close()

    def _name_what_is_left(self, image_ids: Iterable[str], tag: str) -> None:
        """Give what a build leaves beside its image a name, so that somebody finds it who wants its room."""
        repository, _, version = tag.rpartition(":")
        for number, image_id in enumerate(image_ids, start=1):
            try:
                self._client().tag(image_id, repository, f"{version}-{number}")
            except CONNECTION_ERRORS as error:  # what came of the build is what counts
                log.warning("%s not named: %s", image_id, error, extra={"action": "cache_not_named"})

    def _client(self) -> docker.APIClient:
        """The shared client. Made on first use, because the engine may come up after us."""
        shared = self._shared
        if shared is not None:
            return shared
        made = docker.APIClient(base_url=self._docker_host, version="auto", timeout=CALL_TIMEOUT, max_pool_size=64)
        with self._lock:
            if self._shared is None:
                self._shared = made
            return self._shared


def _listed_image(item: Mapping[str, Any], tag: str) -> Image:
    labels = item["Labels"] or {}
    return Image(
        tag=tag,
        id=item["Id"],
        base_id=labels.get(LABEL_BASE) or None,
        size_bytes=item["Size"],
        built_at=datetime.fromtimestamp(item["Created"], UTC),
        labels=labels,
    )


class _Steps:
    """Reads from a build's output, however it is cut into pieces, what it has made so far."""

    def __init__(self) -> None:
        self.stages: list[str] = []  # ids of what the stages before this one have come to
        self._base: str | None = None  # what this stage is made from
        self._made: str | None = None  # by its last step that succeeded
        self._line = ""

    @property
    def last(self) -> tuple[str, ...]:
        """The id of what this stage has come to; none as long as that is only what it is made from."""
        return (self._made,) if self._made is not None and self._made != self._base else ()

    def read(self, text: str) -> None:
        *complete, self._line = (self._line + text).split("\n")
        self._line = self._line[-STEP_LINE:]
        for line in complete:
            if NEW_STAGE.match(line):
                if len(self.stages) < MOST_STAGES and self.last and self.last[0] not in self.stages:
                    self.stages += self.last
                self._base = self._made = None
            elif found := LAYER.fullmatch(line):
                self._base = self._base or found[1]
                self._made = found[1]


def _follow_build(output: Iterator[bytes], deadline: float, spec: BuildSpec) -> Iterator[str]:
    """What the build prints, until it fails or ends. The engine sends one JSON document per line."""
    for line in _lines(output):
        message = json.loads(line)
        if text := message.get("stream"):
            yield text
        elif status := message.get("status"):
            yield f"{status}\n"
        if error := message.get("error"):
            yield f"{error}\n"
            raise BuildFailed(f"The image could not be built: {error}")
        if time.monotonic() > deadline:
            raise BuildFailed(f"The build did not finish within {spec.timeout:g} s.")


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *complete, rest = (rest + chunk).split(b"\n")
        yield from (line for line in complete if line.strip())
    if rest.strip():
        yield rest


def _until_end(stream: Any) -> Iterator[bytes]:
    """What comes out of an attached stream, without the engine's framing.

    A connection that breaks ends it; what that means is found out by inspecting the container.
    """
    # The SDK hides the response behind the stream; only closing the response closes the connection.
    response = stream._response  # noqa: SLF001
    with contextlib.closing(response), contextlib.suppress(*CONNECTION_ERRORS):
        for _, chunk in docker.utils.socket.frames_iter(stream, tty=False):
            yield chunk


def _while_it_lasts(stream: Any) -> Iterator[bytes]:
    """The pieces of a followed log. A connection that breaks ends it."""
    with contextlib.suppress(*CONNECTION_ERRORS):
        yield from stream


def _parse_time(text: str) -> datetime:
    """The engine writes nanoseconds, Python reads microseconds."""
    head, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{head}.{(fraction + '000000')[:6]}").replace(tzinfo=UTC)
