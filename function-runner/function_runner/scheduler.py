"""Asks for the invocations that functions want by themselves: what `schedule` in a manifest says, at its time.

How far each schedule has come is in the record, and a step of it is committed together with the invocation it asks
for: whenever this process ends, nothing that was due is lost or done twice. What was due several times while there was
no runner is made up for once.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from function_runner.catalog import Catalog
from function_runner.errors import RunnerError
from function_runner.function import Function
from function_runner.invocation import Request, utc_now
from function_runner.invoker import Invoker
from function_runner.metrics import Metrics
from function_runner.rounds import Rounds
from function_runner.schedule import Occurrence, Schedule, ScheduleState
from function_runner.store import AlreadyHandled, Store

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
# A clock that is set back by less must not make anything run twice. By more, it had been wrong, and what was handled
# until then says nothing: waiting for it might mean to wait for years.
CLOCK_ERROR = timedelta(days=1)
GONE_AFTER = timedelta(minutes=10)  # a function's folder may be moved away and another put in its place


class Scheduler:
    """Looks once a second, in a thread of its own."""

    def __init__(
        self,
        catalog: Catalog,
        store: Store,
        invoker: Invoker,
        metrics: Metrics,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._invoker = invoker
        self._metrics = metrics
        self._now = now
        self._next: dict[tuple[str, str], tuple[ScheduleState, datetime | None]] = {}  # what was found to come after it
        self._absent_since: dict[str, datetime] = {}  # functions that have a schedule and no folder
        self._refused: dict[tuple[str, str], str] = {}  # why what is due could not be submitted yet
        self._rounds = Rounds(
            "scheduler",
            self._round,
            # Just after each full second, which is when anything is due.
            pause=lambda: LOOK_SECONDS - time.time() % LOOK_SECONDS,
            failure="schedule_failed",
        )

    def start(self) -> None:
        """Look until `stop`."""
        self._rounds.start()

    def stop(self) -> None:
        """Look no more."""
        self._rounds.stop()

    def look(self) -> None:
        """Submit everything that is due, begin what is new, and forget what is gone."""
        if not self._catalog.is_there:  # nothing is gone: nobody can know what there is
            return
        entries = self._catalog.list()
        progress = self._store.schedules()
        for function in [entry.function for entry in entries if entry.function is not None]:
            for schedule in function.schedules:
                self._advance(function, schedule, progress.pop((function.name, schedule.name), None))
        usable = {entry.name: entry.function is not None for entry in entries}
        for function_name, name in progress:
            # One that cannot be used right now, because somebody is editing it, keeps what it has come to.
            if usable[function_name] if function_name in usable else self._is_gone(function_name):
                self._store.forget_schedule(function_name, name)
                self._next.pop((function_name, name), None)
                self._refused.pop((function_name, name), None)
        self._absent_since = {name: since for name, since in self._absent_since.items() if name not in usable}

    def _is_gone(self, function_name: str) -> bool:
        """Its folder has been away for so long that it is not just being replaced by another one."""
        return self._now() - self._absent_since.setdefault(function_name, self._now()) > GONE_AFTER

    def _round(self) -> None:
        if not self._invoker.is_draining:
            self.look()

    def _advance(self, function: Function, schedule: Schedule, progress: ScheduleState | None) -> None:
        now = self._now()
        if progress is None or progress.timing != schedule.timing or progress.handled_until > now + CLOCK_ERROR:
            self._store.begin_schedule(function.name, schedule.name, schedule.timing, now)
            return
        first = self._next_after(schedule, progress)
        if first is None or first > now:
            return
        due = schedule.latest(first, now)
        occurrence = Occurrence(function.name, schedule.name, due, progress.handled_until)
        try:
            if schedule.overlap == "forbid" and self._store.has_open(function.name, schedule.caller):
                self._store.skip(occurrence)
                self._note(function, schedule, due, "skipped")
            else:
                self._submit(function, schedule, occurrence)
        except AlreadyHandled:
            log.info("handled by another runner: %s of %s", schedule.name, function.name)

    def _next_after(self, schedule: Schedule, progress: ScheduleState) -> datetime | None:
        """When it is due next. Remembered, because finding the next 29th of February takes milliseconds."""
        key = (progress.function, progress.name)
        known = self._next.get(key)
        if known is None or known[0] != progress:
            known = self._next[key] = (progress, schedule.next_after(progress.handled_until))
        return known[1]

    def _submit(self, function: Function, schedule: Schedule, occurrence: Occurrence) -> None:
        """Ask for the invocation. What is refused is asked for again in the next round: it is late then, not lost."""
        key = (function.name, schedule.name)
        try:
            self._invoker.submit(
                Request(function.name, schedule.parameters, caller=schedule.caller, occurrence=occurrence)
            )
        except RunnerError as error:
            if self._refused.get(key) != error.code:  # once, and not every second
                self._refused[key] = error.code
                log.warning(
                    "schedule %s of %s has to wait: %s",
                    schedule.name,
                    function.name,
                    error,
                    extra={"action": "schedule_refused", "function": function.name},
                )
            return
        self._refused.pop(key, None)
        self._note(function, schedule, occurrence.due, "submitted")

    def _note(self, function: Function, schedule: Schedule, due: datetime, result: str) -> None:
        self._metrics.scheduled(function.name, result)
        log.info(
            "schedule %s of %s, due %s: %s",
            schedule.name,
            function.name,
            due.isoformat(),
            result,
            extra={"action": f"schedule_{result}", "function": function.name},
        )
