"""What the store answers with, beside invocations, and what it may refuse."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from function_runner.invocation import Start, Status


class AliasAction(StrEnum):
    """How an alias of a model came to be moved."""

    SET = "set"
    DELETE = "delete"
    ROLLBACK = "rollback"
    OUTSIDE = "outside"  # in MLflow itself; noticed afterwards


class Repeated(Exception):
    """The idempotency key stands for an invocation that there is already."""

    def __init__(self, invocation_id: str) -> None:
        super().__init__(invocation_id)
        self.invocation_id = invocation_id


class AlreadyHandled(Exception):
    """This time of a schedule was dealt with before, or the schedule is another one now."""


@dataclass(frozen=True)
class StoreSize:
    """How much there is of records."""

    records: int
    bytes: int  # of the database's files
    used_bytes: int  # of them, what is not free for new records


@dataclass(frozen=True)
class Maker:
    """A record of a run of MLflow."""

    sequence: int
    image_id: str | None


@dataclass(frozen=True)
class Removal:
    """One batch of records that were removed."""

    last_sequence: int  # of those that were looked at
    count: int  # of those that were removed
    containers: frozenset[str]  # names of theirs; other records may name them too


@dataclass(frozen=True)
class LogOnRecord:
    """What one record says of the log of its container."""

    invocation_id: str
    container_name: str
    is_settled: bool  # the invocation has ended and its log is closed
    is_expired: bool  # it is to be removed, or was
    run_id: str | None  # of MLflow


@dataclass(frozen=True)
class AliasMove:
    """An alias of a model pointed to one version and then to another."""

    model: str
    alias: str
    number: int  # from 1, of the moves of this alias
    action: AliasAction
    at: datetime  # for one from outside: when it was noticed
    from_version: str | None  # None: there was no such alias
    to_version: str | None  # None: there is none any more
    caller: str | None = None


@dataclass(frozen=True)
class End:
    """What statistics want to know of an invocation that has ended."""

    position: int  # in the order in which they ended
    at: datetime
    function: str
    status: Status
    start: Start | None
    created_at: datetime
    total_ms: float | None
    run_ms: float | None


@dataclass(frozen=True)
class DueCallback:
    """A callback that is to be tried now, after so many attempts."""

    invocation_id: str
    url: str
    attempts: int
    since: datetime
