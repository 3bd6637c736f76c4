"""One execution environment: a container prepared for invocations, from its creation to its removal.

    STARTING -> READY -> BUSY -> GONE          and, when it may serve more than one invocation, BUSY -> READY

It becomes READY when its process asks the runtime API for work, BUSY when it is handed an invocation, and GONE from
wherever it is. The runtime API's thread brings what the container says (`ask_for_work`, `take_result`, `take_error`);
the invoker's thread hands over and waits (`hand_over`, `result`); whoever starts it waits until it is ready
(`wait_ready`); a capture thread of its own copies the output to the log and notices the container's end. They meet in
futures, so nobody polls and nobody waits under a lock.
"""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from function_runner.docker_engine import ContainerEngine, ContainerInfo, ContainerState, Image, StartRefused
from function_runner.docker_spec import FULL_SHARES, ContainerSpec
from function_runner.errors import (
    EngineUnavailable,
    ExitedWithoutResult,
    FieldError,
    HandlerError,
    HandlerNotFound,
    HandlerRefused,
    HandlerUnavailable,
    InitError,
    InvalidResult,
    InvocationFailed,
    Killed,
    Lost,
    OutOfMemory,
    ResultTooLarge,
    RunnerError,
    TimedOut,
)
from function_runner.function import Function
from function_runner.invocation import Deadline, LogState, ModelVersion, Progress, Status
from function_runner.logs import LogFile, start_line
from function_runner.progress import ProgressLines

log = logging.getLogger(__name__)

SIGKILL_EXIT = 137
# What an exit code says by convention
WELL_KNOWN_EXITS = {
    126: " (the ENTRYPOINT of its image is not executable)",
    127: " (the ENTRYPOINT of its image does not exist)",
    139: " (it crashed: segmentation fault)",
}
SIGTERM_EXIT = 143

PROGRESS_SECONDS = 1.0  # how often somebody is told of progress at most
# How long the rest of a line may take to arrive when the result is there: it goes another way than the result does, and
# Python's print writes a line in several parts.
LINE_END_SECONDS = 0.02
# The runtime client ends its process when its result is refused. So long after an adoption, that may be why it ended.
ADOPTION_DOUBT_SECONDS = 5.0
DRAIN_OUTPUT_SECONDS = 5.0  # how long a killed container's last output may take to arrive
# What the runtime client reports when it cannot write the handler's result as JSON
MARSHAL_ERROR = "Runtime.MarshalError"
# How much of an exception is kept; the log has all of it
MAX_MESSAGE = 10_000
MAX_TRACE_LINES = 100
MAX_TRACE_LINE = 1000

# The engine marks a container as out of memory a moment after the kernel killed it.
OOM_SETTLE_SECONDS = 0.3


class EnvironmentState(StrEnum):
    """The four states of an execution environment."""

    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    GONE = "gone"


@dataclass(frozen=True)
class Work:
    """One invocation as the container gets it."""

    invocation_id: str
    event: bytes  # the parameters, as JSON
    timeout: float  # seconds the handler may run
    deadline_ms: int  # the same as wall-clock time, milliseconds since the epoch, for the function's own use
    model: ModelVersion | None = None  # the version that the parameters ask for, where it is known


@dataclass
class Milestones:
    """When an environment reached each point of its making, on the monotonic clock; None: not yet."""

    begun: float = field(default_factory=time.monotonic)
    created: float | None = None  # the engine has made the container
    started: float | None = None  # its process runs
    ready: float | None = None  # it asked for work


class _Answer:
    """What the container says to one invocation, and what it is told in return."""

    def __init__(self, timeout: float = 0.0) -> None:
        self.timeout = timeout  # seconds the handler may take
        self.deadline = Deadline.after(timeout)
        self.result: Future[bytes] = Future()
        self.accepted: Future[bool] = Future()  # whether the result became the record


