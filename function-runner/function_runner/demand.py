"""How often a function is called, and how many ready environments that asks for. Pure: it is told the time."""

import math
from dataclasses import dataclass

from function_runner.function import Function

# How fast the estimate follows calls that come faster, and how slowly it forgets them, in seconds.
RISE_SECONDS = 3.0
FALL_SECONDS = 60.0

# Of the calls expected while one environment is being made, some come closer together than the mean.
HEADROOM = 1.5

MEAN_WEIGHT = 0.2  # of the newest value in a running mean


@dataclass
class Demand:
    """The calls of one function: their rate, and how long making an environment and running it takes."""

    rise: float = 0.0  # calls per second, two estimates: a quick one and one with a long memory
    fall: float = 0.0
    at: float = 0.0  # time.monotonic() of the last call
    start_seconds: float = 1.0  # running mean: making an environment
    busy_seconds: float = 1.0  # running mean: from the hand-over until the place was free again
    _has_started: bool = False
    _has_run: bool = False

    def note_call(self, now: float) -> None:
        """A call has come."""
        self._decay(now)
        self.rise += 1 / RISE_SECONDS
        self.fall += 1 / FALL_SECONDS

    def note_start(self, seconds: float) -> None:
        """An environment became ready after so long."""
        self.start_seconds = _mean(self.start_seconds, seconds) if self._has_started else seconds
        self._has_started = True

    def note_run(self, seconds: float) -> None:
        """A place was free again after so long."""
        self.busy_seconds = _mean(self.busy_seconds, seconds) if self._has_run else seconds
        self._has_run = True

    def rate(self, now: float) -> float:
        """Calls per second: quick to rise, slow to fall."""
        self._decay(now)
        return max(self.rise, self.fall)

    def target(self, function: Function, now: float) -> int:
        """How many ready environments to keep: ``warm``, or more while calls come faster than they can be made."""
        if function.warm == 0:
            return 0
        expected = self.rate(now) * self.start_seconds * HEADROOM
        return max(function.warm, min(function.warm_max, math.ceil(expected)))

    def _decay(self, now: float) -> None:
        elapsed = max(0.0, now - self.at)
        self.rise *= math.exp(-elapsed / RISE_SECONDS)
        self.fall *= math.exp(-elapsed / FALL_SECONDS)
        self.at = now


def _mean(old: float, new: float) -> float:
    return old + MEAN_WEIGHT * (new - old)
