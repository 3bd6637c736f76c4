"""Function images: made on demand, named after their content, one build at a time for each, every build log kept."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Literal

from function_runner.catalog import Catalog
from function_runner.diagnosis import FunctionFacts, attach
from function_runner.docker_engine import ContainerEngine, Image
from function_runner.docker_spec import build_spec, image_tag
from function_runner.errors import BuildFailed, Busy, Draining, ImageGone, RunnerError
from function_runner.function import Function
from function_runner.invocation import Deadline
from function_runner.logs import LogStore
from function_runner.metrics import Metrics
from function_runner.settings import Settings

log = logging.getLogger(__name__)

# A failed build is not tried again for this long unless the source changes or somebody asks for a build.
FAILURE_BACK_OFF_SECONDS = 30.0
PARALLEL_BUILDS = 2
DIAGNOSED_CHARACTERS = 100_000  # of a failed build's output: the failing step stands at its end
BUILD_ASKERS = 16  # who asked for a build itself, not for an invocation, and waits for it


@dataclass(frozen=True)
class ImageState:
    """Where a function's image stands."""

    state: Literal["ready", "not_built", "building", "build_failed"]
    problem: str | None
    image: Image | None
    diagnosis: Mapping[str, Any] | None = None  # of a build that failed


@dataclass(frozen=True)
class _Failure:
    error: RunnerError
    at: float  # time.monotonic()


