"""What is told of the pool: on status pages and in metrics."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

PoolState = Literal["off", "ok", "broken", "no_memory"]


@dataclass(frozen=True)
class PoolStatistics:
    """How many environments (and waiting callers) one function has."""

    warm: int  # ready ones that are to be kept, as the manifest says
    target: int  # and right now, with the rate of calls taken into account
    ready: int
    starting: int
    busy: int
    waiting: int  # callers in the queue
    state: PoolState  # off: none are kept; broken: they fail to start; no_memory: POOL_MEMORY does not allow more
    problem: str | None = None
    log_tail: tuple[str, ...] = ()  # last lines of the log of the one that failed
    diagnosis: Mapping[str, Any] | None = None  # of its failure


@dataclass(frozen=True)
class PoolTotals:
    """The pool as a whole."""

    max_concurrency: int
    in_use: int
    waiting: int
    queue_limit: int
    ready: int
    memory_mb: int  # of all environments, by their limits
    functions_memory_mb: int  # the most they may have
    ready_memory_mb: int  # of those that are kept ready
    pool_memory_mb: int  # the most those may have
