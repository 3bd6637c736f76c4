"""The journey itself: its doors, its steps, and its end."""

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from function_runner.callback_rules import Targets
from function_runner.catalog import Catalog
from function_runner.diagnosis import FunctionFacts, attach
from function_runner.errors import (
    AlreadyEnded,
    Busy,
    CallbackRefused,
    Cancelled,
    Draining,
    HandlerError,
    HandlerNotFound,
    HandlerRefused,
    HandlerUnavailable,
    InvocationNotFound,
    Lost,
    RunnerError,
    StoreUnavailable,
    TimedOut,
)
from function_runner.execution_environment import Ending, ExecutionEnvironment, Facts, Work
from function_runner.function import Function
from function_runner.invocation import (
    Deadline,
    IdempotencyKey,
    Invocation,
    LogState,
    Mode,
    Progress,
    Request,
    Status,
    Timings,
    new_invocation_id,
    utc_now,
)
from function_runner.invoker.facts import (
    error_record,
    hand_over_to,
    mlflow_facts,
    model_to_tell,
    names_of,
    new_record,
    parsed_result,
    said_of,
    status_of,
)
from function_runner.invoker.journey import Journey, log_step, phases
from function_runner.invoker.keyed_locks import KeyedLocks
from function_runner.metrics import Metrics
from function_runner.model_versions import ModelVersions
from function_runner.pool import DIAGNOSED_LINES, Pool
from function_runner.retry import RETRYABLE, next_attempt
from function_runner.settings import Settings
from function_runner.spool import KeptResult, NotKept, NotReadable, Spool
from function_runner.store import Repeated, Store, digest

log = logging.getLogger(__name__)

RECORD_SECONDS = 300.0  # how long the caller of a result waits for a database that does not answer
KILL_SECONDS = 10.0  # how long the invocations of killed containers may take to end
CANCEL_SECONDS = 10.0  # how long a cancelled invocation may take to end
# Who waits for an invocation that somebody else asked for, or that runs in the background, holds a thread of the server
# that no place stands for. There are 32 of those; the others go on answering everything else.
MAX_ONLOOKERS = 16
REPORTED = (HandlerError, HandlerRefused, HandlerNotFound, HandlerUnavailable)  # failures that the container reports
KEY_HOURS = 24  # how long an idempotency key is remembered


class _NotRecorded(Exception):
    """The database did not take the result."""

    def __init__(self, cause: StoreUnavailable, *, is_kept: bool) -> None:
        super().__init__(str(cause))
        told = "it is kept and will be in the record soon" if is_kept else "it may be lost"
        self.cause = StoreUnavailable(
            f"The function has returned its result, but that cannot be recorded right now: {told}. {cause.detail}"
        )


