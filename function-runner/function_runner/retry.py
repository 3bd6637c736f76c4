"""Whether an asynchronous invocation is tried again, and when. Pure.

What was not the function's fault is tried again: the container engine or another service was away, the container was
killed, the function runner died. The function's own failures are not, unless its manifest asks for it: mostly they
would fail again, and what they have done by then would be done twice.

Pauses double and are drawn at random between nothing and that ("full jitter"; Marc Brooker, "Exponential Backoff And
Jitter", AWS Architecture Blog, 2015), so that those that failed together do not come back together.
"""

import random
from collections.abc import Collection
from datetime import datetime, timedelta

from function_runner.errors import (
    Busy,
    Draining,
    EngineUnavailable,
    HandlerUnavailable,
    Killed,
    LogsUnavailable,
    Lost,
    QueueTimeout,
    RunnerError,
    StoreUnavailable,
)
from function_runner.invocation import Invocation, Mode

RETRYABLE = (
    Busy,
    Draining,
    EngineUnavailable,
    HandlerUnavailable,
    Killed,
    LogsUnavailable,
    Lost,
    QueueTimeout,
    StoreUnavailable,
)
UNDELIVERED_SECONDS = 1.0  # the first pause of one that nobody was handed yet
MAX_SECONDS = 300.0


def next_attempt(
    invocation: Invocation,
    error: RunnerError,
    now: datetime,
    *,
    pause: float,
    retry_on: Collection[str] = (),
    chance: float | None = None,
) -> datetime | None:
    """When the invocation, whose attempt has just failed with ``error``, is to be tried again; None: not at all.

    Args:
        pause: seconds before the second attempt, at most.
        retry_on: codes of errors that are the function's own and are tried again nevertheless.
        chance: for tests; 0 to 1, default: at random.
    """
    # One that did not even load has not been handed over, which is what bounds the attempts.
    is_own = bool(invocation.delivered) and error.code in retry_on and error.members.get("phase") != "init"
    if invocation.mode is not Mode.ASYNC or not (is_own or isinstance(error, RETRYABLE)):
        return None
    if isinstance(error, Draining) and not invocation.delivered:
        return now  # there is nothing to wait for: the next runner takes it
    if invocation.delivered >= invocation.max_attempts:
        return None
    if invocation.delivered:
        longest = pause * 2.0 ** (invocation.delivered - 1)
    else:
        longest = UNDELIVERED_SECONDS * 2.0 ** min(invocation.attempt, 20)
    seconds = min(MAX_SECONDS, longest) * (random.random() if chance is None else chance)  # noqa: S311 - no secret
    due = now + timedelta(seconds=seconds)
    if invocation.expires_at is None or due < invocation.expires_at:
        return due
    return None if invocation.delivered else invocation.expires_at  # when it is given up, for that reason
