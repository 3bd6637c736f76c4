"""What is known of an invocation under way."""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace

from function_runner.invocation import Invocation, ModelVersion, Status, Timings
from function_runner.pool import Place

log = logging.getLogger(__name__)


@dataclass
class Journey:
    """What is known of an invocation under way."""

    invocation: Invocation
    place: Place
    model: ModelVersion | None  # what the parameters ask for, where that is known
    leave: ExitStack = field(default_factory=ExitStack)  # what is given back at the end
    handed_over_at: float | None = None
    record_ms: float | None = None
    run_ms: float | None = None
    result_at: float | None = None  # when the result had come
    is_cancelled: bool = False
    ended_as: Status | None = None  # of this attempt; the invocation itself may be tried again

    @property
    def timings(self) -> Timings:
        """Milliseconds of each phase so far, and of all until now."""
        now = time.monotonic()
        return replace(
            self.place.timings,
            record_ms=_rounded(self.record_ms),
            run_ms=_rounded(self.run_ms),
            result_ms=_rounded((now - self.result_at) * 1000 if self.result_at is not None else None),
            total_ms=_rounded((now - self.place.asked_at) * 1000),
        )


def phases(timings: Timings) -> Iterator[tuple[str, float]]:
    """Each phase that there was, by its name, with its milliseconds."""
    for entry in fields(timings):
        milliseconds = getattr(timings, entry.name)
        if milliseconds is not None:
            yield entry.name.removesuffix("_ms"), milliseconds


def log_step(journey: Journey, action: str) -> None:
    """Say in our log that the invocation has come so far."""
    invocation = journey.invocation
    log.info(
        "%s %s %s",
        invocation.function,
        action,
        invocation.status,
        extra={
            "action": action,
            "invocation_id": invocation.id,
            "function": invocation.function,
            "container": invocation.container_name,
            "status": str(invocation.status),
        },
    )


def _rounded(milliseconds: float | None) -> float | None:
    return round(milliseconds, 2) if milliseconds is not None else None