class Invoker:
    """Runs invocations. Safe to use from any thread; each call runs in its caller's thread."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        store: Store,
        spool: Spool,
        models: ModelVersions,
        pool: Pool,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._store = store
        self._spool = spool
        self._models = models
        self._pool = pool
        self._metrics = metrics
        self._callback_targets = Targets(settings.callback_allowed_hosts)
        self.has_work = threading.Event()  # an asynchronous invocation was accepted
        self._onlookers = threading.BoundedSemaphore(MAX_ONLOOKERS)
        self._idle = threading.Condition()
        # Guarded by the condition:
        # Of the invocations under way. One may be in two hands for a moment: put back by one, and claimed again.
        self._ids: Counter[str] = Counter()
        self._journeys: dict[str, Journey] = {}  # of those, the ones that are recorded
        self._keys = KeyedLocks()
        self._is_draining = False

    @property
    def is_draining(self) -> bool:
        """True once `drain` was called: new invocations are refused."""
        return self._is_draining

    @property
    def in_flight(self) -> int:
        """Invocations accepted and not yet answered."""
        return len(self._ids)

    @property
    def longest_wait(self) -> float:
        """Seconds after which a synchronous invocation has ended in every case."""
        return self._settings.sync_wait_limit

    def is_under_way(self, invocation_id: str) -> bool:
        """True while somebody here works on it. Before its record exists, and until after that is final."""
        return invocation_id in self._ids

    def invoke(self, request: Request, *, patience: float | None = None) -> Invocation:
        """Run the function once and return the finished record; its status is ``succeeded``.

        Args:
            patience: seconds after which the caller stops waiting. Then the record is returned as it is, whatever its
                status, and the invocation goes on. None: the caller waits to the end, however it ends.

        Raises:
            FunctionNotFound, FunctionInvalid, ParametersInvalid, CallbackRefused, Busy, Draining, DiskFull,
                StoreUnavailable: refused; there is no record of it.
            Repeated, IdempotencyKeyReused: the request's key is taken; nothing was accepted.
            RunnerError: accepted and failed. ``members`` names ``invocation_id``, ``function`` and, where one was
                reserved, ``container_name`` and ``log_file``.
        """
        function, parameters = self._look_up(request)
        with self._keys.held(function.name, request.idempotency_key):
            key = self._free_key(function, request)
            journey = self._begin(function, parameters, request, key)
        if patience is None:
            return self._complete(journey)
        self._go_on(journey)
        return self._look(journey.invocation.id, patience)

    def submit(self, request: Request) -> Invocation:
        """Accept an invocation that nobody waits for, and return its record: it is on disk and will be run.

        Raises:
            As `invoke` does for what is refused.
            AlreadyHandled: the request's occurrence of a schedule is dealt with; nothing was accepted.
        """
        function, parameters = self._look_up(request)
        now = utc_now()
        with self._keys.held(function.name, request.idempotency_key):
            key = self._free_key(function, request)
            waiting, _ = self._store.backlog()
            if waiting >= self._settings.backlog_limit:  # after the key: a repetition is not one more
                raise Busy(
                    f"{waiting} asynchronous invocations wait already (BACKLOG_LIMIT). Try again later.",
                    retry_after=self._pool.expected_wait(function),
                    function=function.name,
                )
            accepted = self._store.start(
                replace(
                    new_record(new_invocation_id(), function, parameters, request),
                    mode=Mode.ASYNC,
                    max_attempts=self._settings.max_attempts,
                    expires_at=now + timedelta(seconds=self._settings.max_queue_age),
                ),
                key=key,
                occurrence=request.occurrence,
            )
        self.has_work.set()
        return accepted

    def run(self, invocation: Invocation) -> None:
        """Run an asynchronous invocation that was claimed. Returns when it has ended, or waits for another attempt."""
        try:
            is_replay = invocation.replay_of is not None
            function = self.function_of(invocation) if is_replay else self._catalog.get(invocation.function)
            wanted = function.model_of(invocation.parameters)
            with self._under_way(invocation.id, function.name):
                waited = (utc_now() - invocation.created_at).total_seconds()
                with self._pool.enter(function, invocation.id, waited=max(0.0, waited)) as place:
                    model = self._models.resolve(*wanted) if wanted else None
                    self._complete_unwatched(self._remember(Journey(invocation, place, model)))
        except RunnerError as error:  # it got no place, or its function is not there any more
            self._end_unstarted(invocation, error)

    def adopt(self, invocation: Invocation, environment: ExecutionEnvironment) -> None:
        """Go on with an invocation whose container outlived its runner. Returns at once."""
        now, monotonic = utc_now(), time.monotonic()
        waited = max(0.0, (now - invocation.created_at).total_seconds())
        running = max(0.0, (now - (invocation.started_at or now)).total_seconds())
        leave = ExitStack()
        leave.enter_context(self._under_way(invocation.id, invocation.function))
        place = self._pool.adopt(environment, invocation.id, waited=waited, running=running)
        leave.enter_context(place)
        environment.tell_progress(self._record_progress(invocation.id))
        journey = Journey(invocation, place, None, leave, handed_over_at=monotonic - running)
        self._go_on(self._remember(journey))

    def request_to_replay(self, original: Invocation, *, like_then: bool, caller: str | None = None) -> Request:
        """What to ask for to run an invocation again with the same input.

        Args:
            like_then: by the image of then, and with the model version that was used then.

        Raises:
            FunctionNotFound, FunctionInvalid: its function is not there (any more).
        """
        function = self._catalog.get(original.function)
        parameters = dict(original.parameters)
        used = (original.mlflow or {}).get("model_version")
        if like_then and function.model is not None and function.model_of(parameters) is not None and used is not None:
            parameters[function.model.version] = str(used)
        return Request(
            original.function,
            parameters,
            timeout=min(original.timeout_seconds, self._settings.max_timeout),
            caller=caller,
            replay_of=original.id,
            source_hash=original.source_hash if like_then else None,
        )

    def try_again(self, invocation: Invocation, error: RunnerError, function: Function | None = None) -> bool:
        """Let an invocation whose attempt failed wait for another one. False when there is none for it.

        Args:
            function: the one that it was handed to; it may ask for another attempt after failures of its own.
        """
        retry_on = function.retry_on if function is not None else ()
        due = next_attempt(invocation, error, utc_now(), pause=self._settings.retry_pause, retry_on=retry_on)
        if due is None or not self._store.put_back(
            invocation.id, not_before=due, error=error_record(invocation, error)
        ):
            return False
        self._metrics.retried(invocation.function)
        log.warning(
            "%s will be tried again: %s",
            invocation.function,
            error,
            extra={"action": "retried", "invocation_id": invocation.id, "function": invocation.function},
        )
        self.has_work.set()
        return True

    def function_of(self, invocation: Invocation) -> Function:
        """The function as it was, or is to be, when it runs this invocation: today's, or the one of then.

        Raises:
            FunctionNotFound, FunctionInvalid: it is not there (any more).
        """
        function = self._catalog.get(invocation.function)
        if invocation.source_hash not in (None, function.source_hash):
            return function.of_then(invocation.source_hash, invocation.memory_limit_mb)
        return function

    def wait(self, invocation_id: str, seconds: float) -> Invocation:
        """The record once it has ended, or as it is after so many seconds, or now when `MAX_ONLOOKERS` wait already.

        Raises:
            InvocationNotFound: there is none.
        """
        may_wait = seconds > 0 and self._onlookers.acquire(blocking=False)
        try:
            return self._look(invocation_id, seconds if may_wait else 0)
        finally:
            if may_wait:
                self._onlookers.release()

    def _look(self, invocation_id: str, seconds: float) -> Invocation:
        record = self._store.wait(invocation_id, seconds)
        if record is None:
            raise InvocationNotFound
        return record

    def cancel(self, invocation_id: str) -> Invocation:
        """End an invocation, wherever it stands: first its container is killed, then that is recorded.

        Returns its record; its status is ``cancelled``, unless the database or the engine needs longer than usual.

        Raises:
            InvocationNotFound: there is none.
            AlreadyEnded: it had ended in another way, or did before it could be stopped.
            StoreUnavailable: its result waits to be recorded.
        """
        if self._store.request_cancel(invocation_id):
            self._end(invocation_id)
        record = self._look(invocation_id, 0)
        if record.status.is_terminal and record.status is not Status.CANCELLED:
            raise AlreadyEnded(f"The invocation has ended already: it {said_of(record.status)}.", **names_of(record))
        return record

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

    def _look_up(self, request: Request) -> tuple[Function, dict[str, Any]]:
        """The function, and the parameters as its handler will get them."""
        if self._is_draining:
            raise Draining
        self._store.require_room()
        function = self._catalog.get(request.function)
        parameters = function.validate(request.parameters)
        if request.callback_url is not None:
            self._check_callback(request.callback_url)
        if request.source_hash is not None and request.source_hash != function.source_hash:
            function = function.of_then(request.source_hash, None)
        return function, parameters

    def _check_callback(self, url: str) -> None:
        """What can be known of a callback now; where its host name leads is looked at when it is delivered."""
        if not self._settings.callback_key:
            raise CallbackRefused(
                "There are no callbacks here: without CALLBACK_SECRET they could not be signed, and nobody could tell "
                "them from forged ones."
            )
        self._callback_targets.parse(url)

    def _free_key(self, function: Function, request: Request) -> IdempotencyKey | None:
        """The request's key, which nobody has used yet."""
        if request.idempotency_key is None:
            return None
        key = IdempotencyKey(
            request.idempotency_key, digest(request.fingerprint), utc_now() + timedelta(hours=KEY_HOURS)
        )
        repeated = self._store.repeated(function.name, key)
        if repeated is not None:
            raise Repeated(repeated)
        return key

    def _begin(
        self, function: Function, parameters: dict[str, Any], request: Request, key: IdempotencyKey | None
    ) -> Journey:
        """Enter the pool and record the invocation."""
        wanted = function.model_of(parameters)
        model = self._models.resolve(*wanted) if wanted else None
        accepted = new_record(new_invocation_id(), function, parameters, request)
        with ExitStack() as leave:
            leave.enter_context(self._under_way(accepted.id, function.name))
            place = leave.enter_context(self._pool.enter(function, accepted.id))
            hand_over = hand_over_to(place.environment, place.start) if place.need_not_wait else None
            recorded = self._store.start(accepted, hand_over=hand_over, key=key)
            return self._remember(Journey(recorded, place, model, leave.pop_all()))

    def _remember(self, journey: Journey) -> Journey:
        """So that it can be found by whoever wants to cancel it."""
        self._journeys[journey.invocation.id] = journey
        return journey

    def _complete(self, journey: Journey) -> Invocation:
        """To the end of the journey."""
        with journey.leave:
            try:
                return self._travel(journey)
            finally:
                log_step(journey, "answered")

    def _go_on(self, journey: Journey) -> None:
        """To the end of the journey, in the background."""
        name = f"journey-{journey.invocation.function}"
        threading.Thread(target=self._complete_unwatched, args=(journey,), name=name, daemon=True).start()

    def _complete_unwatched(self, journey: Journey) -> None:
        """To the end of the journey, where nobody waits for how it ends: the record tells."""
        try:
            self._complete(journey)
        except RunnerError as error:
            log.info("%s", error, extra={"action": "ended", "invocation_id": journey.invocation.id})
        except Exception:  # an edge: nobody looks at what this thread raises
            log.exception("journey failed", extra={"action": "failed", "invocation_id": journey.invocation.id})

    def _travel(self, journey: Journey) -> Invocation:
        """Wait, dispatch, record, answer."""
        deadline = Deadline.after(self._settings.sync_wait_limit)
        place = journey.place
        try:
            if journey.invocation.status is not Status.RUNNING:
                if not place.need_not_wait:
                    log_step(journey, "accepted")
                    self._pool.wait(place, deadline, announce=self._announce(journey))
                self._record_hand_over(journey)
            if journey.handed_over_at is None:
                self._dispatch(journey, deadline)
            result = parsed_result(journey.invocation.function, self._await_result(journey))
            return self._record_success(journey, result)
        except _NotRecorded as error:
            # There is a result and no way to keep it: calling that a failure would be another lie.
            error.cause.members = {**names_of(journey.invocation), **error.cause.members}
            raise error.cause from None
        except RunnerError as error:
            raise self._recorded(journey, error) from error.__cause__
        except BaseException:
            # A bug of ours. The record must not stay open for it.
            self._record_failure(journey, RunnerError())
            raise
        finally:
            self._let_go(journey)

    def _recorded(self, journey: Journey, error: RunnerError) -> RunnerError:
        """Record that the attempt failed. Returns what its caller is told."""
        if isinstance(error, RETRYABLE) and self._is_to_be_cancelled(journey):
            error = Cancelled("The invocation was cancelled while it ran; its container was killed.")
        finished = self._record_failure(journey, error)
        environment = journey.place.environment
        if environment is not None and isinstance(error, REPORTED):
            environment.acknowledge(accepted=True)  # what it reported is the record
        error.members = {**names_of(finished), **error.members}
        return error

    def _announce(self, journey: Journey) -> Callable[[str | None], None]:
        def announce(container_name: str | None) -> None:
            journey.invocation = replace(journey.invocation, status=Status.STARTING, container_name=container_name)
            if not self._store.mark_starting(journey.invocation.id, container_name=container_name):
                raise Lost("The invocation was ended by somebody else before it started.")
            log_step(journey, "starting")

        return announce

    def _record_hand_over(self, journey: Journey) -> None:
        """``running`` is durable before the first byte goes out."""
        hand_over = hand_over_to(journey.place.environment, journey.place.start)
        if hand_over is None or not self._store.mark_running(journey.invocation.id, hand_over):
            raise Lost("The invocation was ended by somebody else before it was handed over.")
        journey.invocation = hand_over.of(journey.invocation)

    def _dispatch(self, journey: Journey, deadline: Deadline) -> None:
        """Hand the invocation over."""
        invocation, environment = journey.invocation, journey.place.environment
        if environment is None:
            raise Lost("The invocation has no container.")
        timeout = min(invocation.timeout_seconds, deadline.remaining)
        event = json.dumps(invocation.parameters, allow_nan=False).encode()
        deadline_ms = int((time.time() + timeout) * 1000)
        journey.handed_over_at = time.monotonic()
        if journey.place.served_at is not None:
            journey.record_ms = (journey.handed_over_at - journey.place.served_at) * 1000
        work = Work(invocation.id, event, timeout, deadline_ms, model_to_tell(journey.model, environment))
        environment.tell_progress(self._record_progress(invocation.id))
        environment.hand_over(work)
        # While the container is at work, there is time for what would otherwise keep the caller waiting.
        self._pool.publish_log(environment)
        log_step(journey, "running")
        self._metrics.started(invocation.function, str(invocation.start))

    def _await_result(self, journey: Journey) -> bytes:
        """The result, as the container sent it."""
        environment = journey.place.environment
        if environment is None:
            raise Lost("The invocation has no container.")
        try:
            return environment.result()
        except TimedOut:
            environment.sample_memory()
            environment.kill()  # first kill, then record: a record that says so must be true
            raise
        finally:
            journey.result_at = time.monotonic()
            journey.run_ms = (journey.result_at - (journey.handed_over_at or journey.result_at)) * 1000

    def _record_success(self, journey: Journey, result: Any) -> Invocation:
        """Make the result durable. The container is told that it was accepted only afterwards.

        Raises:
            Lost: somebody else had ended the invocation.
            _NotRecorded: the database stayed away. The record stays open, until the reaper finds what was kept.
        """
        mlflow = mlflow_facts(result, journey.place.environment, journey.invocation.parameters)
        try:
            finished = self._finish(journey, Status.SUCCEEDED, result=result, mlflow=mlflow, is_tried_once=True)
        except StoreUnavailable as error:
            log.warning("result not recorded yet: %s", error, extra={"action": "record_retried"})
            finished = self._record_late(journey, result, mlflow)
        if finished.status is not Status.SUCCEEDED:
            raise Lost(f"The invocation had already ended as {finished.status}.")
        if journey.place.environment is not None:
            journey.place.environment.acknowledge(accepted=True)
        self._note_model(mlflow)
        return finished

    def _record_late(self, journey: Journey, result: Any, mlflow: Mapping[str, Any] | None) -> Invocation:
        """As `_record_success`, once the database has refused the result: it waits on disk meanwhile."""
        patience = Deadline.after(RECORD_SECONDS)
        invocation_id = journey.invocation.id
        is_kept = True
        try:
            self._spool.keep(KeptResult(invocation_id, utc_now(), journey.timings, result, mlflow))
        except NotKept as error:  # full as well: then it is in memory only
            log.warning("result not kept: %s", error, extra={"action": "result_not_kept"})
            is_kept = False
        while True:
            try:
                finished = self._finish(journey, Status.SUCCEEDED, result=result, mlflow=mlflow)
                break
            except StoreUnavailable as error:
                if patience.has_passed or self._is_draining:
                    if is_kept:  # on disk: as far as its container and its log are concerned, it has succeeded
                        journey.ended_as = Status.SUCCEEDED
                        if journey.place.environment is not None:
                            journey.place.environment.acknowledge(accepted=True)
                    raise _NotRecorded(error, is_kept=is_kept) from error
                log.warning("result not recorded yet: %s", error, extra={"action": "record_retried"})
        self._spool.forget(invocation_id)
        return finished

    def record_kept(self) -> set[str] | None:
        """Record the results that wait on disk. Returns the ids of those that wait on: database or disk is away.

        None: it cannot be told which there are.
        """
        try:
            kept_ids = self._spool.ids()
        except NotReadable as error:
            log.error("results unreadable: %s", error, extra={"action": "result_unreadable"})
            return None
        waiting = set()
        for invocation_id in kept_ids:
            if self.is_under_way(invocation_id):
                continue  # somebody waits for it, and tries by himself
            try:
                kept = self._spool.read(invocation_id)
                if kept is not None:
                    self._record_one_kept(kept)
            except (StoreUnavailable, NotReadable) as error:
                log.warning("result not recorded yet: %s", error, extra={"action": "record_retried"})
                waiting.add(invocation_id)
        return waiting

    def _record_one_kept(self, kept: KeptResult) -> None:
        won = self._store.finish(
            kept.invocation_id,
            status=Status.SUCCEEDED,
            finished_at=kept.finished_at,
            timings=kept.timings,
            result=kept.result,
            mlflow=kept.mlflow,
            is_tried_once=True,
        )
        self._spool.forget(kept.invocation_id)
        log.warning(
            "result recorded late" if won else "the invocation of a kept result had ended already",
            extra={"action": "result_recorded", "invocation_id": kept.invocation_id},
        )
        if won and (record := self._store.get(kept.invocation_id)) is not None:
            self._metrics.invocation_finished(record.function, record.mode, record.status)
            self._note_model(kept.mlflow)

    def _note_model(self, mlflow: Mapping[str, Any] | None) -> None:
        """Count what was used; and of a version that nobody knew of: who asks for ``latest`` from now on means it."""
        facts = mlflow or {}
        name, version = facts.get("model_name"), facts.get("model_version")
        if not isinstance(name, str) or version is None:
            return
        if "model_alias" in facts:  # only what a function declares: results may name anything
            asked = str(facts["model_alias"])
            self._metrics.prediction(name, str(version), "number" if asked.isdecimal() else asked)
        if self._models.learn(name, str(version)):
            self._pool.look()

    def _record_failure(self, journey: Journey, error: RunnerError) -> Invocation:
        journey.ended_as = status = status_of(error)
        self._diagnose(journey, error)
        try:
            if self.try_again(journey.invocation, error, journey.place.function):
                journey.invocation = replace(journey.invocation, status=Status.QUEUED)
                return journey.invocation
            return self._finish(
                journey,
                status,
                error=error_record(journey.invocation, error),
                container_name=error.members.get("container_name"),
                exit_code=error.members.get("exit_code"),
                oom_killed=True if error.code == "out_of_memory" else None,
            )
        except StoreUnavailable as unavailable:
            unavailable.members = {**names_of(journey.invocation), **unavailable.members}
            raise

    def _end_unstarted(self, invocation: Invocation, error: RunnerError) -> None:
        """A claimed invocation could not even begin."""
        try:
            if not self.try_again(invocation, error):
                self._store.finish(
                    invocation.id,
                    status=status_of(error),
                    finished_at=utc_now(),
                    timings=Timings(),
                    error=error_record(invocation, error),
                )
                self._metrics.invocation_finished(invocation.function, invocation.mode, status_of(error))
        except StoreUnavailable as unavailable:  # the reaper will find it
            log.warning("%s", unavailable, extra={"action": "record_failed", "invocation_id": invocation.id})

    def _end(self, invocation_id: str) -> None:
        """End the wait, or the container, of whoever works on it. Where nobody does, nobody will: end the record."""
        patience = Deadline.after(CANCEL_SECONDS)
        is_stopped = False
        while self.is_under_way(invocation_id):
            journey = self._journeys.get(invocation_id)  # none yet: it is about to be recorded
            # Also where an earlier request has done so: the engine may have been away.
            if journey is not None and not is_stopped:
                self._stop(journey)
                is_stopped = True
            record = self._store.wait(invocation_id, min(0.1, patience.remaining))
            if patience.has_passed or record is None or record.status.is_terminal:
                return
        waiting = self.record_kept()
        if waiting is None or invocation_id in waiting:
            raise StoreUnavailable("The invocation has a result, or may have one, that cannot be recorded right now.")
        record = self._store.get(invocation_id)
        if record is not None:
            self._store.finish(
                invocation_id,
                status=Status.CANCELLED,
                finished_at=utc_now(),
                timings=Timings(),
                error=error_record(record, Cancelled("The invocation was cancelled before it began.")),
            )

    def _stop(self, journey: Journey) -> None:
        """End its wait, or its container. Its own thread records what came of it."""
        journey.is_cancelled = True
        if self._pool.send_away(journey.place, Cancelled("The invocation was cancelled while it waited.")):
            return
        environment = journey.place.environment
        if environment is not None:
            environment.kill()

    def _diagnose(self, journey: Journey, error: RunnerError) -> None:
        """Attach the diagnosis to the error, unless whoever raised it has done so; the log is read only here."""
        if "diagnosis" in error.members:
            return
        invocation, environment = journey.invocation, journey.place.environment
        container_name = environment.name if environment is not None else invocation.container_name
        tail = self._pool.log_tail(container_name, lines=DIAGNOSED_LINES) if container_name is not None else ()
        facts = FunctionFacts.of(journey.place.function, self._settings, timeout=invocation.timeout_seconds)
        attach(error, facts, tail)

    def _is_to_be_cancelled(self, journey: Journey) -> bool:
        """Somebody wants it to end: what has befallen it otherwise does not matter, nor is it tried again."""
        if journey.is_cancelled:
            return True
        try:
            record = self._store.get(journey.invocation.id)
        except StoreUnavailable:
            return False  # then it cannot be put back either
        return record is not None and record.cancel_requested_at is not None

    def _finish(self, journey: Journey, status: Status, *, is_tried_once: bool = False, **outcome: Any) -> Invocation:
        """The one terminal transition. Whoever is first wins; the loser gets the winner's record."""
        finished_at, timings = utc_now(), journey.timings
        won = self._store.finish(
            journey.invocation.id,
            status=status,
            finished_at=finished_at,
            timings=timings,
            is_tried_once=is_tried_once,
            **outcome,
        )
        if not won:
            stored = self._store.get(journey.invocation.id)
            environment = journey.place.environment
            if stored is None:
                return journey.invocation
            if environment is not None and stored.container_name == environment.name:
                journey.invocation = stored  # what becomes known of its container belongs there
            return stored
        if outcome.get("container_name") is None:
            outcome.pop("container_name", None)
        journey.invocation = replace(
            journey.invocation, status=status, finished_at=finished_at, timings=timings, **outcome
        )
        journey.ended_as = status
        self._metrics.invocation_finished(journey.invocation.function, journey.invocation.mode, status)
        for phase, milliseconds in phases(timings):
            self._metrics.phase(journey.invocation.function, phase, milliseconds / 1000)
        return journey.invocation

    def _let_go(self, journey: Journey) -> None:
        """End the container off the path of the answer, or let it go on at once; close the log, note the facts."""
        invocation = journey.invocation
        environment = journey.place.environment
        if environment is None:
            if invocation.container_name and invocation.status.is_terminal:
                log_state = journey.place.log_state or LogState.MISSING
                self._store.note_facts(invocation.id, log_state=log_state)
            return
        ending = Ending(
            status=journey.ended_as or invocation.status,
            run_ms=journey.run_ms,
            init_ms=environment.init_ms,
            detail=str(invocation.error["message"]) if invocation.error else None,
        )
        self._pool.discard(journey.place, ending, invocation.id, self._record_facts(journey))

    def _record_progress(self, invocation_id: str) -> Callable[[Progress], None]:
        return lambda progress: self._store.note_facts(invocation_id, progress=progress, soon=True)

    def _record_facts(self, journey: Journey) -> Callable[[Facts], None]:
        invocation = journey.invocation

        def record(facts: Facts) -> None:
            self._metrics.log_bytes(facts.log_bytes)
            if facts.oom_killed:
                self._metrics.oom_kill(invocation.function)
            if not invocation.status.is_terminal and journey.ended_as is not Status.SUCCEEDED:
                return  # it may be tried again: the facts that count are those of another container
            self._store.note_facts(
                invocation.id,
                exit_code=facts.exit_code,
                oom_killed=facts.oom_killed,
                max_memory_mb=facts.max_memory_mb,
                log_state=facts.log_state,
                log_bytes=facts.log_bytes,
                log_sha256=facts.log_sha256,
                progress=facts.progress,
                soon=not facts.is_final,
            )

        return record

    @contextmanager
    def _under_way(self, invocation_id: str, function_name: str) -> Iterator[None]:
        with self._idle:
            self._ids[invocation_id] += 1
        self._metrics.in_flight(function_name, +1)
        try:
            yield
        finally:
            self._metrics.in_flight(function_name, -1)
            with self._idle:
                self._ids[invocation_id] -= 1
                if not self._ids[invocation_id]:
                    del self._ids[invocation_id]
                    self._journeys.pop(invocation_id, None)
                self._idle.notify_all()

    def _wait_idle(self, seconds: float) -> bool:
        with self._idle:
            return self._idle.wait_for(lambda: not self._ids, timeout=seconds)
