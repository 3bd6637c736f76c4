"""The journey of one invocation, from the door to the answer. Nothing else knows the order of its steps.

    look up -> validate -> enter -> record -> acquire -> dispatch -> record -> answer

Read `Invoker.invoke` and `Invoker._travel` from top to bottom; everything below them is detail.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from function_runner.catalog import Catalog
from function_runner.errors import (
    Draining,
    HandlerError,
    HandlerNotFound,
    HandlerRefused,
    InvalidResult,
    Lost,
    QueueTimeout,
    RunnerError,
    StoreUnavailable,
    TimedOut,
)
from function_runner.execution_environment import Ending, Facts, Work
from function_runner.function import Function
from function_runner.invocation import (
    Deadline,
    Invocation,
    LogState,
    Status,
    Timings,
    new_invocation_id,
    utc_now,
)
from function_runner.metrics import Metrics
from function_runner.pool import Acquired, Place, Pool
from function_runner.settings import Settings
from function_runner.store import Store
from function_runner.strict_json import StrictJsonError, loads

log = logging.getLogger(__name__)

# What a result may say about MLflow; copied into the record so that it can be found from there.
MLFLOW_FIELDS = ("run_id", "experiment_id", "model_name", "model_version", "model_uri")


RECORD_SECONDS = 300.0  # how long a result is held in memory for a database that does not answer
KILL_SECONDS = 10.0  # how long the invocations of killed containers may take to end


class _NotRecorded(Exception):
    """The result could not be made durable."""

    def __init__(self, cause: StoreUnavailable) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass
class _Journey:
    """What is known of an invocation under way."""

    invocation: Invocation
    place: Place
    entered_at: float = field(default_factory=time.monotonic)
    acquired: Acquired | None = None
    run_ms: float | None = None

    @property
    def timings(self) -> Timings:
        acquired = self.acquired
        return Timings(
            queue_ms=_rounded(acquired.queue_ms if acquired else None),
            build_ms=_rounded(acquired.build_ms if acquired else None),
            start_ms=_rounded(acquired.start_ms if acquired else None),
            run_ms=_rounded(self.run_ms),
            total_ms=_rounded((time.monotonic() - self.entered_at) * 1000),
        )


class Invoker:
    """Runs invocations. Safe to use from any thread; each call runs in its caller's thread."""

    def __init__(self, settings: Settings, catalog: Catalog, store: Store, pool: Pool, metrics: Metrics) -> None:
        self._settings = settings
        self._catalog = catalog
        self._store = store
        self._pool = pool
        self._metrics = metrics
        self._idle = threading.Condition()
        self._ids: set[str] = set()  # of the invocations under way; guarded by the condition
        self._is_draining = False

    @property
    def is_draining(self) -> bool:
        """True once `drain` was called: new invocations are refused."""
        return self._is_draining

    @property
    def in_flight(self) -> int:
        """Invocations accepted and not yet answered."""
        return len(self._ids)

    def is_under_way(self, invocation_id: str) -> bool:
        """True while somebody here works on it. Before its record exists, and until after that is final."""
        return invocation_id in self._ids

    def invoke(
        self,
        function_name: str,
        parameters: Mapping[str, Any],
        *,
        timeout: float | None = None,
        caller: str | None = None,
    ) -> Invocation:
        """Run the function once and return the finished record; its status is ``succeeded``.

        Args:
            timeout: seconds the handler may run; default: the function's own.
            caller: who asked, for the record.

        Raises:
            FunctionNotFound, FunctionInvalid, ParametersInvalid, Busy, Draining, StoreUnavailable: refused; there is
                no record of it.
            RunnerError: accepted and failed. ``members`` names ``invocation_id``, ``function`` and, where one was
                reserved, ``container_name`` and ``log_file``.
        """
        if self._is_draining:
            raise Draining
        function = self._catalog.get(function_name)
        complete = function.validate(parameters)
        invocation_id = new_invocation_id()
        with self._under_way(invocation_id, function), self._pool.enter(function) as place:
            invocation = self._store.start(
                Invocation(
                    id=invocation_id,
                    function=function.name,
                    parameters=complete,
                    status=Status.QUEUED,
                    created_at=utc_now(),
                    timeout_seconds=timeout or function.timeout,
                    caller=caller,
                )
            )
            journey = _Journey(invocation, place)
            _log(journey, "accepted")
            try:
                return self._travel(journey)
            finally:
                _log(journey, "answered")

    def drain(self, grace_seconds: float) -> bool:
        """Refuse new invocations, let running ones finish, and kill those that have not after ``grace_seconds``.

        Returns True when all of them finished by themselves.
        """
        self._is_draining = True
        self._pool.refuse()
        if self._wait_idle(grace_seconds):
            return True
        self._pool.kill_all()
        self._wait_idle(KILL_SECONDS)
        return False

    def _travel(self, journey: _Journey) -> Invocation:
        """Acquire, dispatch, record, answer."""
        deadline = Deadline.after(self._settings.sync_wait_limit)
        try:
            journey.acquired = self._pool.acquire(journey.place, deadline, announce=self._announce(journey))
            body = self._dispatch(journey, journey.acquired, deadline)
            result = _parse_result(journey.invocation.function, body)
            return self._record_success(journey, journey.acquired, result)
        except _NotRecorded as error:
            # There is a result and no way to keep it: calling that a failure would be another lie.
            error.cause.members = {**_names(journey.invocation), **error.cause.members}
            raise error.cause from None
        except RunnerError as error:
            finished = self._record_failure(journey, error)
            if journey.acquired is not None and isinstance(error, HandlerError | HandlerRefused | HandlerNotFound):
                journey.acquired.environment.acknowledge(accepted=True)  # what it reported is the record
            error.members = {**_names(finished), **error.members}
            raise
        except BaseException:
            # A bug of ours. The record must not stay open for it.
            self._record_failure(journey, RunnerError())
            raise
        finally:
            self._let_go(journey)

    def _announce(self, journey: _Journey) -> Callable[[str], None]:
        def announce(container_name: str) -> None:
            journey.invocation = replace(journey.invocation, status=Status.STARTING, container_name=container_name)
            if not self._store.mark_starting(journey.invocation.id, container_name=container_name):
                raise Lost("The invocation was ended by somebody else before it started.")
            _log(journey, "starting")

        return announce

    def _dispatch(self, journey: _Journey, acquired: Acquired, deadline: Deadline) -> bytes:
        """Hand the invocation over and wait for its result. ``running`` is durable before the first byte goes out."""
        invocation, environment = journey.invocation, acquired.environment
        function, image = environment.function, environment.image
        facts: dict[str, Any] = {
            "container_name": environment.name,
            "start": acquired.start,
            "source_hash": function.source_hash,
            "image_tag": image.tag,
            "image_id": image.id,
            "base_image_id": image.base_id,
            "memory_limit_mb": function.memory_mb,
            "started_at": utc_now(),
        }
        if not self._store.mark_running(invocation.id, **facts):
            raise Lost("The invocation was ended by somebody else before it was handed over.")
        journey.invocation = replace(invocation, status=Status.RUNNING, **facts)
        _log(journey, "running")
        timeout = min(invocation.timeout_seconds, deadline.remaining)
        event = json.dumps(invocation.parameters, allow_nan=False).encode()
        deadline_ms = int((time.time() + timeout) * 1000)
        handed_over_at = time.monotonic()
        try:
            return environment.invoke(Work(invocation.id, event, timeout, deadline_ms))
        except TimedOut:
            environment.sample_memory()
            environment.kill()  # first kill, then record: a record that says so must be true
            raise
        finally:
            journey.run_ms = (time.monotonic() - handed_over_at) * 1000

    def _record_success(self, journey: _Journey, acquired: Acquired, result: Any) -> Invocation:
        """Make the result durable. The container is told that it was accepted only afterwards.

        Raises:
            Lost: somebody else had ended the invocation.
            _NotRecorded: the database stayed away; the record stays open until the reaper closes it.
        """
        patience = Deadline.after(RECORD_SECONDS)
        while True:
            try:
                finished = self._finish(journey, Status.SUCCEEDED, result=result, mlflow=_mlflow_facts(result))
                break
            except StoreUnavailable as error:
                if patience.has_passed or self._is_draining:
                    raise _NotRecorded(error) from error
                log.warning("result not recorded yet: %s", error, extra={"action": "record_retried"})
        if finished.status is not Status.SUCCEEDED:
            raise Lost(f"The invocation had already ended as {finished.status}.")
        acquired.environment.acknowledge(accepted=True)
        return finished

    def _record_failure(self, journey: _Journey, error: RunnerError) -> Invocation:
        status = _status_of(error)
        exit_code = error.members.get("exit_code")
        try:
            return self._finish(
                journey,
                status,
                error=_error_record(error),
                exit_code=exit_code,
                oom_killed=True if error.code == "out_of_memory" else None,
            )
        except StoreUnavailable as unavailable:
            unavailable.members = {**_names(journey.invocation), **unavailable.members}
            raise

    def _finish(self, journey: _Journey, status: Status, **outcome: Any) -> Invocation:
        """The one terminal transition. Whoever is first wins; the loser gets the winner's record."""
        finished_at, timings = utc_now(), journey.timings
        won = self._store.finish(
            journey.invocation.id, status=status, finished_at=finished_at, timings=timings, **outcome
        )
        if not won:
            stored = self._store.get(journey.invocation.id)
            return stored if stored is not None else journey.invocation
        journey.invocation = replace(
            journey.invocation, status=status, finished_at=finished_at, timings=timings, **outcome
        )
        self._metrics.invocation_finished(journey.invocation.function, "sync", status)
        for phase, milliseconds in _phases(timings):
            self._metrics.phase(journey.invocation.function, phase, milliseconds / 1000)
        return journey.invocation

    def _let_go(self, journey: _Journey) -> None:
        """Off the path of the answer: kill, close the log, note the facts, remove, give the place back."""
        invocation = journey.invocation
        environment = journey.place.environment
        if environment is None:
            if invocation.container_name:
                log_state = journey.place.log_state or LogState.MISSING
                self._store.note_facts(invocation.id, log_state=log_state)
            return
        ending = Ending(
            status=invocation.status,
            run_ms=journey.run_ms,
            init_ms=environment.init_ms,
            detail=str(invocation.error["message"]) if invocation.error else None,
        )
        self._pool.discard(journey.place, ending, invocation.id, self._record_facts(invocation))

    def _record_facts(self, invocation: Invocation) -> Callable[[Facts], None]:
        def record(facts: Facts) -> None:
            self._store.note_facts(
                invocation.id,
                exit_code=facts.exit_code,
                oom_killed=facts.oom_killed,
                max_memory_mb=facts.max_memory_mb,
                log_state=facts.log_state,
                log_bytes=facts.log_bytes,
                log_sha256=facts.log_sha256,
            )
            self._metrics.log_bytes(facts.log_bytes)
            if facts.oom_killed:
                self._metrics.oom_kill(invocation.function)

        return record

    @contextmanager
    def _under_way(self, invocation_id: str, function: Function) -> Iterator[None]:
        with self._idle:
            self._ids.add(invocation_id)
        self._metrics.in_flight(function.name, +1)
        try:
            yield
        finally:
            self._metrics.in_flight(function.name, -1)
            with self._idle:
                self._ids.discard(invocation_id)
                self._idle.notify_all()

    def _wait_idle(self, seconds: float) -> bool:
        with self._idle:
            return self._idle.wait_for(lambda: not self._ids, timeout=seconds)


