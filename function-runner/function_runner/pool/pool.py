"""The pool itself: makes what is to be made, ends what was used, and lets callers wait."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from queue import Empty
from typing import Any

from function_runner.catalog import Catalog
from function_runner.diagnosis import FunctionFacts, attach
from function_runner.docker_engine import ContainerEngine, ImageMissing
from function_runner.docker_spec import container_spec, new_container_name, new_token
from function_runner.errors import (
    Busy,
    Cancelled,
    Draining,
    EngineUnavailable,
    FunctionInvalid,
    FunctionNotFound,
    InvocationFailed,
    Killed,
    LogsUnavailable,
    QueueTimeout,
    RunnerError,
)
from function_runner.execution_environment import Ending, EnvironmentState, ExecutionEnvironment, Facts
from function_runner.function import Function
from function_runner.images import Images
from function_runner.invocation import Deadline, ModelVersion, Progress
from function_runner.logs import LogStore
from function_runner.metrics import Metrics
from function_runner.model_versions import ModelVersions
from function_runner.pool.figures import PoolState, PoolStatistics, PoolTotals
from function_runner.pool.place import Begun, Place, Served
from function_runner.pool.planner import REUSE_PATIENCE_SECONDS, Making, Planner
from function_runner.pool.shelf import Shelf, Trouble
from function_runner.settings import Settings

log = logging.getLogger(__name__)

DISCARD_WORKERS = 8
PREPARING_WORKERS = 32  # those that wait for images to be built; containers are started by as many as there are cores
KEEPER_SECONDS = 1.0
# The answer is on its way to the caller; what ends the container would compete with it for the interpreter.
ANSWER_FIRST_SECONDS = 0.01
MEMORY_SAMPLE_SECONDS = 2.0
SILENCE_SECONDS = 30.0  # after which a container that was told that its result is accepted should have asked for more
LOG_TAIL_LINES = 20  # shown of a container that failed to start
DIAGNOSED_LINES = 40
IMAGE_ATTEMPTS = 3


class Pool:
    """Owns every execution environment and the queue of those who wait for one. Safe to use from any thread."""

    def __init__(
        self,
        settings: Settings,
        engine: ContainerEngine,
        catalog: Catalog,
        images: Images,
        models: ModelVersions,
        logs: LogStore,
        metrics: Metrics,
        *,
        runtime_address: tuple[str, int],
        instance: str,
        host_cpus: int,
    ) -> None:
        """An empty pool. It serves at once, and keeps environments ready from `start` on.

        Args:
            runtime_address: where containers reach the runtime API.
            instance: this runner process; its containers carry it as a label.
            host_cpus: cores of the machine; as many containers are started at the same time.
        """
        self._settings = settings
        self._engine = engine
        self._catalog = catalog
        self._images = images
        self._models = models
        self._logs = logs
        self._metrics = metrics
        self._runtime_address = runtime_address
        self._instance = instance
        self._host_cpus = host_cpus
        self._discards = ThreadPoolExecutor(DISCARD_WORKERS, thread_name_prefix="discard")
        self._builders = ThreadPoolExecutor(PREPARING_WORKERS, thread_name_prefix="prepare")
        self._starters = ThreadPoolExecutor(host_cpus, thread_name_prefix="start")
        self._lock = threading.Lock()
        # Guarded by the lock:
        self._planner = Planner(settings, host_cpus=host_cpus, look_soon=self.look)
        self._keeps_nothing = False
        self._closed = threading.Event()
        self._attention = threading.Event()  # the keeper is to look now
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    # --- for the invoker ----------------------------------------------------------------------------------------------

    def enter(self, function: Function, invocation_id: str, *, waited: float = 0.0) -> Place:
        """A place for one invocation: with an environment that was ready, or at the end of the queue.

        Args:
            waited: seconds since it was accepted.

        Raises:
            Busy: the queue is full; ``retry_after`` is the expected wait in seconds.
            Draining: the pool is closed.
        """
        function = self._newest(function)
        place = Place(self.leave, function, invocation_id)
        place.asked_at = place.entered_at - waited
        with self._lock:
            if self._planner.is_closed:
                raise Draining
            self._planner.shelf(function).demand.note_call(place.entered_at)
            # It may be that nobody has to wait: then the queue is not used, whatever its limit.
            self._planner.queue.append(place)
            self._planner.serve()
            place.need_not_wait = place.environment is not None
            if (
                not place.need_not_wait
                and len(self._planner.queue) > self._settings.queue_limit + self._planner.free_places()
            ):
                self._planner.queue.remove(place)
                waiting, wait = len(self._planner.queue), self._planner.expected_wait(function)
                is_refused = True
            else:
                self._metrics.set_queue_depth(len(self._planner.queue))
                is_refused = False
        if is_refused:
            raise Busy(
                f"{self._settings.max_concurrency} invocations can run at once and {waiting} more are waiting, "
                f"which is all the queue holds. Try again in about {wait} s.",
                retry_after=wait,
                function=function.name,
            )
        if not place.need_not_wait:
            self._supply()
        return place

    def adopt(self, environment: ExecutionEnvironment, invocation_id: str, *, waited: float, running: float) -> Place:
        """The place of an invocation that another runner process has handed over: it runs, whatever the limits say.

        Args:
            waited: seconds since it was accepted.
            running: seconds since it was handed over.
        """
        place = Place(self.leave, environment.function, invocation_id, environment=environment)
        place.asked_at = place.entered_at - waited
        place.served_at = place.entered_at - running
        with self._lock:
            self._planner.environments[environment.token] = environment
            self._planner.shelf(environment.function)
            self._planner.count(place, +1)
        return place

    def wait(self, place: Place, deadline: Deadline, announce: Callable[[str | None], None]) -> None:
        """Wait until the place has an environment that is ready, unless it `need_not_wait`.

        Args:
            deadline: of the whole invocation.
            announce: told when something is being made for the caller: an image (None), or a container, by its name.

        Raises:
            QueueTimeout, Draining: the turn did not come; nothing was started.
            RunnerError: the image could not be built or the container did not come up. ``members`` names the
                container and its log file where there is one.
        """
        patience = deadline.within(self._settings.queue_timeout)
        while True:
            try:
                message = place.messages.get(timeout=patience.remaining)
            except Empty:
                if not self._gives_up(place, deadline):
                    patience = deadline  # something is being made for it, and that has time limits of its own
                    continue
                raise QueueTimeout(
                    f"No place became free for function {place.function.name!r} within "
                    f"{time.monotonic() - place.entered_at:.0f} s; nothing was started.",
                    retry_after=self.expected_wait(place.function),
                    function=place.function.name,
                ) from None
            match message:
                case Begun():
                    announce(message.name)
                case Served():
                    return
                case RunnerError():
                    self._explain_failure(place, message)
                    raise message

    def discard(self, place: Place, ending: Ending, invocation_id: str, record: Callable[[Facts], None]) -> None:
        """The invocation is over. Its environment is ended in the background, or goes on when it may serve others.

        ``record`` gets the facts about the container and its log; before the container is removed.
        """
        environment = place.environment
        if environment is None:
            return
        place.is_discarded = True
        with self._lock:
            goes_on = environment.may_serve_again and self._is_current(environment)
            if goes_on:
                environment.idle_since = time.monotonic()
                self._planner.between[environment.token] = environment
        if goes_on:
            facts = environment.release(ending, invocation_id)
            if environment.state is EnvironmentState.GONE:  # perhaps before it was between two: then nobody was told
                self._changed(environment)
            self._give_back(place)
            record(facts)
        else:
            self._in_background(self._discards, self._discard, place, environment, ending, invocation_id, record)

    def leave(self, place: Place) -> None:
        """Give the place back, whether it was running or still waiting. What it had not used goes to others."""
        with self._lock:
            if place in self._planner.queue:
                self._planner.queue.remove(place)
            environment, place.environment = place.environment, None
            is_good = (
                environment is not None
                and environment.state is EnvironmentState.READY
                and self._is_current(environment)
            )
            if environment is not None and is_good:
                self._planner.shelf(place.function).ready.appendleft(environment)
        if environment is not None and not is_good:
            self._retire(environment, "unused")
        self._give_back(place)

    def send_away(self, place: Place, error: RunnerError) -> bool:
        """End somebody's wait, who gets this error from `wait`. False: it does not wait (any more)."""
        with self._lock:
            if place not in self._planner.queue:
                return False
            self._planner.fail(place, error, None)
        return True

    def position(self, invocation_id: str) -> int | None:
        """The invocation's place in the queue, from 1; None when it does not wait."""
        with self._lock:
            for number, place in enumerate(self._planner.queue, start=1):
                if place.invocation_id == invocation_id:
                    return number
        return None

    def expected_wait(self, function: Function) -> int:
        """Whole seconds until a caller who comes now would be served, by what has been measured lately."""
        with self._lock:
            return self._planner.expected_wait(function)

    def progress(self, invocation_id: str) -> Progress | None:
        """How far the invocation is, as its container has said last; None when it said nothing or is not here."""
        with self._lock:
            environments = list(self._planner.environments.values())
        for environment in environments:
            if environment.is_at(invocation_id):
                return environment.progress
        return None

    # --- for the runtime API ------------------------------------------------------------------------------------------

    def find(self, token: str) -> ExecutionEnvironment | None:
        """The environment whose container has this token."""
        return self._planner.environments.get(token)

    # --- for the reaper, /debug and shutdown --------------------------------------------------------------------------

    def names(self) -> set[str]:
        """The names of all environments whose containers are not yet removed."""
        with self._lock:
            return {environment.name for environment in self._planner.environments.values()}

    def statistics(self, function_name: str) -> PoolStatistics:
        """How many environments the function has, by state, and how many callers wait for one."""
        now = time.monotonic()
        if function_name not in self._planner.shelves:
            warm = self._warm_of(function_name)
            return PoolStatistics(warm, warm, 0, 0, 0, 0, "ok" if warm else "off")
        with self._lock:
            shelf = self._planner.shelves.get(function_name)
            waiting = sum(place.function.key == function_name for place in self._planner.queue)
            if shelf is None:  # it has just been removed
                return PoolStatistics(0, 0, 0, 0, 0, waiting, "off")
            warm, target, trouble = shelf.function.warm, shelf.demand.target(shelf.function, now), shelf.trouble
            is_short = shelf.is_short_of_memory and len(shelf.ready) < target
            state: PoolState = "off" if warm == 0 else "no_memory" if is_short else "ok"
            problem: str | None = None
            tail: tuple[str, ...] = ()
            if state == "no_memory":
                problem = (
                    f"POOL_MEMORY ({self._settings.pool_memory} MB) does not allow {target} ready environments of "
                    f"{shelf.function.memory_mb} MB beside the others; calls beyond the ready ones start cold."
                )
            if trouble is not None and warm > 0:
                state, problem, tail = "broken", trouble.problem, trouble.log_tail
            return PoolStatistics(
                warm=warm,
                target=target,
                ready=len(shelf.ready),
                starting=shelf.starting,
                busy=self._planner.running[function_name],
                waiting=waiting,
                state=state,
                problem=problem,
                log_tail=tail,
                diagnosis=trouble.diagnosis if trouble is not None and state == "broken" else None,
            )

    def _warm_of(self, function_name: str) -> int:
        """What a function that the pool has not seen yet asks for."""
        try:
            return self._catalog.get(function_name).warm
        except (FunctionInvalid, FunctionNotFound):
            return 0

    def totals(self) -> dict[str, Any]:
        """The pool as a whole, for the status page."""
        with self._lock:
            return asdict(
                PoolTotals(
                    max_concurrency=self._settings.max_concurrency,
                    in_use=self._planner.running.total(),
                    waiting=len(self._planner.queue),
                    queue_limit=self._settings.queue_limit,
                    ready=sum(len(shelf.ready) for shelf in self._planner.shelves.values()),
                    memory_mb=self._planner.memory(),
                    functions_memory_mb=self._settings.functions_memory,
                    ready_memory_mb=self._planner.ready_memory(),
                    pool_memory_mb=self._settings.pool_memory,
                )
            )

    def start(self) -> None:
        """Keep environments ready from now on."""
        self._keeper.start()

    def look(self) -> None:
        """Something has changed outside (a model, a function): look now, not in a second."""
        self._attention.set()

    def refuse(self) -> None:
        """Let nobody in any more and send away those for whom nothing is being made; what runs or starts goes on."""
        with self._lock:
            self._planner.is_closed = True
            for place in [place for place in self._planner.queue if place.covered_by == "nothing"]:
                self._planner.fail(place, Draining(), None)

    def kill_all(self) -> None:
        """Start no more containers and end every one at once; their invocations fail."""
        self._images.release()
        with self._lock:
            self._planner.starts_nothing = True
            environments = list(self._planner.environments.values())
            for place in list(self._planner.queue):
                self._planner.fail(place, Draining(), None)
        for environment in environments:
            environment.kill()

    def close(self) -> None:
        """Refuse, and return when every environment that nobody uses is gone."""
        self.refuse()
        self._closed.set()
        self._attention.set()
        if self._keeper.is_alive():
            self._keeper.join()
        self._builders.shutdown(wait=False, cancel_futures=True)
        self._starters.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            self._keeps_nothing = True  # what becomes ready from now on ends at once
            idle = [environment for shelf in self._planner.shelves.values() for environment in shelf.ready]
            idle += self._planner.between.values()
            self._planner.between.clear()
            for shelf in self._planner.shelves.values():
                shelf.ready.clear()
        for environment in idle:
            self._retire(environment, "closed")
        self._discards.shutdown(wait=True)

    # --- making and ending --------------------------------------------------------------------------------------------

    def _newest(self, function: Function) -> Function:
        """The function as it is now: while one caller looked it up, another may have seen it change."""
        shelf = self._planner.shelves.get(function.key)
        if function.is_of_then:
            return function
        if shelf is not None and shelf.function.source_hash != function.source_hash:
            return self._turn_to_newest(function.name)
        return function

    def _turn_to_newest(self, name: str) -> Function:
        """Let go of everything that was made from an older source of the function, and return the function.

        Others may do the same with what they have read a moment earlier or later. So each reads again until what it
        reads is what is there: then the last word is the newest.

        Raises:
            FunctionNotFound, FunctionInvalid: there is no such function (any more).
        """
        while True:
            function = self._catalog.get(name)
            with self._lock:
                shelf = self._planner.shelf(function)
                if shelf.function.source_hash == function.source_hash:
                    return function
                stale = shelf.turn_to(function)
                trouble, shelf.trouble = shelf.trouble, None
            self._forget_log_of(trouble)
            for environment in stale:
                self._retire(environment, "source")

    def _is_current(self, environment: ExecutionEnvironment) -> bool:
        shelf = self._planner.shelves.get(environment.function.key)
        if self._keeps_nothing:
            return False
        return shelf is not None and shelf.function.source_hash == environment.function.source_hash

    def _supply(self) -> None:
        """Make what is to be made."""
        with self._lock:
            plan = self._planner.plan()
        for environment, reason in plan.retired:
            self._retire(environment, reason)
        for function in plan.builds:
            self._in_background(self._builders, self._prepare_image, function)
        for start in plan.starts:
            self._in_background(self._starters, self._make, start)

    def _gives_up(self, place: Place, deadline: Deadline) -> bool:
        """The caller's patience is over. False: a message is on its way, or something is being made for it."""
        with self._lock:
            if place not in self._planner.queue:
                return False
            if place.covered_by != "nothing" and not deadline.has_passed:
                return False
            self._planner.queue.remove(place)
            return True

    def _give_back(self, place: Place) -> None:
        with self._lock:
            if place.is_running:
                self._planner.count(place, -1)
                if place.served_at is not None:
                    self._planner.shelf(place.function).demand.note_run(time.monotonic() - place.served_at)
            self._planner.serve()
            self._metrics.set_queue_depth(len(self._planner.queue))
            is_reused, somebody_waits = place.function.is_reused, bool(self._planner.queue)
        if somebody_waits or not is_reused:
            self._supply()

    def publish_log(self, environment: ExecutionEnvironment) -> None:
        """Its container has an invocation, so its log gets its place. Where that fails it is said, and nothing more."""
        if environment.is_log_published:
            return
        try:
            self._logs.publish(environment.name)
            environment.is_log_published = True
        except LogsUnavailable as error:
            log.warning("%s", error, extra={"action": "log_failed", "container": environment.name})

    def _explain_failure(self, place: Place, error: RunnerError) -> None:
        """Whoever gets the error learns where the log is; an invocation without a container gets a log of its own."""
        is_nothing_to_tell = isinstance(error, Cancelled) and place.covered_by == "nothing"
        if isinstance(error, Draining) or is_nothing_to_tell:
            return
        try:
            name = self._log_of_failure(place, error)
        except LogsUnavailable as unavailable:
            log.warning("no log of a failure: %s", unavailable, extra={"action": "log_failed"})
            return
        error.members = {**error.members, "container_name": name, "log_file": f"logs/{name}.log"}

    def _log_of_failure(self, place: Place, error: RunnerError) -> str:
        """The name of the log that tells of the failure: the container's own, or one with the output of the build."""
        if place.environment is not None:
            self._logs.publish(place.environment.name)
            return place.environment.name
        name = new_container_name(place.function.name)
        log_file = self._logs.create(name)
        build_log = self._logs.read_build(place.function.name, place.function.version)
        if isinstance(error, InvocationFailed) and build_log:
            log_file.write(build_log.encode())
        log_file.write_line(f"[{error.detail}]")
        self._logs.publish(name)
        place.log_state = log_file.close().state
        return name

    def _prepare_image(self, function: Function) -> None:
        """Make the function's image, for all who wait for it."""
        began = time.monotonic()
        image, problem = None, None
        try:
            image = self._images.ensure(function, Deadline.after(self._settings.sync_wait_limit))
        except RunnerError as error:
            problem = error
            self._diagnose(function, error, ())
            # If it was edited meanwhile, that is why, and there is another try.
            with contextlib.suppress(RunnerError, OSError):  # gone, or its folder cannot be read right now
                if not function.is_of_then:
                    self._turn_to_newest(function.name)
        except Exception as error:  # an edge: nobody looks at what a worker raises, and callers may be waiting
            log.exception("build failed", extra={"action": "build_failed", "function": function.name})
            problem = RunnerError(f"The image of function {function.name!r} could not be built: {error!r}")
        with self._lock:
            shelf = self._planner.shelf(function)
            shelf.is_building = False
            if shelf.function.source_hash == function.source_hash:
                if image is not None:
                    shelf.image, shelf.build = image, (began, time.monotonic())
                elif problem is not None:
                    shelf.build = (began, time.monotonic())
                    shelf.note_trouble(problem, ())
                    for place in [place for place in self._planner.queue if place.function.key == function.key]:
                        self._planner.fail(place, problem.again(), None)
        self._supply()

    def _make(self, start: Making) -> None:
        """Start one container and wait until it is ready."""
        environment = None
        try:
            environment = self._new_environment(start)
            environment.launch()
            environment.wait_ready(Deadline.after(self._settings.init_timeout))
        except ImageMissing:
            self._image_is_gone(start, environment)
        except RunnerError as error:
            self._not_made(start, environment, error)
        except Exception as error:  # an edge: nobody looks at what a worker raises, and a caller may be waiting
            log.exception("start failed", extra={"action": "start_failed", "container": start.name})
            self._not_made(start, environment, RunnerError(f"The container could not be started: {error!r}"))
        else:
            self._made(start, environment)
        self._supply()

    def _new_environment(self, start: Making) -> ExecutionEnvironment:
        function, token = start.function, new_token()
        wanted = function.model_of(function.default_parameters)
        model = self._models.resolve(*wanted) if wanted else None
        spec = container_spec(
            function,
            self._settings,
            name=start.name,
            token=token,
            image=start.image.tag,
            image_id=start.image.id,
            base_image_id=start.image.base_id,
            runtime_address=self._runtime_address,
            instance=self._instance,
            host_cpus=self._host_cpus,
            in_advance=start.in_advance,
            model=model,
        )
        environment = ExecutionEnvironment(
            function,
            start.image,
            spec,
            token=token,
            engine=self._engine,
            log_file=self._logs.create(start.name),
            model=model,
            on_change=self._changed,
        )
        with self._lock:
            if self._planner.starts_nothing:
                self._logs.forget(start.name)
                raise Draining(function=function.name)
            self._planner.environments[token] = environment
        return environment

    def _made(self, start: Making, environment: ExecutionEnvironment) -> None:
        made = environment.milestones
        with self._lock:
            shelf = self._planner.shelf(start.function)
            self._planner.has_ended(start, shelf)
            shelf.images_missed = 0
            if made.ready is not None:
                shelf.demand.note_start(made.ready - made.begun)
            is_stale = shelf.function.source_hash != start.function.source_hash
            over = None
            if not is_stale:
                if shelf.trouble is not None and not shelf.trouble.had_been_ready:
                    over, shelf.trouble = shelf.trouble, None
                shelf.ready.append(environment)
                self._planner.serve()
            is_idle = environment in shelf.ready
            if is_idle and shelf.is_gone:  # removed while this one was being made
                shelf.ready.remove(environment)
                is_idle, is_stale = False, True
        self._forget_log_of(over)
        if is_stale:
            self._retire(environment, "source")
        if start.in_advance and not is_stale:
            try:
                environment.take_full_share()
            except EngineUnavailable as error:
                log.warning(
                    "share not changed: %s", error, extra={"action": "share_failed", "container": environment.name}
                )
        if is_idle:
            log.info(
                "%s ready",
                environment.function.name,
                extra={"action": "ready", "function": environment.function.name, "container": environment.name},
            )

    def _not_made(self, start: Making, environment: ExecutionEnvironment | None, error: RunnerError) -> None:
        """It did not start. Whoever waits longest learns why; if nobody does, the pool waits before it tries again."""
        tail = self.log_tail(start.name, lines=DIAGNOSED_LINES)
        self._diagnose(start.function, error, tail)
        with self._lock:
            shelf = self._planner.shelf(start.function)
            self._planner.has_ended(start, shelf)
            waiting = next((place for place in self._planner.queue if place.function.key == start.function.key), None)
            before = shelf.trouble
            if shelf.function.source_hash == start.function.source_hash and not isinstance(error, Draining):
                shelf.note_trouble(error, tail[-LOG_TAIL_LINES:], start.name if waiting is None else None)
            if waiting is not None:
                self._planner.fail(waiting, error.again(), environment)
        if before is not shelf.trouble:
            self._forget_log_of(before)
        if waiting is None and environment is not None:
            self._retire(environment, "broken", keep_log=shelf.trouble is not None)

    def _forget_log_of(self, trouble: Trouble | None) -> None:
        """It is over, so its log is of no use any more."""
        if trouble is not None and trouble.log_name is not None:
            self._logs.forget(trouble.log_name)

    def _image_is_gone(self, start: Making, environment: ExecutionEnvironment | None) -> None:
        """Removed by hand since we saw it: look again, which builds it."""
        self._images.forget(start.image)
        with self._lock:
            shelf = self._planner.shelf(start.function)
            shelf.images_missed += 1
            gone_again = shelf.images_missed >= IMAGE_ATTEMPTS
            if shelf.image == start.image:
                shelf.image = None
        if gone_again:
            error = EngineUnavailable(f"Image {start.image.tag} disappears as soon as it is built.")
            self._not_made(start, environment, error)
            return
        with self._lock:
            self._planner.has_ended(start, shelf)
            for place in self._planner.queue:
                if place.function.key == start.function.key:
                    place.covered_by = "nothing"
        if environment is not None:
            self._retire(environment, "image")

    def _diagnose(self, function: Function, error: RunnerError, output: tuple[str, ...]) -> None:
        """Attach the diagnosis of what kept an environment from being used. Builds bring their own."""
        attach(error, FunctionFacts.of(function, self._settings), output)

    def log_tail(self, container_name: str, *, lines: int) -> tuple[str, ...]:
        """The last lines of a container's log, whether it has an invocation or not; none where it cannot be read."""
        try:
            content = self._logs.read(container_name, tail_lines=lines, max_bytes=lines * 200)
        except RunnerError:
            return ()
        return tuple(content.decode("utf-8", "replace").splitlines())

    def _changed(self, environment: ExecutionEnvironment) -> None:
        """An environment has become ready again, or ended by itself. Called from its own threads."""
        with self._lock:
            shelf = self._planner.shelf(environment.function)
            was_between = self._planner.between.pop(environment.token, None) is not None
            is_ready = environment.state is EnvironmentState.READY
            if not was_between and (is_ready or environment not in shelf.ready):
                return  # somebody has it, and will learn it; or it is being ended
            if is_ready and self._is_current(environment):
                shelf.ready.append(environment)
                self._planner.serve()
                return
            if is_ready:
                reason = "closed" if self._keeps_nothing else "source"
            else:
                reason = "died"
                if not was_between:
                    shelf.ready.remove(environment)
                error = Killed(f"Container {environment.name} ended while it was waiting.")
                self._diagnose(environment.function, error, ())
                shelf.note_trouble(error, (), had_been_ready=True)
        self._retire(environment, reason)

    def _discard(
        self,
        place: Place,
        environment: ExecutionEnvironment,
        ending: Ending,
        invocation_id: str,
        record: Callable[[Facts], None],
    ) -> None:
        time.sleep(ANSWER_FIRST_SECONDS)
        environment.stop()
        self._give_back(place)
        self.publish_log(environment)  # unless that has been done
        self._destroy(environment, ending, invocation_id, record)

    def _retire(self, environment: ExecutionEnvironment, reason: str, *, keep_log: bool = False) -> None:
        """End an environment that has no invocation."""
        log.info(
            "%s retired: %s",
            environment.function.name,
            reason,
            extra={"action": "retired", "function": environment.function.name, "container": environment.name},
        )
        self._metrics.retired(environment.function.name, reason)

        def end() -> None:
            environment.stop()
            self._destroy(environment, None, None, lambda _: None)
            if not keep_log:
                self._logs.forget(environment.name)
            self._supply()

        self._in_background(self._discards, end)

    def _destroy(
        self,
        environment: ExecutionEnvironment,
        ending: Ending | None,
        invocation_id: str | None,
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
                self._planner.environments.pop(environment.token, None)

    @staticmethod
    def _in_background(workers: ThreadPoolExecutor, work: Callable[..., None], *arguments: Any) -> None:
        try:
            workers.submit(work, *arguments)
        except RuntimeError:  # closed: then here, so that nothing stays
            work(*arguments)

    # --- keeping ------------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        """Look now and then whether what is ready is what should be. Runs in its own thread."""
        sampled_at = time.monotonic()
        while not self._closed.is_set():
            self._attention.clear()
            try:
                self._look_at_functions()
                for environment, reason in self._superfluous():
                    self._retire(environment, reason)
                self._supply()
                if time.monotonic() - sampled_at >= MEMORY_SAMPLE_SECONDS:
                    sampled_at = time.monotonic()
                    self._sample_memory()
                self._count_environments()
            except Exception:  # an edge: a bug in one round must not end all further ones
                log.exception("keeper failed", extra={"action": "keeper_failed"})
            if self._attention.wait(KEEPER_SECONDS):
                self._closed.wait(REUSE_PATIENCE_SECONDS)

    def _look_at_functions(self) -> None:
        """Notice new, changed and removed functions without waiting for their next call."""
        known = {entry.name: entry.function for entry in self._catalog.list()}
        for function in known.values():
            shelf = self._planner.shelves.get(function.name) if function is not None else None
            is_news = shelf is not None and function is not None and shelf.function.source_hash != function.source_hash
            if function is not None and (is_news or (shelf is None and function.warm > 0)):
                with contextlib.suppress(FunctionInvalid, FunctionNotFound):
                    self._turn_to_newest(function.name)
        with self._lock:
            for name, shelf in self._planner.shelves.items():
                shelf.is_gone = known.get(name) is None
            gone = [shelf for shelf in self._planner.shelves.values() if shelf.is_gone]
            waited_for = {place.function.key for place in self._planner.queue}
            stale = [environment for shelf in gone for environment in shelf.ready]
            for shelf in gone:
                shelf.ready.clear()
                if not shelf.starting and not shelf.is_building and shelf.function.key not in waited_for:
                    del self._planner.shelves[shelf.function.key]
        for shelf in gone:
            self._forget_log_of(shelf.trouble)
        for environment in stale:
            self._retire(environment, "source")

    def _superfluous(self) -> list[tuple[ExecutionEnvironment, str]]:
        """The environments nobody has that should not be there (any more), taken out of the books, with the reason."""
        now = time.monotonic()
        with self._lock:
            shelves = list(self._planner.shelves.values())
        newest = {shelf.function.key: self._newest_model(shelf.function) for shelf in shelves}
        found: list[tuple[ExecutionEnvironment, str]] = []
        with self._lock:
            for shelf in shelves:
                keep = shelf.demand.target(shelf.function, now)
                for environment in list(shelf.ready):
                    reason = self._reason_to_retire(environment, shelf, newest[shelf.function.key], keep, now)
                    if reason is not None:
                        shelf.ready.remove(environment)
                        found.append((environment, reason))
            for environment in list(self._planner.between.values()):
                if now - environment.idle_since > SILENCE_SECONDS:
                    del self._planner.between[environment.token]
                    found.append((environment, "silent"))
        return found

    @staticmethod
    def _reason_to_retire(
        environment: ExecutionEnvironment, shelf: Shelf, model: ModelVersion | None, keep: int, now: float
    ) -> str | None:
        made = environment.milestones
        idle = now - environment.idle_since
        if environment.state is not EnvironmentState.READY:
            return "died"
        if model is not None and environment.model != model:
            return "model"
        if made.ready is not None and now - made.ready > shelf.function.warm_max_age:
            return "age"
        if len(shelf.ready) > keep:
            if not shelf.function.is_reused:
                return "surplus"
            if idle > shelf.function.max_idle:
                return "idle"
        return None

    def _newest_model(self, function: Function) -> ModelVersion | None:
        """The model version that a new environment would load in advance, as far as that is known."""
        wanted = function.model_of(function.default_parameters) if function.warm > 0 else None
        return self._models.remembered(*wanted) if wanted else None

    def _sample_memory(self) -> None:
        """Look at the memory of what runs, off everybody's path."""
        with self._lock:
            environments = list(self._planner.environments.values())
        for environment in environments:
            if environment.state is EnvironmentState.BUSY:
                environment.sample_memory()

    def _count_environments(self) -> None:
        with self._lock:
            names = list(self._planner.shelves)
        for name in names:
            counted = self.statistics(name)
            for state, number in (("ready", counted.ready), ("starting", counted.starting), ("busy", counted.busy)):
                self._metrics.set_environments(name, state, number)
