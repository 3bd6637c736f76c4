"""A schedule: when a function runs by itself, in cron's words and a time zone. Pure: it is told what time it is.

Times are due as Debian's cron has it: a time of day that the change to summer time skips is made up for when the clock
has jumped, and one that comes twice in autumn counts once. What is due every hour or more often follows real time.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import BaseModel, ConfigDict, Field, field_validator

DEFAULT_NAME = "default"
FIELDS = "minute, hour, day of month, month, day of week; before them seconds, if you like"


class Schedule(BaseModel):
    """One entry of ``schedule`` in ``function.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cron: Annotated[str, Field(max_length=100)]
    timezone: Annotated[str, Field(max_length=100)] = "UTC"
    parameters: Mapping[str, Any] = {}
    overlap: Literal["forbid", "allow"] = "forbid"
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,40}$")] = DEFAULT_NAME

    @field_validator("cron")
    @classmethod
    def _check_cron(cls, expression: str) -> str:
        try:
            next(CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC)))
        except CronSimError as error:
            raise ValueError(f"{expression!r} is not a cron expression ({FIELDS}): {error}") from error
        except StopIteration as error:
            raise ValueError(f"{expression!r} is never due") from error
        return expression

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:  # unknown; no name at all; a folder of the database
            raise ValueError(f"{name!r} is not a time zone; write one as in Europe/Berlin, or UTC") from error
        return name

    @field_validator("parameters")
    @classmethod
    def _check_parameters(cls, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            json.dumps(parameters, allow_nan=False)
        except (TypeError, ValueError) as error:  # YAML knows dates and .nan, JSON does not
            raise ValueError(f"must be plain JSON: {error}") from error
        return parameters

    @property
    def timing(self) -> str:
        """When it is due, as one text: another text is another schedule, which begins anew."""
        return f"{' '.join(self.cron.upper().split())} {self.timezone}"

    @property
    def caller(self) -> str:
        """Who asks for its invocations, in their records."""
        return f"schedule:{self.name}"

    def next_after(self, moment: datetime) -> datetime | None:
        """The first time it is due after ``moment``, in UTC; None when it never is again."""
        for due in CronSim(self.cron, moment.astimezone(ZoneInfo(self.timezone))):
            # In the hour that comes twice the first passage of a time may lie before the moment.
            if due.astimezone(UTC) > moment:
                return due.astimezone(UTC)
        return None

    def latest(self, first: datetime, now: datetime) -> datetime:
        """The last time it was due until ``now``, where ``first`` is one of those times."""
        # Backwards from now: there may be millions of times between the two.
        # With a fraction of a second it begins with the second of now itself.
        for due in CronSim(self.cron, now.astimezone(ZoneInfo(self.timezone)).replace(microsecond=1), reverse=True):
            if due.astimezone(UTC) <= now:
                first = max(first, due.astimezone(UTC))
                break
        # In the hour that comes twice, backwards is not quite the opposite of forwards.
        while (following := self.next_after(first)) is not None and following <= now:
            first = following
        return first


@dataclass(frozen=True)
class ScheduleState:
    """What is remembered of a schedule of a function."""

    function: str
    name: str
    timing: str
    handled_until: datetime  # whatever was due until then is done with
    last_at: datetime | None = None  # the due time of the last invocation
    last_invocation_id: str | None = None
    skipped: int = 0  # times that were left out because an earlier invocation was still open
    last_skipped_at: datetime | None = None


@dataclass(frozen=True)
class Occurrence:
    """One time at which a schedule is due. It can be handled once: while its progress is still the same."""

    function: str
    name: str
    due: datetime
    handled_until: datetime  # of the progress
