"""Runs the asynchronous invocations that wait in the record. The rows are the queue; there is no other.

It claims no more of them than can run at once, so that those who wait for an answer do not queue behind a long list,
and of those that may take minutes one less, so that short ones find a place.
"""

import logging
import threading
from collections import Counter
from collections.abc import Mapping, Sequence

from function_runner.catalog import Catalog
from function_runner.function import Function
from function_runner.invocation import Invocation
from function_runner.invoker import Invoker
from function_runner.metrics import Metrics
from function_runner.rounds import Rounds
from function_runner.settings import Settings
from function_runner.store import Store

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # how often it looks for those whose pause is over


class Dispatcher:
    """Claims and runs, in a thread of its own and one for each invocation."""

    def __init__(self, settings: Settings, catalog: Catalog, store: Store, invoker: Invoker, metrics: Metrics) -> None:
        self._settings = settings
        self._catalog = catalog
        self._store = store
        self._invoker = invoker
        self._metrics = metrics
        self._rounds = Rounds(
            "dispatcher",
            self._round,
            pause=lambda: LOOK_SECONDS,
            first_pause=0,
            woken=invoker.has_work,
            failure="dispatch_failed",
        )
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()  # claimed and not ended, by function; guarded by the lock

    def start(self) -> None:
        """Claim and run until `stop`."""
        self._rounds.start()

    def stop(self) -> None:
        """Claim no more; what runs goes on."""
        self._rounds.stop()

    def _round(self) -> None:
        waiting, since = self._store.backlog()
        if waiting:  # else the functions need not be looked at, once a second and for nothing
            self._dispatch()
            waiting, since = self._store.backlog()
        self._metrics.set_backlog(waiting, since)

    def _dispatch(self) -> None:
        """Claim as many as there is room for, and start them."""
        while not self._rounds.is_stopped and not self._invoker.is_draining:
            functions = [entry.function for entry in self._catalog.list() if entry.function is not None]
            with self._lock:
                room = Room(self._settings.max_concurrency, functions, self._running)
            claimed = self._store.claim(room.free, room.take, but_not=room.full()) if room.free > 0 else []
            for invocation in claimed:
                with self._lock:
                    self._running[invocation.function] += 1
                name = f"async-{invocation.function}"
                threading.Thread(target=self._take, args=(invocation,), name=name, daemon=True).start()
            if not claimed:
                return

    def _take(self, invocation: Invocation) -> None:
        try:
            self._invoker.run(invocation)
        except Exception:  # an edge: nobody looks at what this thread raises; the reaper closes the record
            log.exception("run failed", extra={"action": "run_failed", "invocation_id": invocation.id})
        finally:
            with self._lock:
                self._running[invocation.function] -= 1
            self._invoker.has_work.set()


class Room:
    """How many more invocations may run beside those that do."""

    def __init__(self, max_concurrency: int, functions: Sequence[Function], running: Mapping[str, int]) -> None:
        """``running``: how many of each function do now."""
        self.free = max_concurrency - sum(running.values())
        self._long = {function.name for function in functions if function.is_long}
        self._long_free = max(1, max_concurrency - 1) - sum(running.get(name, 0) for name in self._long)
        self._free_of = {
            function.name: function.max_concurrency - running.get(function.name, 0)
            for function in functions
            if function.max_concurrency is not None
        }

    def full(self) -> list[str]:
        """The functions of which no more may run."""
        at_limit = {name for name, free in self._free_of.items() if free <= 0}
        return sorted(at_limit | (self._long if self._long_free <= 0 else set()))

    def take(self, function: str) -> bool:
        """One more of this function runs. False when it must not."""
        if self.free <= 0 or function in self.full():
            return False
        self.free -= 1
        if function in self._long:
            self._long_free -= 1
        if function in self._free_of:
            self._free_of[function] -= 1
        return True
