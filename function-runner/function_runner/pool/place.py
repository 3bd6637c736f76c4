"""A caller's place, from the queue until it is given back."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import TracebackType
from typing import Literal, Self

from function_runner.errors import RunnerError
from function_runner.execution_environment import ExecutionEnvironment
from function_runner.function import Function
from function_runner.invocation import LogState, Start, Timings


@dataclass(frozen=True)
class Begun:
    """Something is being made for the caller; the container's name, once it is known."""

    name: str | None


class Served:
    """The caller has an environment."""


@dataclass(eq=False)
class Place:
    """A caller's place: in the queue, then among those who run. Given back exactly once.

    Use as a context manager. Leaving it gives back whatever was not given to `Pool.discard`.
    """

    leave: Callable[["Place"], None]  # gives it back
    function: Function
    invocation_id: str
    entered_at: float = field(default_factory=time.monotonic)
    asked_at: float = field(default_factory=time.monotonic)  # earlier, for one that waited elsewhere before
    environment: ExecutionEnvironment | None = None
    start: Start | None = None
    need_not_wait: bool = False  # there was an environment for it when it came
    served_at: float | None = None
    build: tuple[float, float] | None = None  # begin and end of making its image
    log_state: LogState | None = None  # of a log that was closed before there was an environment
    covered_by: Literal["nothing", "image", "container"] = "nothing"  # what is being made for it
    is_running: bool = False  # counts among those who run
    is_discarded: bool = False  # the pool takes care of the rest
    messages: "SimpleQueue[Begun | Served | RunnerError]" = field(default_factory=SimpleQueue)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self.is_discarded:
            self.leave(self)

    @property
    def timings(self) -> Timings:
        """The phases until the environment was the caller's. Only what happened since it came counts as its wait."""
        if self.served_at is None:
            return Timings(queue_ms=_ms(time.monotonic() - self.asked_at))
        build = create = start = init = 0.0
        if self.start is Start.COLD:
            build = self._waited(*self.build) if self.build else 0.0
            if self.environment is not None:
                made = self.environment.milestones
                create = self._waited(made.begun, made.created)
                start = self._waited(made.created, made.started)
                init = self._waited(made.started, made.ready or self.served_at)
        queue = max(0.0, self.served_at - self.asked_at - build - create - start - init)
        return Timings(_ms(queue), _ms(build), _ms(create), _ms(start), _ms(init))

    def _waited(self, begin: float | None, end: float | None) -> float:
        if begin is None or end is None:
            return 0.0
        return max(0.0, end - max(begin, self.entered_at))


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