@dataclass(frozen=True)
class Ending:
    """How the invocation ended, for the log's last lines."""

    status: Status
    run_ms: float | None
    init_ms: float | None
    detail: str | None = None


@dataclass(frozen=True)
class Facts:
    """What is known of the container's process and its log once it is over."""

    exit_code: int | None  # None: it was still alive and ended by us
    oom_killed: bool
    max_memory_mb: float | None
    log_state: LogState
    log_bytes: int
    log_sha256: str | None
    is_final: bool = True  # False: the container goes on
    progress: Progress | None = None  # the last that the function said of it


class ProtocolViolation(Exception):
    """The container asked for something that makes no sense in its state."""


class ExecutionEnvironment:
    """A container, its log file and the invocations it serves, one at a time."""

    def __init__(
        self,
        function: Function,
        image: Image,
        spec: ContainerSpec,
        *,
        token: str,
        engine: ContainerEngine,
        log_file: LogFile,
        model: ModelVersion | None = None,
        on_change: Callable[["ExecutionEnvironment"], None] = lambda _: None,
    ) -> None:
        """Nothing exists yet; `launch` makes the container.

        Args:
            model: the model version it was told to load in advance.
            on_change: called, from any thread, when it has become ready again, or has ended by itself while no
                invocation had it.
        """
        self.function = function
        self.image = image
        self.name = spec.name
        self.token = token
        self.model = model
        self.address: Future[str] = Future()  # its address on the functions' network, known after the start
        self.milestones = Milestones()
        self.served = 0  # invocations handed to it
        self.idle_since = time.monotonic()
        self.is_log_published = False  # it has its place among the logs, where people look for it
        self._spec = spec
        self._engine = engine
        self._log = log_file
        self._on_change = on_change
        self._container_id: str | None = None
        self._capture: threading.Thread | None = None
        self._ready: Future[None] = Future()
        self._next: Future[Work | None] = Future()  # what GET next waits for; None: the environment is over
        self._answer = _Answer()
        self._serving: str | None = None  # id of the invocation that was handed over
        self._has_asked = False  # for its next invocation, after it has served one
        self._is_released = False  # the invoker is through with the last one
        self._progress_lines = ProgressLines()
        self._progress: Progress | None = None  # of the invocation that was handed over
        self._tell_progress: Callable[[Progress], None] = lambda _: None
        self._progress_told_at = 0.0
        self._ended = threading.Event()  # the container's process is over and its output is copied
        self._exit: ContainerState | None = None
        self._kill_wanted = False
        self._in_doubt_until = 0.0  # until then an end may come from the runner's absence
        self._max_memory_mb: float | None = None
        self._lock = threading.Lock()  # guards the state and what decides it
        self._state = EnvironmentState.STARTING

    @classmethod
    def adopt(
        cls,
        function: Function,
        image: Image,
        container: ContainerInfo,
        *,
        token: str,
        address: str,
        engine: ContainerEngine,
        log_file: LogFile,
        output: Iterator[bytes],
        invocation_id: str,
        seconds_left: float,
    ) -> Self:
        """The environment of a running container that another runner process made and handed an invocation to.

        Its result is accepted as if this process had handed it over; afterwards the container is not used again.

        Args:
            output: what of the container's output is not in ``log_file`` yet, and what will come.
            seconds_left: until the handler's time is over.
        """
        spec = ContainerSpec(container.name, image.tag, {})
        environment = cls(function, image, spec, token=token, engine=engine, log_file=log_file)
        environment.served = function.invocations_per_container
        environment.milestones.ready = environment.milestones.begun
        environment.address.set_result(address)
        environment._container_id = container.id
        environment._serving = invocation_id
        environment._answer = _Answer(seconds_left)
        environment._in_doubt_until = time.monotonic() + ADOPTION_DOUBT_SECONDS
        environment._ready.set_result(None)
        environment._state = EnvironmentState.BUSY
        environment._begin_capture(output)
        return environment

    # --- from the pool ------------------------------------------------------------------------------------------------

    @property
    def state(self) -> EnvironmentState:
        """Where it stands."""
        return self._state

    @property
    def init_ms(self) -> float | None:
        """Milliseconds from the container's start until it asked for work; None if it never did."""
        started, ready = self.milestones.started, self.milestones.ready
        return (ready - started) * 1000 if started is not None and ready is not None else None

    @property
    def may_serve_again(self) -> bool:
        """True when it has served one, has invocations left, and its process lives and will ask for the next.

        It will not when its answer was refused: then the runtime client ends its process.
        """
        answered = self._answer.accepted
        return (
            self._state is EnvironmentState.BUSY
            and self.served < self.function.invocations_per_container
            and not self._kill_wanted
            and answered.done()
            and answered.result()
        )

    def launch(self) -> None:
        """Create and start the container, with its output being captured from the first byte.

        Raises:
            ImageMissing, InitError, EngineUnavailable: nothing runs; `destroy` cleans up what there is.
        """
        self.milestones = Milestones()
        self._container_id = self._engine.create(self._spec)
        self.milestones.created = time.monotonic()
        self._begin_capture(self._engine.attach(self._container_id))
        try:
            self._engine.start(self._container_id)
        except StartRefused as error:
            raise InitError(f"The container of function {self.function.name!r} cannot be started: {error}") from error
        finally:
            self.milestones.started = time.monotonic()
        if self._kill_wanted:  # somebody gave up on it while it was being made
            self.kill()
        state = self._engine.inspect(self._container_id)
        if state is not None and state.ip_address:
            self.address.set_result(state.ip_address)
        # Otherwise it has ended already; the capture thread finds out how.

    def wait_ready(self, deadline: Deadline) -> None:
        """Return when the container has asked for work.

        Raises:
            InitError, OutOfMemory, ExitedWithoutResult, Killed: it ended before that.
            TimedOut: it was still loading when the deadline passed.
        """
        try:
            self._ready.result(timeout=deadline.remaining)
        except FutureTimeoutError:
            raise TimedOut(
                f"Function {self.function.name!r} was still loading its module when its time to start was over.",
                phase="init",
            ) from None

    def take_full_share(self) -> None:
        """It has loaded what it needs: from now on it counts as much as any other when the processor is short.

        Raises:
            EngineUnavailable: it goes on with the share it has.
        """
        if self._container_id is not None:
            self._engine.set_cpu_shares(self._container_id, FULL_SHARES)

    # --- from the invoker ---------------------------------------------------------------------------------------------

    def hand_over(self, work: Work) -> None:
        """Hand the invocation to the container, which is ready. Its `result` comes later.

        Raises:
            Killed: the container is not ready (any more); it has got nothing.
        """
        with self._lock:
            if self._state is not EnvironmentState.READY:
                raise Killed(f"Container {self.name} ended before the invocation could be handed to it.")
            self._state = EnvironmentState.BUSY
            self._serving = work.invocation_id
            self._has_asked = self._is_released = False
            self._progress, self._progress_told_at = None, 0.0
            self.served += 1
            waiting, self._next = self._next, Future()
            self._answer = _Answer(work.timeout)
        self._log.write_line(start_line(work.invocation_id, self.function.version))
        waiting.set_result(work)

    def result(self) -> bytes:
        """Wait for the result of what was handed over, as the bytes the handler's answer was sent in.

        Must be followed by `acknowledge`: until then the container's own request for delivering it stays open.

        Raises:
            InvocationFailed: one of its subclasses says how it ended instead.
            TimedOut: no answer within ``Work.timeout``; the container still runs and must be destroyed.
        """
        answer = self._answer
        try:
            return answer.result.result(timeout=answer.deadline.remaining)
        except FutureTimeoutError:
            raise TimedOut(
                f"Function {self.function.name!r} did not finish within {answer.timeout:g} s and was killed.",
                phase="run",
            ) from None

    def acknowledge(self, *, accepted: bool) -> None:
        """Tell the container whether its result became the record. Later calls change nothing."""
        _settle(self._answer.accepted, accepted)

    def tell_progress(self, tell: Callable[[Progress], None]) -> None:
        """Call ``tell`` when the function says how far it is, at most once a second; the `Facts` have the last of it.

        It is called by the thread that copies the output, so it must return at once.
        """
        self._tell_progress = tell

    def is_at(self, invocation_id: str) -> bool:
        """True from the moment in which it got the invocation until it gets the next one."""
        return self._serving == invocation_id

    @property
    def progress(self) -> Progress | None:
        """How far the invocation is that it got last, as far as the function tells."""
        return self._progress

    def release(self, ending: Ending, invocation_id: str) -> Facts:
        """The invocation is over and the container goes on: close its part of the log; the next one may come.

        Only when `may_serve_again`. Returns what is known now; the container's process has not ended.
        """
        self._log.wait_for_line_end(LINE_END_SECONDS)
        for line in _report(ending, invocation_id, self.function.memory_mb, self._max_memory_mb):
            self._log.write_line(line)
        summary = self._log.end_part()
        with self._lock:
            self._is_released = True
        self._become_ready_again()
        return Facts(
            None,
            False,
            self._max_memory_mb,
            summary.state,
            summary.bytes,
            None,
            is_final=False,
            progress=self._progress,
        )

    # --- from the runtime API -----------------------------------------------------------------------------------------

    def ask_for_work(self) -> Future[Work | None]:
        """The container asks for its next invocation and is thereby ready. None in the future: there will be none.

        Raises:
            ProtocolViolation: it still owes an answer.
        """
        with self._lock:
            if self._state is EnvironmentState.STARTING:
                self._state = EnvironmentState.READY
                self.milestones.ready = self.idle_since = time.monotonic()
            elif self._state is EnvironmentState.BUSY:
                if self._has_asked or not self._answer.result.done():
                    raise ProtocolViolation("the previous invocation has not been answered")
                self._has_asked = True
            waiting = self._next
        _settle(self._ready, None)
        self._become_ready_again()
        return waiting

    def is_serving(self, invocation_id: str) -> bool:
        """True when this is the invocation that was handed over and it has no answer yet."""
        return (
            self._serving == invocation_id and not self._answer.result.done() and self._state is EnvironmentState.BUSY
        )

    def take_result(self, body: bytes) -> Future[bool]:
        """The handler's result. The future tells whether it became the record."""
        answer = self._answer
        _settle(answer.result, body)
        return answer.accepted

    def take_oversized_result(self, limit: int) -> Future[bool]:
        """The handler returned more than ``limit`` bytes."""
        return self._take_failure(
            ResultTooLarge(
                f"Function {self.function.name!r} returned more than the {limit} bytes a result may hold. "
                "Store it as an artifact and return its address."
            )
        )

    def take_error(self, report: Mapping[str, Any]) -> Future[bool]:
        """The handler raised: ``report`` has errorType, errorMessage and stackTrace."""
        return self._take_failure(_handler_failure(self.function.name, report))

    def take_init_error(self, report: Mapping[str, Any]) -> None:
        """The module could not be loaded. Answers whoever waits for the environment."""
        sentence = _sentence(self.function.name, "could not be loaded", report)
        _fail(self._ready, InitError(sentence, function_error=_function_error(report)))

    def lose_connection(self) -> None:
        """The container hung up while it waited for work: its process is ending, which the engine will tell later."""
        with self._lock:
            if self._state is not EnvironmentState.READY:
                self._has_asked = False  # it may have, and does not wait for the answer any more
                return
            self._state = EnvironmentState.GONE
        self._on_change(self)

    def _take_failure(self, failure: InvocationFailed) -> Future[bool]:
        answer = self._answer
        _fail(answer.result, failure)
        return answer.accepted

    def _become_ready_again(self) -> None:
        """After an invocation: when the invoker is through with it and the container has asked for the next one."""
        with self._lock:
            if not (
                self._state is EnvironmentState.BUSY and self._is_released and self._has_asked and self.may_serve_again
            ):
                return
            self._state = EnvironmentState.READY
            self.idle_since = time.monotonic()
        self._on_change(self)

    # --- the end ------------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """End the container at once. Safe to call in any state and more than once.

        When the engine is away this is only logged: the reaper removes the container later.
        """
        self._kill_wanted = True
        if self._container_id is None:
            return
        try:
            self._engine.kill(self._container_id)
        except EngineUnavailable as error:
            log.warning("kill failed: %s", error, extra={"action": "kill_failed", "container": self.name})

    def give_up(self) -> None:
        """Nothing is handed to it any more; it is about to be stopped."""
        with self._lock:
            self._state = EnvironmentState.GONE

    def stop(self) -> None:
        """End the container's process, if it still runs; returns when it has ended, or cannot be ended."""
        self.give_up()
        if not self._ended.is_set():
            if self._serving is not None:
                self.sample_memory()
            self.kill()

    def destroy(self, ending: Ending | None, invocation_id: str | None, record: Callable[[Facts], None]) -> None:
        """Stop the container, finish its log, hand the facts to ``record`` and only then remove it.

        Called off the path of the answer. Does its part even when the engine is away: then the container is left to
        the reaper.
        """
        self.stop()
        complete = self._capture is None or self._ended.wait(DRAIN_OUTPUT_SECONDS) or self._complete_log()
        # Only now: a living container would take the answer for an error of ours, and say so in its log.
        _settle(self._next, None)
        self.acknowledge(accepted=False)
        facts = self._close_log(ending, invocation_id, complete)
        record(facts)
        if self._container_id is not None:
            self._engine.remove(self._container_id)

    def _complete_log(self) -> bool:
        """Take what has not arrived from what the engine has kept of the output. False when that is not all of it."""
        if self._container_id is None:
            return False
        try:
            state = self._engine.inspect(self._container_id)
            is_over = state is not None and not state.running
            return is_over and self._log.complete(self._engine.output(self._container_id))
        except EngineUnavailable:
            return False

    def _close_log(self, ending: Ending | None, invocation_id: str | None, complete: bool) -> Facts:
        if not complete:
            self._log.write_line("[the end of the output is missing: the container engine did not deliver it]")
        # We killed it: then its exit code says nothing about the function.
        state = self._exit
        exit_code = state.exit_code if state is not None and not self._kill_wanted else None
        oom_killed = bool(state and state.oom_killed)
        memory = float(self.function.memory_mb) if oom_killed else self._max_memory_mb
        if ending is not None:
            for line in _report(ending, invocation_id or "", self.function.memory_mb, memory):
                self._log.write_line(line)
        summary = self._log.close()
        log_state = summary.state if complete or summary.state is not LogState.COMPLETE else LogState.PARTIAL
        return Facts(exit_code, oom_killed, memory, log_state, summary.bytes, summary.sha256, progress=self._progress)

    def sample_memory(self) -> None:
        """Look how much memory the container has used, while there is still something to look at.

        Engines on cgroup v1 tell the peak, so that one look at the end is enough; on v2 they tell what is in use now.
        """
        if self._container_id is None:
            return
        try:
            used = self._engine.memory_mb(self._container_id)
        except EngineUnavailable:
            return  # a figure for people; the next sample may succeed
        if used is not None:
            self._max_memory_mb = max(used, self._max_memory_mb or 0.0)

    def _begin_capture(self, output: Iterator[bytes]) -> None:
        self._capture = threading.Thread(
            target=self._copy_output, args=(self._container_id, output), name=f"log-{self.name}", daemon=True
        )
        self._capture.start()

    def _copy_output(self, container_id: str, output: Iterator[bytes]) -> None:
        """Copy the container's output to the log until it ends, then find out how it ended. Runs in its own thread."""
        try:
            for chunk in output:
                self._note_progress(chunk)  # first: whoever is woken by the log finds it
                self._log.write(chunk)
        except Exception:  # an edge: nobody looks at what this thread raises, and somebody waits for what follows
            log.exception("capture failed", extra={"action": "capture_failed", "container": self.name})
        try:
            self._exit = self._look_at_exit(container_id)
            failure: RunnerError = self._explain_exit(self._exit)
        except EngineUnavailable as error:
            # Before the hand-over nothing has happened yet; after it, nobody can know what did.
            failure = error if self._serving is None else Lost(f"The outcome is not known. {error.detail}")
        with self._lock:
            is_nobodys = self._state is EnvironmentState.READY or (
                self._state is EnvironmentState.BUSY and self._is_released
            )
            self._state = EnvironmentState.GONE
        _fail(self._ready, failure)
        _fail(self._answer.result, failure)
        self._ended.set()
        if is_nobodys:
            self._on_change(self)

    def _note_progress(self, output: bytes) -> None:
        progress = self._progress_lines.read(output)
        if progress is None:
            return
        with self._lock:
            if self._serving is None:
                return  # nobody's
            self._progress = progress
            now = time.monotonic()
            # What comes after the invocation is over is late, and what is known of it has been noted: told at once.
            if not self._is_released and now - self._progress_told_at < PROGRESS_SECONDS:
                return
            self._progress_told_at, tell = now, self._tell_progress
        tell(progress)

    def _look_at_exit(self, container_id: str) -> ContainerState | None:
        """The container's state after its output ended. The engine may need a moment to notice the end itself."""
        settle = Deadline.after(OOM_SETTLE_SECONDS)
        patience = Deadline.after(DRAIN_OUTPUT_SECONDS)
        while True:
            state = self._engine.inspect(container_id)
            if state is None:
                return None
            ended = not state.running and state.exit_code is not None
            unsettled = ended and state.exit_code == SIGKILL_EXIT and not state.oom_killed and not self._kill_wanted
            if (ended and not unsettled) or (ended and settle.has_passed) or patience.has_passed:
                return state
            time.sleep(0.02)

    def _explain_exit(self, state: ContainerState | None) -> InvocationFailed:
        """What it means that the container ended without an answer."""
        name, during = (
            self.function.name,
            "while it was starting" if self.milestones.ready is None else "without a result",
        )
        if state is None:
            return Killed(f"Container {self.name} was removed from outside {during}.")
        code = state.exit_code
        if state.running:
            return Lost(f"The container engine closed the output of container {self.name}, which it says still runs.")
        if state.oom_killed:
            return OutOfMemory(
                f"Function {name!r} needed more than its {self.function.memory_mb} MB of memory and was ended {during}."
                " Raise `memory` in its function.yaml or give it less to do.",
                exit_code=code,
            )
        if self._kill_wanted:
            return Killed(f"Container {self.name} was ended by the function runner {during}, because it shuts down.")
        if code in (SIGKILL_EXIT, SIGTERM_EXIT):
            return Killed(f"Container {self.name} was killed from outside {during} (exit code {code}).", exit_code=code)
        if time.monotonic() < self._in_doubt_until:
            return Lost(
                f"Container {self.name} ended {during} just when the function runner came back; it may have had one and"
                " found nobody to take it. The outcome is not known."
            )
        crashed = WELL_KNOWN_EXITS.get(code or 0, "")
        return ExitedWithoutResult(
            f"Function {name!r} ended its process {during}: exit code {code}{crashed}. Its log may say why.",
            exit_code=code,
        )


