"""Sets right what a crash left behind: containers that still work, strays by label, records that nobody works on.

At start it looks at every record the previous runner left open, because one runner owns all containers of its stack
and that runner is gone: it goes on with those whose containers still run, puts asynchronous ones back into the queue,
ends the others as what is known of them, and finishes the logs that were not finished. Then, every half minute, it does
the same for records that nobody works on (the database was away when they ended) and removes containers of ours that
the pool does not know (the engine was away when they were discarded). It never touches anything without our labels,
and never prunes.
"""

import logging
import time
from datetime import timedelta

from function_runner.diagnosis import FunctionFacts, attach, diagnose
from function_runner.docker_engine import ContainerEngine, ContainerInfo, ContainerState, Image
from function_runner.docker_spec import LABEL_RUNTIME, token_of
from function_runner.errors import Cancelled, Draining, EngineUnavailable, Expired, Lost, OutOfMemory, RunnerError
from function_runner.execution_environment import ExecutionEnvironment
from function_runner.invocation import Invocation, LogState, Mode, Status, Timings, utc_now
from function_runner.invoker import Invoker
from function_runner.logs import LogStore, start_line
from function_runner.pool import DIAGNOSED_LINES, Pool
from function_runner.rounds import Rounds
from function_runner.store import Store

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 30.0
OVERDUE_SECONDS = 60.0  # beyond its time, an invocation whose container cannot be asked about is given up
ENGINE_SECONDS = 5.0  # when the engine did not answer and something waits for that