def _status_of(error: RunnerError) -> Status:
    if isinstance(error, TimedOut) and error.members.get("phase") == "run":
        return Status.TIMED_OUT
    if isinstance(error, QueueTimeout | Draining):
        return Status.CANCELLED  # it was never handed to anybody
    if isinstance(error, Lost):
        return Status.LOST
    return Status.FAILED


def _error_record(error: RunnerError) -> dict[str, Any]:
    """What the record keeps of an error."""
    function_error = error.members.get("function_error") or {}
    record: dict[str, Any] = {
        "code": error.code,
        "type": function_error.get("type") or error.title,
        "message": error.detail,
    }
    if function_error.get("stack_trace"):
        record["stack_trace"] = function_error["stack_trace"]
    if error.errors:
        record["errors"] = [{"pointer": entry.pointer, "detail": entry.detail} for entry in error.errors]
    return record


def _names(invocation: Invocation) -> dict[str, Any]:
    names = {"invocation_id": invocation.id, "function": invocation.function}
    if invocation.container_name and invocation.log_file:
        names |= {"container_name": invocation.container_name, "log_file": invocation.log_file}
    return names


def _parse_result(function: str, body: bytes) -> Any:
    try:
        return loads(body)
    except StrictJsonError as error:
        raise InvalidResult(f"Function {function!r} returned something that is not strict JSON: {error}") from error


def _mlflow_facts(result: Any) -> dict[str, Any] | None:
    if not isinstance(result, dict):
        return None
    facts = {name: result[name] for name in MLFLOW_FIELDS if isinstance(result.get(name), str | int)}
    return facts or None


def _phases(timings: Timings) -> Iterator[tuple[str, float]]:
    for phase, milliseconds in (
        ("queue", timings.queue_ms),
        ("build", timings.build_ms),
        ("start", timings.start_ms),
        ("run", timings.run_ms),
        ("total", timings.total_ms),
    ):
        if milliseconds is not None:
            yield phase, milliseconds


def _rounded(milliseconds: float | None) -> float | None:
    return round(milliseconds, 2) if milliseconds is not None else None


def _log(journey: _Journey, action: str) -> None:
    invocation = journey.invocation
    log.info(
        "%s %s %s",
        invocation.function,
        action,
        invocation.status,
        extra={
            "action": action,
            "invocation_id": invocation.id,
            "function": invocation.function,
            "container": invocation.container_name,
            "status": str(invocation.status),
        },
    )
