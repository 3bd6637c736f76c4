"""Work that is done again and again, in a thread of its own, until it is stopped."""

import logging
import threading
from collections.abc import Callable

from function_runner.errors import RunnerError

log = logging.getLogger(__name__)


class Rounds:
    """One round of work after the other. One that fails is logged, and the next one comes all the same."""

    def __init__(
        self,
        name: str,
        work: Callable[[], None],
        *,
        pause: Callable[[], float],
        first_pause: float | None = None,
        woken: threading.Event | None = None,
        failure: str,
    ) -> None:
        """Nothing is done before `start`.

        Args:
            name: of the thread.
            work: one round.
            pause: seconds until the next round, asked after each.
            first_pause: seconds until the first round; default: as between all others.
            woken: cuts a pause short when it is set; default: only `wake` does.
            failure: the ``action`` of the log line that tells of a round that failed.
        """
        self._name = name
        self._work = work
        self._pause = pause
        self._first_pause = first_pause
        self._woken = woken or threading.Event()
        self._failure = failure
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_stopped(self) -> bool:
        """True once `stop` was called: a round that takes long should end."""
        return self._stopped.is_set()

    def start(self) -> None:
        """Go on in the background until `stop`."""
        self._thread.start()

    def wake(self) -> None:
        """Do the next round now; if one is under way, right after it."""
        self._woken.set()

    def stop(self) -> None:
        """Begin no further round; returns when the one under way has ended."""
        self._stopped.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join()

    def rest(self, seconds: float) -> bool:
        """A pause within a round. True when the work is to stop."""
        return self._stopped.wait(seconds)

    def _run(self) -> None:
        self._woken.wait(self._pause() if self._first_pause is None else self._first_pause)
        while not self._stopped.is_set():
            self._woken.clear()  # before the work: what is asked for meanwhile is for the next round
            try:
                self._work()
            except RunnerError as error:
                log.warning("%s failed: %s", self._name, error, extra={"action": self._failure})
            except Exception:  # an edge: a bug in one round must not end all further ones
                log.exception("%s failed", self._name, extra={"action": self._failure})
            self._woken.wait(self._pause())
