"""An invocation: one request to run one function once, the states it goes through, and its deadline.

    queued -> starting -> running -> succeeded | failed | timed_out | cancelled | lost

States only move forward (an asynchronous one may return to ``queued`` for another attempt) and a terminal state never
changes. The store enforces both; this module only names them.
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from function_runner.schedule import Occurrence


class Status(StrEnum):
    """The states of an invocation, in the words of the API."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def is_terminal(self) -> bool:
        """True when nothing more will happen to the invocation."""
        return self in TERMINAL


TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.TIMED_OUT, Status.CANCELLED, Status.LOST})


class Start(StrEnum):
    """How the execution environment came to be: made for this invocation, already waiting, or used before."""

    COLD = "cold"
    WARM = "warm"
    REUSED = "reused"


class Mode(StrEnum):
    """How often an invocation may be handed over, which follows from how it was asked for."""

    SYNC = "sync"  # at most once: somebody waited for it, and will ask again if that makes sense
    ASYNC = "async"  # at least once: nobody waits, so it is tried again after what was not the function's fault


class LogState(StrEnum):
    """What is known of the log file."""

    OPEN = "open"  # still being written
    COMPLETE = "complete"
    TRUNCATED = "truncated"  # the output exceeded the cap; the file says so
    PARTIAL = "partial"  # the end is missing, e.g. after a crash of the runner
    MISSING = "missing"
    EXPIRED = "expired"  # removed, because it was old or there was too much


class CallbackState(StrEnum):
    """How far the callback of an invocation has come."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True)
class Callback:
    """Whom to tell how an invocation ended, and whether that was done."""

    url: str
    state: CallbackState = CallbackState.PENDING
    attempts: int = 0
    last_error: str | None = None
    delivered_at: datetime | None = None


@dataclass(frozen=True)
class Timings:
    """Milliseconds spent in each phase, one after the other; None where the phase was not reached.

    An invocation that found its container waiting has 0 for the phases in which containers are made.
    """

    queue_ms: float | None = None  # until its container, or the making of it, began to be its own
    build_ms: float | None = None  # the image was found or built
    create_ms: float | None = None  # the engine created the container
    start_ms: float | None = None  # the engine started its process
    init_ms: float | None = None  # the process loaded the handler's module
    record_ms: float | None = None  # the record was made durable, before the container gets anything
    run_ms: float | None = None  # from the hand-over until the result came
    result_ms: float | None = None  # the result was read and checked
    total_ms: float | None = None  # all of it, up to the moment in which it is written down


@dataclass(frozen=True)
class Progress:
    """How far a function is, as it said itself while it ran."""

    done: float
    total: float | None  # None: it did not say
    message: str | None
    at: datetime  # UTC; when it said so


@dataclass(frozen=True)
class Invocation:
    """The stored row of an invocation, its *record*. A change of state makes a new one."""

    id: str  # UUID
    function: str
    parameters: Mapping[str, Any]
    status: Status
    created_at: datetime  # UTC
    timeout_seconds: float
    parameters_sha256: str | None = None  # of the canonical JSON, as the result's
    sequence: int | None = None  # order of acceptance; wall-clock stamps are for people
    mode: Mode = Mode.SYNC
    attempt: int = 1
    max_attempts: int = 1  # how often it may be handed over
    delivered: int = 0  # how often it was
    not_before: datetime | None = None  # it waits for another attempt until then
    expires_at: datetime | None = None  # it is given up when it still waits then
    cancel_requested_at: datetime | None = None
    owner: str | None = None  # the runner process that works on it
    idempotency_key: str | None = None
    replay_of: str | None = None  # id of the invocation whose input this one has
    started_at: datetime | None = None
    finished_at: datetime | None = None
    container_name: str | None = None
    start: Start | None = None
    timings: Timings = field(default_factory=Timings)
    result: Any = None
    result_sha256: str | None = None
    error: Mapping[str, Any] | None = None  # code, type, message, stack_trace?, errors?
    source_hash: str | None = None
    image_tag: str | None = None
    image_id: str | None = None
    base_image_id: str | None = None
    memory_limit_mb: int | None = None
    mlflow: Mapping[str, Any] | None = None  # run_id, experiment_id, model_name, model_version, model_alias, model_uri
    caller: str | None = None
    callback: Callback | None = None
    # Facts about the container's process; may be learned after the terminal state.
    exit_code: int | None = None
    oom_killed: bool | None = None
    max_memory_mb: float | None = None
    log_state: LogState | None = None
    log_bytes: int | None = None
    log_sha256: str | None = None
    progress: Progress | None = None  # of this attempt; while it runs a moment old

    @property
    def log_file(self) -> str | None:
        """Path of the log file below the product's folder, or None when no container was named yet."""
        return f"logs/{self.container_name}.log" if self.container_name else None


@dataclass(frozen=True)
class Request:
    """What a caller asks for."""

    function: str
    parameters: Mapping[str, Any]
    timeout: float | None = None  # seconds the handler may run; None: the function's own
    caller: str | None = None  # who asks, for the record
    idempotency_key: str | None = None  # the same key means the same invocation
    replay_of: str | None = None
    source_hash: str | None = None  # run the image made from this source, not today's
    callback_url: str | None = None  # where to send the record when the invocation has ended
    occurrence: Occurrence | None = None  # of the schedule that asks; noted as handled together with the acceptance

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """What must be equal in two requests for them to be the same one."""
        asked = {"parameters": self.parameters, "timeout": self.timeout}
        return asked if self.callback_url is None else {**asked, "callback_url": self.callback_url}


@dataclass(frozen=True)
class IdempotencyKey:
    """What is remembered of a request, so that its repetition is recognised."""

    key: str
    request_sha256: str  # of what was asked
    expires_at: datetime


@dataclass(frozen=True)
class Event:
    """An invocation entered a state."""

    status: Status
    at: datetime
    attempt: int


@dataclass(frozen=True)
class Mention:
    """What the record of an invocation says of the model that it made or used."""

    id: str
    function: str
    status: Status
    created_at: datetime
    mlflow_run_id: str | None
    model_name: str | None
    model_version: str | None


@dataclass(frozen=True)
class HandOver:
    """What the record keeps of the moment in which an invocation was handed to its container."""

    container_name: str
    start: Start
    started_at: datetime
    source_hash: str | None = None
    image_tag: str | None = None
    image_id: str | None = None
    base_image_id: str | None = None
    memory_limit_mb: int | None = None

    def of(self, invocation: Invocation) -> Invocation:
        """The invocation once it is handed over."""
        return replace(invocation, status=Status.RUNNING, delivered=invocation.delivered + 1, **vars(self))


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model."""

    name: str
    version: str  # its number
    # When the model was first registered, where that is known: one that was deleted and registered anew counts its
    # versions from 1 again, and they are others.
    registered: str | None = None


def new_invocation_id() -> str:
    """A random UUID, as text."""
    return str(uuid.uuid4())


def utc_now() -> datetime:
    """The wall clock, in UTC. For people only: durations and deadlines use the monotonic clock."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Deadline:
    """A moment on the monotonic clock. Made once at the door and carried inward; inner ones can only be earlier."""

    at: float  # time.monotonic()

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """The deadline ``seconds`` from now."""
        return cls(time.monotonic() + seconds)

    def within(self, seconds: float) -> "Deadline":
        """The deadline ``seconds`` from now, or this one if that is earlier."""
        return Deadline(min(self.at, time.monotonic() + seconds))

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - time.monotonic())

    @property
    def has_passed(self) -> bool:
        """True when no time is left."""
        return time.monotonic() >= self.at