class Reaper:
    """Runs once at start and then in a thread of its own."""

    def __init__(
        self,
        engine: ContainerEngine,
        store: Store,
        logs: LogStore,
        pool: Pool,
        invoker: Invoker,
        *,
        runtime_address: tuple[str, int],
    ) -> None:
        """``runtime_address``: where containers reach the runtime API; those that call another one cannot be heard."""
        self._engine = engine
        self._store = store
        self._logs = logs
        self._pool = pool
        self._invoker = invoker
        self._runtime = "{}:{}".format(*runtime_address)
        self._suspects: set[str] = set()  # claimed, and seen without anybody who works on them
        self._unused_logs: list[str] = []  # of containers of the previous runner
        # Containers whose records stay open until the engine answers again: they may still run, and deliver.
        self._left_open: set[str] = set()
        # Since when the engine has said nothing about an invocation's container, by the invocation's id.
        self._unanswered: dict[str, float] = {}
        self._rounds = Rounds(
            "reaper",
            self._round,
            pause=lambda: ENGINE_SECONDS if self._left_open else INTERVAL_SECONDS,
            first_pause=0,
            failure="sweep_failed",
        )

    def start(self) -> None:
        """Set right what the previous runner left open, then go on in the background until `stop`."""
        self.reconcile()
        self.finish_logs()
        for name in self._unused_logs:
            self._logs.forget(name)
        self._rounds.start()

    def stop(self) -> None:
        """Sweep no more."""
        self._rounds.stop()

    def adopt_running(self) -> None:
        """Go on with every invocation whose container outlived the previous runner.

        To be called before containers are served: one that is adopted must be known when it brings its result.
        """
        # What has brought its result already need not be waited for. Where that cannot be told: most have not.
        kept = self._invoker.record_kept() or set()
        # Now: once something has been adopted, its end may let the pool make containers that wait for an invocation.
        self._unused_logs = self._logs.unused()
        running = [one for one in self._store.claimed() if one.status is Status.RUNNING and one.id not in kept]
        containers = self._containers_by_name() if running else None
        if containers is None:
            return
        for invocation in running:
            try:
                self._adopt(invocation, containers.get(invocation.container_name or ""))
            except EngineUnavailable as error:  # `reconcile` tries again
                log.warning("not adopted yet: %s", error, extra={"action": "adopt_failed"})

    def reconcile(self) -> None:
        """Find every open record that nobody works on, and let it go on or give it its honest end.

        One that was handed to a container which still runs goes on: its result will be accepted. Of the others,
        asynchronous ones wait again, as far as they may. One for which that is over and that was handed over is
        ``lost``, unless the engine can prove that it ran out of memory; a synchronous one that was not is
        ``cancelled``, because its caller's connection died with the runner.

        While the engine cannot be asked, what was handed over stays open: its container may run, and deliver. When it
        answers and has nothing to say about one whose time is over, that one is ``lost``.

        One whose result waits on disk stays open as well, until the disk gives it and the database takes it. While it
        cannot be told which these are, all do.
        """
        unattended = [one for one in self._store.claimed() if not self._invoker.is_under_way(one.id)]
        # In this order: whoever of them has brought a result has it on disk by now.
        kept = self._invoker.record_kept()
        if kept is None:
            self._left_open = {one.container_name or "" for one in unattended}
            return
        containers = self._containers_by_name() if unattended else {}
        fresh: set[str] = set()
        left_open: set[str] = set()
        for seen in unattended:
            # Read again: it may have ended between being listed and being asked for.
            invocation = self._store.get(seen.id)
            if invocation is None or invocation.status.is_terminal or self._invoker.is_under_way(seen.id):
                continue
            if invocation.id in kept:
                continue
            if self._may_be_about_to_begin(invocation):
                fresh.add(invocation.id)
                continue
            if containers is None and invocation.status is Status.RUNNING:
                left_open.add(invocation.container_name or "")
                continue
            container = (containers or {}).get(invocation.container_name or "")
            try:
                if not self._adopt(invocation, container):
                    self._close(invocation, container)
            except EngineUnavailable as error:
                if self._is_given_up(invocation):
                    self._close(invocation, None)
                    continue
                log.warning("left open: %s", error, extra={"action": "reap_failed", "invocation_id": invocation.id})
                left_open.add(invocation.container_name or "")
        self._suspects, self._left_open = fresh, left_open
        if not left_open:
            self._unanswered.clear()

    def end_overdue(self) -> None:
        """Give up asynchronous invocations that have waited longer than they may, and forget old idempotency keys."""
        for invocation in self._store.overdue():
            message = "The invocation waited in the queue for longer than MAX_QUEUE_AGE allows and was given up."
            reason = invocation.error or {}
            if reason.get("message"):
                message += f" Its last attempt failed: {reason['message']}"
            diagnosis = diagnose(Expired(message), FunctionFacts.of_invocation(invocation)).as_dict()
            self._store.finish(
                invocation.id,
                status=Status.FAILED,
                finished_at=utc_now(),
                timings=Timings(),
                error={"code": Expired.code, "type": Expired.title, "message": message, "diagnosis": diagnosis},
            )
        self._store.forget_keys()

    def finish_logs(self) -> None:
        """Finish the logs of invocations that ended a moment before the previous runner did. Only for the start."""
        unsettled = self._store.unsettled()
        containers = (self._containers_by_name() if unsettled else None) or {}
        for invocation in unsettled:
            name = invocation.container_name or ""
            log_state = self._logs.state_of_part(name, invocation.id)
            if log_state is None and name in self._pool.names():  # it goes on with another invocation
                log_state = LogState.PARTIAL
            if log_state is not None:
                self._store.note_facts(invocation.id, log_state=log_state)
                continue
            try:
                _, output = self._evidence(containers.get(name))
            except EngineUnavailable:
                output = b""
            note = f"[The function runner stopped before it could finish this log; the invocation {invocation.status}.]"
            log_state = self._logs.recover(name, output, *_last_lines(invocation, note, invocation.status))
            self._store.note_facts(invocation.id, log_state=log_state)

    def sweep(self) -> int:
        """Remove every container of ours that the pool does not know and no open record waits for. Returns how many."""
        # In this order: a container made meanwhile is not in the list, so it cannot be mistaken for a stray.
        containers = self._engine.containers()
        known = self._pool.names() | self._left_open
        strays = [container for container in containers if container.name not in known]
        for container in strays:
            # One that served several may have printed something after the last REPORT that nobody was there to copy.
            try:
                output = self._engine.output(container.id)
            except EngineUnavailable:  # it may have nothing to say about this one; the others must go too
                output = b""
            self._logs.append_missing(container.name, output)
            self._engine.remove(container.id)
            log.info(
                "stray removed: %s", container.name, extra={"action": "stray_removed", "container": container.name}
            )
        return len(strays)

    def _round(self) -> None:
        self.reconcile()
        self.end_overdue()
        self.sweep()

    def _containers_by_name(self) -> dict[str, ContainerInfo] | None:
        """All containers of ours; None when the engine cannot be asked."""
        try:
            return {container.name: container for container in self._engine.containers()}
        except EngineUnavailable as error:
            log.warning("cannot list containers: %s", error, extra={"action": "reap_failed"})
            return None

    def _may_be_about_to_begin(self, invocation: Invocation) -> bool:
        """It was claimed by this runner, which may be about to work on it; not if it has been so for a whole round."""
        is_just_claimed = invocation.mode is Mode.ASYNC and invocation.status is Status.QUEUED
        return is_just_claimed and invocation.owner == self._store.owner and invocation.id not in self._suspects

    def _is_given_up(self, invocation: Invocation) -> bool:
        """The engine answers, but not about this container, whose time has long been over: there is nothing to learn.

        What is left of it is swept up, as far as the engine lets that happen.
        """
        allowed = timedelta(seconds=invocation.timeout_seconds + OVERDUE_SECONDS)
        # Nor after the first try: an engine that is busy has an answer the next time.
        unanswered_since = self._unanswered.setdefault(invocation.id, time.monotonic())
        if time.monotonic() < unanswered_since + OVERDUE_SECONDS:
            return False
        if utc_now() < (invocation.started_at or invocation.created_at) + allowed:
            return False
        try:
            self._engine.ping()
        except EngineUnavailable:
            return False
        return True

    def _adopt(self, invocation: Invocation, container: ContainerInfo | None) -> bool:
        """Go on with an invocation whose container still runs and can bring its result to us. False when it cannot.

        Raises:
            EngineUnavailable: the engine cannot be asked whether it does.
        """
        if invocation.status is not Status.RUNNING or container is None or invocation.cancel_requested_at is not None:
            return False
        is_our_own = container.name in self._pool.names()  # and being discarded: nobody waits for its result any more
        if is_our_own or container.labels.get(LABEL_RUNTIME) != self._runtime:
            return False
        try:
            state = self._engine.inspect(container.id)
            token = token_of(self._engine.environment(container.id))
            if state is None or not state.running or state.ip_address is None or token is None:
                return False
            function = self._invoker.function_of(invocation)
            running = (utc_now() - (invocation.started_at or invocation.created_at)).total_seconds()
            log_file = self._logs.reopen(container.name)
            try:
                output = log_file.missing(self._engine.follow(container.id))
            except RunnerError:
                log_file.close()
                raise
            environment = ExecutionEnvironment.adopt(
                function,
                Image(
                    tag=invocation.image_tag or container.image,
                    id=invocation.image_id or "",
                    base_id=invocation.base_image_id,
                    size_bytes=0,
                    built_at=container.created_at,
                ),
                container,
                token=token,
                address=state.ip_address,
                engine=self._engine,
                log_file=log_file,
                output=output,
                invocation_id=invocation.id,
                seconds_left=max(0.0, invocation.timeout_seconds - running),
            )
        except EngineUnavailable:
            raise
        except RunnerError as error:
            log.warning("not adopted: %s", error, extra={"action": "adopt_failed", "container": container.name})
            return False
        self._invoker.adopt(invocation, environment)
        log.warning(
            "%s goes on in its container",
            invocation.function,
            extra={"action": "adopted", "invocation_id": invocation.id, "container": container.name},
        )
        return True

    def _close(self, invocation: Invocation, container: ContainerInfo | None) -> None:
        """End a record that cannot go on, or let it wait for another attempt.

        Raises:
            EngineUnavailable: its container could not be ended, so the record stays open.
        """
        state, output = self._evidence(container)
        error: RunnerError
        if invocation.cancel_requested_at is not None:
            status = Status.CANCELLED
            error = Cancelled("The invocation was cancelled.")
        elif invocation.status is not Status.RUNNING:
            status = Status.CANCELLED
            error = Draining("The function runner stopped before the invocation was handed to its container.")
        elif state is not None and state.oom_killed:
            status = Status.FAILED
            error = OutOfMemory("The container ran out of memory while the function runner was away.")
        else:
            status = Status.LOST
            error = Lost("The function runner stopped while this invocation was running; its outcome is not known.")
        # Its end only: as lines, the whole of it would take a multiple of its memory.
        tail = output[-DIAGNOSED_LINES * 200 :].decode("utf-8", "replace").splitlines()[-DIAGNOSED_LINES:]
        attach(error, FunctionFacts.of_invocation(invocation), tail)
        log_state = LogState.MISSING
        if invocation.container_name:
            lines = _last_lines(invocation, f"[{error.detail}]", status)
            log_state = self._logs.recover(invocation.container_name, output, *lines)
        if self._invoker.try_again(invocation, error):
            return
        self._store.finish(
            invocation.id,
            status=status,
            finished_at=utc_now(),
            timings=Timings(),
            error={
                "code": "cancelled" if status is Status.CANCELLED else error.code,
                "type": "Platform" if status is Status.CANCELLED else error.title,
                "message": error.detail,
                "diagnosis": error.members["diagnosis"],
            },
            exit_code=state.exit_code if state else None,
            oom_killed=state.oom_killed if state else None,
        )
        self._store.note_facts(invocation.id, log_state=log_state)
        log.warning(
            "open record closed as %s", status, extra={"action": "record_closed", "invocation_id": invocation.id}
        )

    def _evidence(self, container: ContainerInfo | None) -> tuple[ContainerState | None, bytes]:
        """What the engine knows of the container and has kept of its output. The container is ended for it.

        Raises:
            EngineUnavailable: it may run on.
        """
        if container is None:
            return None, b""
        state = self._engine.inspect(container.id)
        self._engine.kill(container.id)  # what is recorded as over must be over
        return state, self._engine.output(container.id)


def _last_lines(invocation: Invocation, note: str, status: Status) -> list[str]:
    """The end of its log, for whoever follows it; in a log that it shares with others also where its part begins."""
    lines = [note, f"REPORT RequestId: {invocation.id}\tStatus: {status}"]
    if invocation.started_at is not None:
        lines.insert(0, start_line(invocation.id, (invocation.source_hash or "")[:12]))
    return lines