def _settle(future: Future[Any], value: Any) -> None:
    """Set the result unless somebody was first: the first word counts."""
    with contextlib.suppress(InvalidStateError):
        future.set_result(value)


def _fail(future: Future[Any], error: Exception) -> None:
    """Set the exception unless somebody was first."""
    with contextlib.suppress(InvalidStateError):
        future.set_exception(error)


def _handler_failure(function: str, report: Mapping[str, Any]) -> InvocationFailed:
    """Which of our errors the handler's exception means.

    Three names are a convention of ours: ``InvalidParameters`` means that the parameters were refused, any name that
    ends in ``NotFound`` that what they name does not exist, and any that ends in ``Unavailable`` that a service which
    the handler needs does not answer. Everything else is the handler's own failure.
    """
    function_error = _function_error(report)
    kind, message = function_error["type"], function_error["message"]
    if kind == MARSHAL_ERROR:
        return InvalidResult(f"Function {function!r} returned something that is not JSON: {_cut(message, 500)}")
    if kind == "InvalidParameters":
        detail = f"Function {function!r} refused the parameters: {message}"
        return HandlerRefused(detail, errors=_field_errors(message), function_error=function_error)
    if kind.endswith("NotFound"):
        return HandlerNotFound(_without_pointers(message), errors=_field_errors(message), function_error=function_error)
    if kind.endswith("Unavailable"):
        return HandlerUnavailable(_sentence(function, "needs what is not there", report), function_error=function_error)
    return HandlerError(_sentence(function, "raised", report), function_error=function_error)


