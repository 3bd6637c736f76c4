"""What the pool knows of one function."""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from function_runner.demand import Demand
from function_runner.docker_engine import Image
from function_runner.errors import RunnerError
from function_runner.execution_environment import EnvironmentState, ExecutionEnvironment
from function_runner.function import Function

# An environment that is made in advance is not made from files that somebody is still saving.
SOURCE_SETTLE_SECONDS = 2.0
MAX_BACK_OFF_SECONDS = 300.0
HEALTHY_SECONDS = 30.0  # an environment that was ready for so long shows that the function can be kept ready


@dataclass
class Trouble:
    """Environments of a function fail before anybody can use them."""

    failures: int
    problem: str
    log_tail: tuple[str, ...]
    diagnosis: Mapping[str, Any] | None
    retry_at: float
    log_name: str | None = None  # of the log that is kept until this is over
    had_been_ready: bool = False  # it could be loaded, and ended while it waited


@dataclass
class Shelf:
    """All that the pool knows of one function."""

    function: Function
    seen_at: float  # when this source was first seen
    ready: "deque[ExecutionEnvironment]" = field(default_factory=deque)
    starting: int = 0  # environments being made
    demand: Demand = field(default_factory=Demand)
    image: Image | None = None  # of this source
    build: tuple[float, float] | None = None  # begin and end of making it
    is_building: bool = False
    images_missed: int = 0  # how often it was gone when a container was to be made of it
    trouble: Trouble | None = None
    is_short_of_memory: bool = False
    is_gone: bool = False  # its folder was not there when the keeper last looked

    def turn_to(self, function: Function) -> list[ExecutionEnvironment]:
        """The source has changed: returns the environments that are of no use any more."""
        stale = list(self.ready)
        self.ready.clear()
        self.function, self.seen_at = function, time.monotonic()
        self.image = self.build = None
        self.images_missed = 0
        return stale

    def take_ready(self) -> ExecutionEnvironment | None:
        """The environment that has been ready for longest, off the shelf; None when there is none.

        Those that have just ended stay: whoever tells the pool so takes them off and cleans up.
        """
        for environment in self.ready:
            if environment.state is EnvironmentState.READY:
                self.ready.remove(environment)
                if self.trouble is not None and time.monotonic() - environment.idle_since > HEALTHY_SECONDS:
                    self.trouble = None
                return environment
        return None

    def may_be_made_in_advance(self, now: float) -> bool:
        """Whether anything keeps the pool from making environments that nobody waits for."""
        return (
            self.function.warm > 0
            and not self.is_gone
            and not self.is_building
            and (self.image is not None or now - self.seen_at >= SOURCE_SETTLE_SECONDS)
            and (self.trouble is None or now >= self.trouble.retry_at)
        )

    def note_trouble(
        self,
        error: RunnerError,
        tail: tuple[str, ...],
        log_name: str | None = None,
        *,
        had_been_ready: bool = False,
    ) -> None:
        """Another environment failed; the pool waits longer before it makes one in advance."""
        failures = self.trouble.failures + 1 if self.trouble is not None else 1
        retry_at = time.monotonic() + min(MAX_BACK_OFF_SECONDS, 2.0**failures)
        diagnosis = error.members.get("diagnosis")
        self.trouble = Trouble(failures, error.detail, tail, diagnosis, retry_at, log_name, had_been_ready)
