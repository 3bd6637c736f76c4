"""The journey of one invocation, from the door to the answer. Nothing else knows the order of its steps.

    look up -> validate -> enter -> record -> (wait -> record) -> dispatch -> record -> answer

Who finds an execution environment ready is recorded together with it, by one commit, and does not wait.
Read `Invoker.invoke` and `Invoker._travel` from top to bottom; everything below them is detail.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
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
from function_runner.execution_environment import Ending, ExecutionEnvironment, Facts, Work
from function_runner.function import Function
from function_runner.invocation import (
    Deadline,
    HandOver,
    Invocation,
    LogState,
    ModelVersion,
    Start,
    Status,
    Timings,
    new_invocation_id,
    utc_now,
)
from function_runner.metrics import Metrics
from function_runner.model_versions import ModelVersions
from function_runner.pool import Place, Pool
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
    model: ModelVersion | None  # what the parameters ask for, where that is known
    record_ms: float | None = None
    run_ms: float | None = None
    result_at: float | None = None  # when the result had come

    @property
    def timings(self) -> Timings:
        now = time.monotonic()
        return replace(
            self.place.timings,
            record_ms=_rounded(self.record_ms),
            run_ms=_rounded(self.run_ms),
            result_ms=_rounded((now - self.result_at) * 1000 if self.result_at is not None else None),
            total_ms=_rounded((now - self.place.entered_at) * 1000),
        )


class Invoker:
    """Runs invocations. Safe to use from any thread; each call runs in its caller's thread."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        store: Store,
        models: ModelVersions,
        pool: Pool,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._store = store
        self._models = models
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
        wanted = function.model_of(complete)
        model = self._models.resolve(*wanted) if wanted else None
        invocation_id = new_invocation_id()
        with self._under_way(invocation_id, function), self._pool.enter(function, invocation_id) as place:
            accepted = Invocation(
                id=invocation_id,
                function=function.name,
                parameters=complete,
                status=Status.QUEUED,
                created_at=utc_now(),
                timeout_seconds=timeout or function.timeout,
                caller=caller,
            )
            hand_over = _hand_over(place.environment, place.start) if place.need_not_wait else None
            journey = _Journey(self._store.start(accepted, hand_over=hand_over), place, model)
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
        """Wait, dispatch, record, answer."""
        deadline = Deadline.after(self._settings.sync_wait_limit)
        place = journey.place
        try:
            if not place.need_not_wait:
                _log(journey, "accepted")
                self._pool.wait(place, deadline, announce=self._announce(journey))
                self._record_hand_over(journey)
            body = self._dispatch(journey, deadline)
            result = _parse_result(journey.invocation.function, body)
            return self._record_success(journey, result)
        except _NotRecorded as error:
            # There is a result and no way to keep it: calling that a failure would be another lie.
            error.cause.members = {**_names(journey.invocation), **error.cause.members}
            raise error.cause from None
        except RunnerError as error:
            finished = self._record_failure(journey, error)
            if place.environment is not None and isinstance(error, HandlerError | HandlerRefused | HandlerNotFound):
                place.environment.acknowledge(accepted=True)  # what it reported is the record
            error.members = {**_names(finished), **error.members}
            raise
        except BaseException:
            # A bug of ours. The record must not stay open for it.
            self._record_failure(journey, RunnerError())
            raise
        finally:
            self._let_go(journey)

    def _announce(self, journey: _Journey) -> Callable[[str | None], None]:
        def announce(container_name: str | None) -> None:
            journey.invocation = replace(journey.invocation, status=Status.STARTING, container_name=container_name)
            if not self._store.mark_starting(journey.invocation.id, container_name=container_name):
                raise Lost("The invocation was ended by somebody else before it started.")
            _log(journey, "starting")

        return announce

    def _record_hand_over(self, journey: _Journey) -> None:
        """``running`` is durable before the first byte goes out."""
        hand_over = _hand_over(journey.place.environment, journey.place.start)
        if hand_over is None or not self._store.mark_running(journey.invocation.id, hand_over):
            raise Lost("The invocation was ended by somebody else before it was handed over.")
        journey.invocation = hand_over.of(journey.invocation)

    def _dispatch(self, journey: _Journey, deadline: Deadline) -> bytes:
        """Hand the invocation over and wait for its result."""
        invocation, environment = journey.invocation, journey.place.environment
        if environment is None:
            raise Lost("The invocation has no container.")
        timeout = min(invocation.timeout_seconds, deadline.remaining)
        event = json.dumps(invocation.parameters, allow_nan=False).encode()
        deadline_ms = int((time.time() + timeout) * 1000)
        handed_over_at = time.monotonic()
        if journey.place.served_at is not None:
            journey.record_ms = (handed_over_at - journey.place.served_at) * 1000
        try:
            environment.hand_over(Work(invocation.id, event, timeout, deadline_ms, _told(journey.model, environment)))
            # While the container is at work, there is time for what would otherwise keep the caller waiting.
            self._pool.publish_log(environment)
            _log(journey, "running")
            self._metrics.started(invocation.function, str(invocation.start))
            return environment.result()
        except TimedOut:
            environment.sample_memory()
            environment.kill()  # first kill, then record: a record that says so must be true
            raise
        finally:
            journey.result_at = time.monotonic()
            journey.run_ms = (journey.result_at - handed_over_at) * 1000

    def _record_success(self, journey: _Journey, result: Any) -> Invocation:
        """Make the result durable. The container is told that it was accepted only afterwards.

        Raises:
            Lost: somebody else had ended the invocation.
            _NotRecorded: the database stayed away; the record stays open until the reaper closes it.
        """
        patience = Deadline.after(RECORD_SECONDS)
        mlflow = _mlflow_facts(result)
        while True:
            try:
                finished = self._finish(journey, Status.SUCCEEDED, result=result, mlflow=mlflow)
                break
            except StoreUnavailable as error:
                if patience.has_passed or self._is_draining:
                    raise _NotRecorded(error) from error
                log.warning("result not recorded yet: %s", error, extra={"action": "record_retried"})
        if finished.status is not Status.SUCCEEDED:
            raise Lost(f"The invocation had already ended as {finished.status}.")
        if journey.place.environment is not None:
            journey.place.environment.acknowledge(accepted=True)
        self._learn_of_model(mlflow)
        return finished

    def _learn_of_model(self, mlflow: Mapping[str, Any] | None) -> None:
        """A version that nobody knew of: whoever asks for ``latest`` from now on means this one."""
        name, version = (mlflow or {}).get("model_name"), (mlflow or {}).get("model_version")
        if isinstance(name, str) and version is not None and self._models.learn(name, str(version)):
            self._pool.look()

    def _record_failure(self, journey: _Journey, error: RunnerError) -> Invocation:
        status = _status_of(error)
        try:
            return self._finish(
                journey,
                status,
                error=_error_record(error),
                container_name=error.members.get("container_name"),
                exit_code=error.members.get("exit_code"),
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
        if outcome.get("container_name") is None:
            outcome.pop("container_name", None)
        journey.invocation = replace(
            journey.invocation, status=status, finished_at=finished_at, timings=timings, **outcome
        )
        self._metrics.invocation_finished(journey.invocation.function, "sync", status)
        for phase, milliseconds in _phases(timings):
            self._metrics.phase(journey.invocation.function, phase, milliseconds / 1000)
        return journey.invocation

    def _let_go(self, journey: _Journey) -> None:
        """Off the path of the answer: end the container or let it go on, close the log, note the facts."""
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
                soon=not facts.is_final,
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


def _hand_over(environment: ExecutionEnvironment | None, start: Start | None) -> HandOver | None:
    """What the record keeps of the moment in which this environment gets the invocation; None when there is none."""
    if environment is None or start is None:
        return None
    return HandOver(
        container_name=environment.name,
        start=start,
        started_at=utc_now(),
        source_hash=environment.function.source_hash,
        image_tag=environment.image.tag,
        image_id=environment.image.id,
        base_image_id=environment.image.base_id,
        memory_limit_mb=environment.function.memory_mb,
    )


def _told(model: ModelVersion | None, environment: ExecutionEnvironment) -> ModelVersion | None:
    """What the container is told about the model; nothing when it has loaded another one that goes by the same name."""
    loaded = environment.model
    if model is None or loaded is None or (model.name, model.version) != (loaded.name, loaded.version):
        return model
    return model if model.registered in (None, loaded.registered) else None


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
    for entry in fields(timings):
        milliseconds = getattr(timings, entry.name)
        if milliseconds is not None:
            yield entry.name.removesuffix("_ms"), milliseconds


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
