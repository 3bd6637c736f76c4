"""Cleans up what a crash left behind: strays by label, and records that nobody works on any more.

At start it closes every record the previous runner left open, because one runner owns all containers of its stack and
that runner is gone, and finishes the logs it did not finish. Then, every half minute, it closes records that nobody
works on (the database was away when they ended) and removes containers of ours that the pool does not know (the engine
was away when they were discarded). It never touches anything without our labels, and never prunes.
"""

import logging
import threading

from function_runner.docker_engine import ContainerEngine, ContainerInfo, ContainerState
from function_runner.errors import RunnerError
from function_runner.invocation import Invocation, LogState, Status, Timings, utc_now
from function_runner.invoker import Invoker
from function_runner.logs import LogStore
from function_runner.pool import Pool
from function_runner.store import Store

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 30.0


class Reaper:
    """Runs once at start and then in a thread of its own."""

    def __init__(self, engine: ContainerEngine, store: Store, logs: LogStore, pool: Pool, invoker: Invoker) -> None:
        self._engine = engine
        self._store = store
        self._logs = logs
        self._pool = pool
        self._invoker = invoker
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)

    def start(self) -> None:
        """Close what the previous runner left open, then go on in the background until `stop`."""
        self.close_open_records()
        self.finish_logs()
        self._logs.forget_all()
        self._thread.start()

    def stop(self) -> None:
        """Sweep no more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def close_open_records(self) -> None:
        """Give every open record that nobody works on its honest end.

        One that was handed to its container is ``lost``, unless the engine can prove that it ran out of memory; one
        that was not is ``cancelled``, because its caller's connection died with the runner.
        """
        abandoned = [one for one in self._store.open_invocations() if not self._invoker.is_under_way(one.id)]
        containers = self._containers_by_name() if abandoned else {}
        for seen in abandoned:
            # Read again: it may have ended between being listed and being asked for.
            invocation = self._store.get(seen.id)
            if invocation is not None and not invocation.status.is_terminal:
                self._close(invocation, containers.get(invocation.container_name or ""))

    def finish_logs(self) -> None:
        """Finish the logs of invocations that ended a moment before the previous runner did. Only for the start."""
        unsettled = self._store.unsettled()
        containers = self._containers_by_name() if unsettled else {}
        for invocation in unsettled:
            _, output = self._evidence(containers.get(invocation.container_name or ""))
            note = f"[The function runner stopped before it could finish this log; the invocation {invocation.status}.]"
            log_state = self._logs.recover(invocation.container_name or "", output, note)
            self._end_log(invocation, invocation.status)
            self._store.note_facts(invocation.id, log_state=log_state)

    def sweep(self) -> int:
        """Remove every container of ours that the pool does not know. Returns how many."""
        # In this order: a container made meanwhile is not in the list, so it cannot be mistaken for a stray.
        containers = self._engine.containers()
        known = self._pool.names()
        strays = [container for container in containers if container.name not in known]
        for container in strays:
            self._engine.remove(container.id)
            log.info(
                "stray removed: %s", container.name, extra={"action": "stray_removed", "container": container.name}
            )
        return len(strays)

    def _run(self) -> None:
        while True:
            try:
                self.close_open_records()
                self.sweep()
            except RunnerError as error:
                log.warning("sweep failed: %s", error, extra={"action": "sweep_failed"})
            except Exception:  # an edge: a bug in one round must not end all further ones
                log.exception("sweep failed", extra={"action": "sweep_failed"})
            if self._stopped.wait(INTERVAL_SECONDS):
                return

    def _containers_by_name(self) -> dict[str, ContainerInfo]:
        try:
            return {container.name: container for container in self._engine.containers()}
        except RunnerError as error:
            log.warning("cannot list containers: %s", error, extra={"action": "reap_failed"})
            return {}

    def _close(self, invocation: Invocation, container: ContainerInfo | None) -> None:
        state, output = self._evidence(container)
        if invocation.status is not Status.RUNNING:
            status, code = Status.CANCELLED, "cancelled"
            message = "The function runner stopped before the invocation was handed to its container."
        elif state is not None and state.oom_killed:
            status, code = Status.FAILED, "out_of_memory"
            message = "The container ran out of memory while the function runner was away."
        else:
            status, code = Status.LOST, "lost"
            message = "The function runner stopped while this invocation was running; its outcome is not known."
        log_state = LogState.MISSING
        if invocation.container_name:
            log_state = self._logs.recover(invocation.container_name, output, f"[{message}]")
            self._end_log(invocation, status)
        self._store.finish(
            invocation.id,
            status=status,
            finished_at=utc_now(),
            timings=Timings(),
            error={"code": code, "type": "Lost" if code == "lost" else "Platform", "message": message},
            exit_code=state.exit_code if state else None,
            oom_killed=state.oom_killed if state else None,
        )
        self._store.note_facts(invocation.id, log_state=log_state)
        log.warning(
            "open record closed as %s", status, extra={"action": "record_closed", "invocation_id": invocation.id}
        )

    def _end_log(self, invocation: Invocation, status: Status) -> None:
        """The last line of every log, for whoever follows it."""
        if invocation.container_name:
            self._logs.recover(invocation.container_name, b"", f"REPORT RequestId: {invocation.id}\tStatus: {status}")

    def _evidence(self, container: ContainerInfo | None) -> tuple[ContainerState | None, bytes]:
        """What the engine knows of the container and has kept of its output. The container is ended for it."""
        if container is None:
            return None, b""
        try:
            state = self._engine.inspect(container.id)
            self._engine.kill(container.id)  # what is recorded as over must be over
            return state, self._engine.output(container.id)
        except RunnerError as error:
            log.warning("no evidence: %s", error, extra={"action": "reap_failed", "container": container.name})
            return None, b""