def _function_error(report: Mapping[str, Any]) -> dict[str, Any]:
    trace = report.get("stackTrace")
    lines = [_cut(str(line), MAX_TRACE_LINE) for line in trace] if isinstance(trace, list) else []
    if len(lines) > MAX_TRACE_LINES:  # a recursion without end: its beginning and its end say it all
        half = MAX_TRACE_LINES // 2
        lines = [*lines[:half], f"... {len(lines) - 2 * half} more ...", *lines[-half:]]
    return {
        "type": _cut(str(report.get("errorType") or "Unknown"), 200),
        "message": _cut(str(report.get("errorMessage") or ""), MAX_MESSAGE),
        "stack_trace": lines,
    }


def _sentence(function: str, verb: str, report: Mapping[str, Any]) -> str:
    error = _function_error(report)
    return f"Function {function!r} {verb}: {error['type']}: {_cut(error['message'], 500) or 'no message'}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def _field_errors(message: str) -> list[FieldError]:
    """Lines of the form ``/json/pointer: words`` belong to a place of the parameters."""
    found = []
    for line in message.splitlines():
        pointer, separator, words = line.strip().partition(": ")
        if separator and pointer.startswith("/"):
            found.append(FieldError(pointer, words))
    return found


def _without_pointers(message: str) -> str:
    errors = _field_errors(message)
    return " ".join(error.detail for error in errors) if errors else message


def _report(ending: Ending, invocation_id: str, memory_limit_mb: int, memory_mb: float | None) -> list[str]:
    """The closing lines of the log, in AWS Lambda's shape."""
    fields = [f"REPORT RequestId: {invocation_id}"]
    if ending.run_ms is not None:
        fields += [f"Duration: {ending.run_ms:.2f} ms", f"Billed Duration: {max(1, math.ceil(ending.run_ms))} ms"]
    fields.append(f"Memory Size: {memory_limit_mb} MB")
    fields.append(f"Max Memory Used: {round(memory_mb)} MB" if memory_mb is not None else "Max Memory Used: unknown")
    if ending.init_ms is not None:
        fields.append(f"Init Duration: {ending.init_ms:.2f} ms")
    fields.append(f"Status: {ending.status}")
    lines = [f"END RequestId: {invocation_id}", "\t".join(fields)]
    if ending.detail:
        lines.insert(0, f"[{' '.join(ending.detail.split())}]")
    return lines
