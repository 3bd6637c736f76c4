"""The execution environments: who may have one, in which order, and what becomes of it afterwards.

Callers `enter` (and are refused at once when the house is full), `acquire` an environment when it is their turn, and
`discard` it after its one invocation. Places are given strictly first come, first served; a function that has reached
its own ``max_concurrency`` is passed over without losing its turn.

Nothing is kept warm: `acquire` starts a container for its caller, and a function's ``warm`` has no effect. Callers
would not notice if `acquire` handed out environments that are ready already.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Self

from function_runner.docker_engine import ContainerEngine, Image, ImageMissing
from function_runner.docker_spec import container_spec, new_container_name, new_token
from function_runner.errors import Busy, Draining, EngineUnavailable, InvocationFailed, QueueTimeout, RunnerError
from function_runner.execution_environment import Ending, EnvironmentState, ExecutionEnvironment, Facts
from function_runner.function import Function
from function_runner.images import Images
from function_runner.invocation import Deadline, LogState, Start
from function_runner.logs import LogFile, LogStore
from function_runner.metrics import Metrics
from function_runner.settings import Settings

log = logging.getLogger(__name__)

DISCARD_WORKERS = 8
IMAGE_ATTEMPTS = 2
MEMORY_SAMPLE_SECONDS = 2.0
# Weight of the newest invocation in the running mean that `Retry-After` is computed from.
MEAN_WEIGHT = 0.2
MAX_RETRY_AFTER_SECONDS = 300


@dataclass(frozen=True)
class PoolStatistics:
    """How many environments (and waiting callers) one function has."""

    warm: int  # ready ones that should be kept
    ready: int
    starting: int
    busy: int
    waiting: int  # callers in the queue


@dataclass(frozen=True)
class PoolTotals:
    """The pool as a whole."""

    max_concurrency: int
    in_use: int
    waiting: int
    queue_limit: int


@dataclass
class Acquired:
    """An environment that is ready for its invocation, and what it took to get it."""

    environment: ExecutionEnvironment
    start: Start
    queue_ms: float
    build_ms: float
    start_ms: float


@dataclass(eq=False)
class Place:
    """A caller's place: first in the queue, then among those who run. Given back exactly once.

    Use as a context manager. Leaving it gives the place back, unless an environment was acquired: then the place is
    given back when that environment's container is gone, so that there are never more containers than places.
    """

    pool: "Pool"
    function: Function
    entered_at: float = field(default_factory=time.monotonic)
    granted: Future[None] = field(default_factory=Future)
    environment: ExecutionEnvironment | None = None
    log_state: LogState | None = None  # of a log that was closed before there was an environment

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.environment is None:
            self.pool.leave(self)


class Pool:
    """Owns every execution environment and the queue of those who wait for one. Safe to use from any thread."""

    def __init__(
        self,
        settings: Settings,
        engine: ContainerEngine,
        images: Images,
        logs: LogStore,
        metrics: Metrics,
        *,
        runtime_address: tuple[str, int],
        instance: str,
        host_cpus: int,
    ) -> None:
        """An empty pool.

        Args:
            runtime_address: where containers reach the runtime API.
            instance: this runner process; its containers carry it as a label.
            host_cpus: cores of the machine.
        """
        self._settings = settings
        self._engine = engine
        self._images = images
        self._logs = logs
        self._metrics = metrics
        self._runtime_address = runtime_address
        self._instance = instance
        self._host_cpus = host_cpus
        self._discards = ThreadPoolExecutor(DISCARD_WORKERS, thread_name_prefix="discard")
        self._lock = threading.Lock()
        # Guarded by the lock:
        self._queue: deque[Place] = deque()
        self._running: Counter[str] = Counter()  # places in use, by function
        self._environments: dict[str, ExecutionEnvironment] = {}  # by token
        self._mean_seconds = 1.0
        self._is_closed = False
        self._starts_nothing = False
        self._closed = threading.Event()
        threading.Thread(target=self._sample_memory, name="memory", daemon=True).start()

    # --- for the invoker ----------------------------------------------------------------------------------------------

    def enter(self, function: Function) -> Place:
        """A place for one invocation: at once among the running, or at the end of the queue.

        Raises:
            Busy: the queue is full; ``retry_after`` is the expected wait in seconds.
            Draining: the pool is closed.
        """
        place = Place(self, function)
        with self._lock:
            if self._is_closed:
                raise Draining
            # It may be that nobody has to wait: then the queue is not used, whatever its limit.
            self._queue.append(place)
            self._grant_places()
            if not place.granted.done() and len(self._queue) > self._settings.queue_limit:
                self._queue.remove(place)
                waiting = len(self._queue)
                wait = self._expected_wait(waiting + 1)
            else:
                self._metrics.set_queue_depth(len(self._queue))
                return place
        raise Busy(
            f"{self._settings.max_concurrency} invocations can run at once and {waiting} more are waiting, "
            f"which is all the queue holds. Try again in about {wait} s.",
            retry_after=wait,
            function=function.name,
        )

    def acquire(self, place: Place, deadline: Deadline, announce: Callable[[str], None]) -> Acquired:
        """Wait for the place's turn, then for an environment that is ready.

        Args:
            deadline: of the whole invocation.
            announce: gets the container's name before anything exists under it, so that it can be recorded.

        Raises:
            QueueTimeout, Draining: the turn did not come; nothing was started.
            RunnerError: the image could not be built or the container did not come up. ``members`` names the
                container and its log file where there is one.
        """
        self._await_turn(place, deadline.within(self._settings.queue_timeout))
        turn_at = time.monotonic()
        name = new_container_name(place.function.name)
        announce(name)
        try:
            environment, build_seconds = self._start(place, name, deadline)
        except RunnerError as error:
            error.members = {**error.members, "container_name": name, "log_file": f"logs/{name}.log"}
            raise
        self._metrics.cold_start(place.function.name)
        return Acquired(
            environment,
            Start.COLD,
            queue_ms=(turn_at - place.entered_at) * 1000,
            build_ms=build_seconds * 1000,
            start_ms=(time.monotonic() - turn_at - build_seconds) * 1000,
        )

    def discard(self, place: Place, ending: Ending | None, invocation_id: str, record: Callable[[Facts], None]) -> None:
        """Get rid of the place's environment in the background and then give the place back.

        ``record`` gets the facts about the container before it is removed. Nothing happens when there is no
        environment.
        """
        environment = place.environment
        if environment is None:
            return
        try:
            self._discards.submit(self._discard, place, environment, ending, invocation_id, record)
        except RuntimeError:  # closed: then here, so that nothing stays
            self._discard(place, environment, ending, invocation_id, record)

    def leave(self, place: Place) -> None:
        """Give the place back, whether it was running or still waiting."""
        with self._lock:
            if place in self._queue:
                self._queue.remove(place)
            elif place.granted.done() and place.granted.exception() is None:
                self._running[place.function.name] -= 1
                seconds = time.monotonic() - place.entered_at
                self._mean_seconds += MEAN_WEIGHT * (seconds - self._mean_seconds)
            self._grant_places()
            self._metrics.set_queue_depth(len(self._queue))

    # --- for the runtime API ------------------------------------------------------------------------------------------

    def find(self, token: str) -> ExecutionEnvironment | None:
        """The environment whose container has this token."""
        return self._environments.get(token)

    # --- for the reaper, /debug and shutdown --------------------------------------------------------------------------

    def names(self) -> set[str]:
        """The names of all environments whose containers are not yet removed."""
        with self._lock:
            return {environment.name for environment in self._environments.values()}

    def statistics(self, function_name: str) -> PoolStatistics:
        """How many environments the function has, by state, and how many callers wait for one."""
        with self._lock:
            states = Counter(
                environment.state
                for environment in self._environments.values()
                if environment.function.name == function_name
            )
            waiting = sum(place.function.name == function_name for place in self._queue)
        return PoolStatistics(
            warm=0,
            ready=0,  # an environment that was started for a caller is that caller's
            starting=states[EnvironmentState.STARTING] + states[EnvironmentState.READY],
            busy=states[EnvironmentState.BUSY],
            waiting=waiting,
        )

    def totals(self) -> dict[str, Any]:
        """The pool as a whole, for the status page."""
        with self._lock:
            return asdict(
                PoolTotals(
                    max_concurrency=self._settings.max_concurrency,
                    in_use=self._running.total(),
                    waiting=len(self._queue),
                    queue_limit=self._settings.queue_limit,
                )
            )

    def refuse(self) -> None:
        """Let nobody in any more and send away who waits; what runs goes on."""
        with self._lock:
            self._is_closed = True
            waiting = list(self._queue)
            self._queue.clear()
        for place in waiting:
            place.granted.set_exception(Draining())

    def kill_all(self) -> None:
        """Start no more containers and end every one at once; their invocations fail."""
        self._images.release()
        with self._lock:
            self._starts_nothing = True
            environments = list(self._environments.values())
        for environment in environments:
            environment.kill()

    def close(self) -> None:
        """Refuse, and return when every discarded environment is gone."""
        self.refuse()
        self._discards.shutdown(wait=True)
        self._closed.set()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _sample_memory(self) -> None:
        """Look at the memory of what runs, now and then, off everybody's path. Runs in its own thread."""
        while not self._closed.wait(MEMORY_SAMPLE_SECONDS):
            with self._lock:
                environments = list(self._environments.values())
            for environment in environments:
                if environment.state is EnvironmentState.BUSY:
                    environment.sample_memory()

    def _await_turn(self, place: Place, deadline: Deadline) -> None:
        try:
            place.granted.result(timeout=deadline.remaining)
        except FutureTimeoutError:
            raise QueueTimeout(
                f"No place became free for function {place.function.name!r} within "
                f"{time.monotonic() - place.entered_at:.0f} s; nothing was started.",
                retry_after=self._expected_wait(1),
                function=place.function.name,
            ) from None

    def _start(self, place: Place, name: str, deadline: Deadline) -> tuple[ExecutionEnvironment, float]:
        """A ready environment under this name, and the seconds that getting its image took."""
        log_file = self._logs.create(name)
        try:
            return self._start_logged(place, name, deadline, log_file)
        except BaseException as error:
            if place.environment is None:  # otherwise the environment closes its log when it is destroyed
                if isinstance(error, RunnerError):
                    self._explain(place.function, error, log_file)
                place.log_state = log_file.close().state
            raise

    def _start_logged(
        self, place: Place, name: str, deadline: Deadline, log_file: LogFile
    ) -> tuple[ExecutionEnvironment, float]:
        build_seconds = 0.0
        for _ in range(IMAGE_ATTEMPTS):
            before = time.monotonic()
            image = self._images.ensure(place.function, deadline)
            build_seconds += time.monotonic() - before
            environment = self._prepare(place.function, image, name, log_file)
            place.environment = environment  # from here on `discard` gives the place back
            try:
                environment.launch()
            except ImageMissing:
                # Removed by hand since we saw it: look again, which builds it.
                self._images.forget(image)
                with self._lock:
                    del self._environments[environment.token]
                place.environment = None
                continue
            environment.wait_ready(deadline.within(self._settings.init_timeout))
            return environment, build_seconds
        raise EngineUnavailable(f"Image {image.tag} disappears as soon as it is built.")

    def _prepare(self, function: Function, image: Image, name: str, log_file: LogFile) -> ExecutionEnvironment:
        token = new_token()
        spec = container_spec(
            function,
            self._settings,
            name=name,
            token=token,
            image=image.tag,
            image_id=image.id,
            runtime_address=self._runtime_address,
            instance=self._instance,
            host_cpus=self._host_cpus,
        )
        environment = ExecutionEnvironment(function, image, spec, token=token, engine=self._engine, log_file=log_file)
        with self._lock:
            if self._starts_nothing:
                raise Draining(function=function.name)
            self._environments[token] = environment
        return environment

    def _explain(self, function: Function, error: RunnerError, log_file: LogFile) -> None:
        """An invocation that failed for want of an image has the build's output in its own log."""
        build_log = self._logs.read_build(function.name, function.version)
        if isinstance(error, InvocationFailed) and build_log:
            log_file.write(build_log.encode())
        log_file.write_line(f"[{error.detail}]")

    def _grant_places(self) -> None:
        """Give free places to those who have waited longest. Critical section: called with the lock held.

        A function at its own limit is passed over; it keeps its turn for when one of its own ends.
        """
        for place in list(self._queue):
            if self._running.total() >= self._settings.max_concurrency:
                return
            limit = place.function.max_concurrency
            if limit is not None and self._running[place.function.name] >= limit:
                continue
            self._queue.remove(place)
            self._running[place.function.name] += 1
            place.granted.set_result(None)

    def _expected_wait(self, position: int) -> int:
        """Whole seconds until the caller at this position of the queue would get a place, by the recent mean."""
        seconds = self._mean_seconds * position / self._settings.max_concurrency
        return max(1, min(MAX_RETRY_AFTER_SECONDS, round(seconds)))

    def _discard(
        self,
        place: Place,
        environment: ExecutionEnvironment,
        ending: Ending | None,
        invocation_id: str,
        record: Callable[[Facts], None],
    ) -> None:
        try:
            environment.destroy(ending, invocation_id, record)
        except RunnerError as error:
            # The container stays until the reaper finds it; the record of the invocation is already final.
            log.warning("discard failed: %s", error, extra={"action": "discard_failed", "container": environment.name})
        except Exception:  # an edge: nobody looks at what a worker raises
            log.exception("discard failed", extra={"action": "discard_failed", "container": environment.name})
        finally:
            with self._lock:
                self._environments.pop(environment.token, None)
            self.leave(place)