class Images:
    """Gives each function the image of exactly its present source. Safe to use from any thread.

    The image's name holds the source hash, so "is it up to date" is "does it exist". Known images are remembered,
    so that an invocation costs no call to the engine; `forget` corrects the memory when an image was removed by hand.
    """

    def __init__(
        self, settings: Settings, engine: ContainerEngine, catalog: Catalog, logs: LogStore, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._catalog = catalog
        self._logs = logs
        self._metrics = metrics
        self._workers = ThreadPoolExecutor(PARALLEL_BUILDS, thread_name_prefix="build")
        self._released: Future[None] = Future()
        self._askers = threading.BoundedSemaphore(BUILD_ASKERS)
        self._lock = threading.Lock()
        # Guarded by the lock, each keyed by image tag:
        self._known: dict[str, Image] = {}
        self._building: dict[str, Future[Image]] = {}
        self._failed: dict[str, _Failure] = {}

    def ensure(self, function: Function, deadline: Deadline) -> Image:
        """The function's image; builds it when it does not exist. Callers who come meanwhile wait for the one build.

        Raises:
            BuildFailed: the build failed (now, or a moment ago with the same source), or outlasted the deadline.
            ImageGone: it was made from an earlier source and does not exist any more.
            Draining: `release` was called.
            EngineUnavailable: the engine does not answer.
        """
        tag = image_tag(function, self._settings)
        known = self._known.get(tag) or self._look(tag)
        if known is not None:
            return known
        if function.is_of_then:
            raise ImageGone(
                f"Image {tag}, in which that invocation ran, is not there any more and its source has changed since: "
                "replay it with today's."
            )
        return self._join(self._build_once(function, tag, retry=False), function, deadline)

    def build(self, function: Function) -> Image:
        """The function's image, as `ensure`, but a failure of a moment ago does not count: it is tried again.

        Raises:
            Busy: too many wait for builds already; each holds a thread that others need.
        """
        tag = image_tag(function, self._settings)
        limit = Deadline.after(self._settings.build_timeout * PARALLEL_BUILDS)
        if not self._askers.acquire(blocking=False):
            raise Busy(f"{BUILD_ASKERS} others wait for builds already.", retry_after=10, function=function.name)
        try:
            return self._look(tag) or self._join(self._build_once(function, tag, retry=True), function, limit)
        finally:
            self._askers.release()

    def state(self, function: Function) -> ImageState:
        """Where the function's image stands. Asks the engine only for an image not seen before."""
        tag = image_tag(function, self._settings)
        with self._lock:
            known, building, failure = self._known.get(tag), tag in self._building, self._failed.get(tag)
        if known is None:
            known = self._look(tag)
        if known is not None:
            return ImageState("ready", None, known)
        if building:
            return ImageState("building", None, None)
        if failure is not None:
            return ImageState("build_failed", failure.error.detail, None, failure.error.members.get("diagnosis"))
        return ImageState("not_built", None, None)

    def forget(self, image: Image) -> None:
        """The image turned out to be gone: the next `ensure` looks again."""
        with self._lock:
            self._known.pop(image.tag, None)

    def remove(self, image: Image) -> bool:
        """Remove an image that nobody needs. Returns False, and it stays, when a container uses it.

        Whoever is about to use it nevertheless finds it gone, and it is built again.
        """
        is_gone = self._engine.remove_image(image.tag)
        self.forget(image)
        return is_gone

    def release(self) -> None:
        """Send away everybody who waits for a build, now and later; the builds themselves go on."""
        with contextlib.suppress(InvalidStateError):
            self._released.set_result(None)

    def close(self) -> None:
        """Release, and take no more builds."""
        self.release()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _look(self, tag: str) -> Image | None:
        """The image as the engine has it. Asked in the caller's own thread: it must not wait behind builds."""
        with self._lock:
            if tag in self._building:
                return None
        found = self._engine.find_image(tag)
        if found is not None:
            with self._lock:
                self._known[tag] = found
        return found

    def _join(self, build: Future[Image], function: Function, deadline: Deadline) -> Image:
        either: list[Future[Any]] = [build, self._released]
        wait(either, timeout=deadline.remaining, return_when=FIRST_COMPLETED)
        if build.done() and not build.cancelled():
            error = build.exception()
            if isinstance(error, RunnerError):
                raise error.again() from error  # many callers may share this one build
            return build.result()
        if self._released.done():
            raise Draining(function=function.name)
        raise self._failure(
            function, f"The image of function {function.name!r} was not built in time; the build goes on."
        )

    def _build_once(self, function: Function, tag: str, *, retry: bool) -> Future[Image]:
        """The running build of this tag, or a new one. Decides under the lock, works outside of it."""
        with self._lock:
            running = self._building.get(tag)
            if running is not None:
                return running
            failure = self._failed.get(tag)
            if failure is not None and not retry and time.monotonic() - failure.at < FAILURE_BACK_OFF_SECONDS:
                settled: Future[Image] = Future()
                settled.set_exception(failure.error.again())
                return settled
            if self._released.done():
                raise Draining(function=function.name)
            future = self._workers.submit(self._build, function, tag)
            self._building[tag] = future
        future.add_done_callback(self._settle(tag))
        return future

    def _settle(self, tag: str) -> Callable[[Future[Image]], None]:
        """What to remember once the build has ended, one way or the other."""

        def settle(future: Future[Image]) -> None:
            with self._lock:
                self._building.pop(tag, None)
                self._failed.pop(tag, None)
                if future.cancelled():
                    return
                error = future.exception()
                if error is None:
                    self._known[tag] = future.result()
                elif isinstance(error, BuildFailed):
                    # Without its traceback, which would hold on to the build's connection.
                    self._failed[tag] = _Failure(error.again(), time.monotonic())

        return settle

    def _build(self, function: Function, tag: str) -> Image:
        base = self._engine.find_image(self._settings.python_image)
        spec = build_spec(function, self._settings, base_id=base.id if base else None)
        log.info("build started", extra={"action": "build_started", "function": function.name, "image": tag})
        started = time.monotonic()
        build_log = self._logs.create_build(function.name, function.version)
        try:
            image = self._engine.build(function.folder, spec, build_log.write)
            result = "succeeded"
        except BuildFailed as error:
            result = "failed"
            raise self._failure(
                function,
                f"The image of function {function.name!r} could not be built. {error.detail}",
                build_log=f"logs/builds/{function.name}-{function.version}.log",
            ) from error
        except BaseException:
            result = "interrupted"
            raise
        finally:
            seconds = time.monotonic() - started
            build_log.write(f"\n[build {result} after {seconds:.1f} s]\n")
            build_log.close()
            self._metrics.build(function.name, result, seconds)
            log.info(
                "build ended",
                extra={"action": "build_ended", "function": function.name, "image": tag, "result": result},
            )
        if not self._is_still(function):
            # Edited while it was being sent: what was built may be half old, half new. Nobody gets it under this name.
            self._engine.remove_image(tag)
            raise self._failure(
                function, f"The source of function {function.name!r} changed while it was being built; call it again."
            )
        return image

    def _failure(self, function: Function, detail: str, **members: Any) -> BuildFailed:
        """The error, with the diagnosis by what the build has printed so far."""
        error = BuildFailed(detail, function=function.name, **members)
        output = (self._logs.read_build(function.name, function.version) or "")[-DIAGNOSED_CHARACTERS:]
        attach(error, FunctionFacts.of(function, self._settings), output.splitlines())
        return error

    def _is_still(self, function: Function) -> bool:
        """True when the function's folder holds exactly this source."""
        try:
            return self._catalog.get(function.name).source_hash == function.source_hash
        except RunnerError:
            return False  # removed, or broken
