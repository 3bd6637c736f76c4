"""Everything that is sent to the API and answered by it, as pydantic models.

The same models validate requests, build answers and are described in `/openapi.json`. Requests refuse what they do
not know; answers are built field by field.
"""

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    WithJsonSchema,
    create_model,
)

from function_runner.diagnosis import Kind
from function_runner.function import NAME_PATTERN, OwnFailure
from function_runner.invocation import CallbackState, Event, Invocation, LogState, Mode, Start, Status
from function_runner.pool import PoolState
from function_runner.store import AliasAction


def moment_as_text(moment: datetime) -> str:
    """A moment as all answers write it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _as_number(text: object) -> object:
    # pydantic would also take " 7", "7.0" and "1_000".
    if isinstance(text, str) and not (text.isascii() and text.isdigit()):
        raise ValueError("must be a whole number written in digits")
    return text


def _finite_or_none(number: object) -> object:
    # MLflow knows NaN and infinite metrics, and writes them as strings; JSON has neither.
    if isinstance(number, str):
        number = float(number)
    return number if isinstance(number, int | float) and math.isfinite(number) else None


FIRST_YEAR, LAST_YEAR = 1970, 9998

Moment = Annotated[
    datetime,
    PlainSerializer(moment_as_text, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-31T12:34:56.789Z"]}),
]
_InDigits = BeforeValidator(_as_number)


_STATUS = "|".join(Status)


def _as_statuses(text: object) -> object:
    words = text.split(",") if isinstance(text, str) else []
    if not words or not set(words) <= set(Status):
        raise ValueError(f"must be one or several, with commas between them, of {', '.join(Status)}")
    return tuple(dict.fromkeys(words))


_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _as_moment(text: object) -> object:
    # pydantic would also take seconds since 1970, days, and moments without a zone.
    try:
        if not isinstance(text, str) or not _RFC_3339.fullmatch(text):
            raise ValueError
        moment = datetime.fromisoformat(text).astimezone(UTC)
        if not FIRST_YEAR <= moment.year <= LAST_YEAR:
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError(
            f"must be a time with its zone, such as 2026-01-31T12:34:56Z or, where a plus sign is written %2B, "
            f"2026-01-31T12:34:56%2B01:00, from {FIRST_YEAR} to {LAST_YEAR}"
        ) from None
    return moment


_Words = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
_AskedMoment = Annotated[datetime, BeforeValidator(_as_moment)]
_Statuses = Annotated[
    tuple[Status, ...],
    BeforeValidator(_as_statuses),
    WithJsonSchema({"type": "string", "pattern": f"^({_STATUS})(,({_STATUS}))*$", "examples": ["failed,timed_out"]}),
]
Metric = Annotated[float | None, BeforeValidator(_finite_or_none)]


class Body(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class Query(BaseModel):
    """A request's query. A route that declares none takes none."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Answer(BaseModel):
    """An answer, or a part of one."""

    model_config = ConfigDict(
        frozen=True,
        from_attributes=True,
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
    )


# --- errors -----------------------------------------------------------------------------------------------------------


class ProblemError(Answer):
    """One complaint about one place of the input."""

    pointer: str
    """JSON Pointer (RFC 6901) into what was sent: for an invocation, into its parameters."""
    detail: str


class DiagnosisAnswer(Answer):
    """Why it ended badly, in plain words."""

    kind: Kind
    """Stable name of what was found, for programs; `unknown` when nothing that was reported says why."""
    cause: str
    """What went wrong."""
    next_step: str
    """What to do now."""
    evidence: list[str]
    """What shows it: a few lines of the error, the log or the build's output, quoted."""


class FunctionError(Answer):
    """What the handler raised."""

    model_config = ConfigDict(extra="allow")

    type: str | None = None
    message: str | None = None
    stack_trace: list[str] | None = None


class Problem(Answer):
    """Every error has this shape (RFC 9457, `application/problem+json`). Members without a value are left out."""

    model_config = ConfigDict(extra="allow", json_schema_serialization_defaults_required=False)

    type: str
    """Always `about:blank`: `code` tells what kind of problem it is."""
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    """The HTTP status."""
    detail: str
    """What happened, to what, and what to try."""
    code: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    """Stable name of the kind of problem, for programs."""
    instance: str | None = None
    """Address of the invocation's record, when one was accepted."""
    function: str | None = None
    invocation_id: str | None = None
    container_name: str | None = None
    log_file: str | None = None
    errors: list[ProblemError] | None = None
    """Each place of the input that was refused."""
    retry_after: int | None = None
    """Seconds after which it is worth trying again; also in the header `Retry-After`."""
    function_error: FunctionError | None = None
    """What the handler raised."""
    diagnosis: DiagnosisAnswer | None = None
    """Why an invocation or a build failed, and what to do."""
    exit_code: int | None = None
    """Exit code of the container's process."""
    error_id: str | None = None
    """Finds an internal error in the runner's log."""


# --- invocations ------------------------------------------------------------------------------------------------------


class InvokeRequest(Body):
    """Run a function once."""

    function: Annotated[str, Field(min_length=1, max_length=100, examples=["train"])]
    """Name of the function: a folder in `functions/`."""
    parameters: dict[str, Any] = {}
    """What the handler gets; must fit the function's schema, whose defaults are filled in."""
    timeout: Annotated[float | None, Field(gt=0)] = None
    """Seconds the handler may run; default: the function's own limit."""
    callback_url: Annotated[str | None, Field(min_length=1, max_length=2000)] = None
    """Where to send the record, signed, when the invocation has ended: http or https."""


def invoke_request(max_timeout: float) -> type[InvokeRequest]:
    """The request's model with the configured upper limit of `timeout`."""
    declared = InvokeRequest.model_fields["timeout"]
    bounded = Annotated[float | None, Field(gt=0, le=max_timeout, description=declared.description)]
    return create_model("InvokeRequest", __base__=InvokeRequest, __doc__=InvokeRequest.__doc__, timeout=(bounded, None))


class TimingsAnswer(Answer):
    """Milliseconds spent in each phase, one after the other; null where it was not reached.

    A container that was waiting already costs nothing: then build, create, start and init are 0.
    """

    queue_ms: float | None
    """Waiting for a free place, and for others who came before."""
    build_ms: float | None
    """Finding or building the function's image."""
    create_ms: float | None
    """Creating the container."""
    start_ms: float | None
    """Starting its process."""
    init_ms: float | None
    """Loading the function."""
    record_ms: float | None
    """Making its record durable, before the container gets anything."""
    run_ms: float | None
    """In the handler, and on the way there and back."""
    result_ms: float | None
    """Reading and checking the result."""
    total_ms: float | None
    """All of it, up to the moment in which it is written down."""


class InvocationAnswer(Answer):
    """A finished invocation and its result."""

    invocation_id: str
    function: str
    status: Status
    container_name: str | None
    """The container it ran in; also the name of its log file."""
    log_file: str | None
    start: Start | None
    """`cold`: the container was made for this invocation; `warm`: it was waiting; `reused`: it has served others."""
    timings: TimingsAnswer
    result: Any
    """What the handler returned."""

    @classmethod
    def of(cls, invocation: Invocation) -> "InvocationAnswer":
        """The answer about a finished invocation."""
        return cls(**_common(invocation))


class RecordError(Answer):
    """Why an invocation failed."""

    model_config = ConfigDict(extra="allow")

    code: str
    """As in the problem that its caller got."""
    type: str | None = None
    message: str | None = None
    stack_trace: list[str] | None = None
    errors: list[ProblemError] | None = None
    diagnosis: DiagnosisAnswer | None = None
    """Null in records that were made before there were diagnoses."""


class ImageIdentity(Answer):
    """The image an invocation ran in."""

    tag: str | None
    id: str | None
    base_id: str | None
    """The base image it was built from."""


class MlflowReference(Answer):
    """What an invocation made or used in MLflow."""

    run_id: str | None = None
    experiment_id: str | None = None
    model_name: str | None = None
    model_version: str | None = None
    model_alias: str | None = None
    """The version as it was asked for: `latest`, `@` and an alias, or a number; null when none was asked for."""
    model_uri: str | None = None


class ProgressAnswer(Answer):
    """How far a function is, as it said itself."""

    done: int | float
    total: int | float | None
    """Null: it did not say."""
    message: str | None
    at: Moment
    """When it said so."""


class CallbackAnswer(Answer):
    """Whom to tell how the invocation ended, and how far that has come."""

    url: str
    state: CallbackState
    """`pending` until it is `delivered`, or `failed` for good."""
    attempts: int
    last_error: str | None
    """Why the last attempt failed."""
    delivered_at: Moment | None


class Record(InvocationAnswer):
    """Everything that is known of an invocation."""

    parameters: dict[str, Any]
    """With the schema's defaults, as the handler got them."""
    parameters_sha256: str | None
    """Of the parameters as JSON without spaces and with sorted keys; the same for the result."""
    result_sha256: str | None
    created_at: Moment
    started_at: Moment | None
    """When it was handed to its container."""
    finished_at: Moment | None
    mode: Mode
    """`sync`: handed to a container at most once; `async`: at least once, see `attempt`."""
    attempt: int
    """From 1. What failed for reasons outside of the function is tried again, when it is asynchronous."""
    max_attempts: int
    """How often it may be handed to a container."""
    next_attempt_at: Moment | None
    """While it waits for another attempt: when that is due. `error` says why the last one failed."""
    cancel_requested_at: Moment | None
    replay_of: str | None
    """Id of the invocation whose input this one has."""
    caller: str | None
    """The address it was asked from; `schedule:` and a name when a schedule of the function asked."""
    timeout_seconds: float
    error: RecordError | None
    exit_code: int | None
    """Of the container's process, when it ended by itself."""
    oom_killed: bool | None
    max_memory_mb: float | None
    memory_limit_mb: int | None
    image: ImageIdentity | None
    source_hash: str | None
    """Over every file of the function's folder at that time."""
    log_state: LogState | None
    log_bytes: int | None
    log_sha256: str | None
    """Of its log, once that is closed."""
    mlflow: MlflowReference | None
    progress: ProgressAnswer | None
    """Null when the function says nothing of it."""
    callback: CallbackAnswer | None
    """Null when nobody asked for one."""
    queue_position: int | None
    """From 1, while it waits."""

    @classmethod
    def of(cls, invocation: Invocation, queue_position: int | None = None) -> "Record":
        """The record as it is stored, and where it stands in the queue."""
        image = ImageIdentity(tag=invocation.image_tag, id=invocation.image_id, base_id=invocation.base_image_id)
        mlflow = {name: str(value) for name, value in (invocation.mlflow or {}).items() if value is not None}
        return cls(
            **_common(invocation),
            parameters=dict(invocation.parameters),
            parameters_sha256=invocation.parameters_sha256,
            result_sha256=invocation.result_sha256,
            created_at=invocation.created_at,
            started_at=invocation.started_at,
            finished_at=invocation.finished_at,
            mode=invocation.mode,
            attempt=invocation.attempt,
            max_attempts=invocation.max_attempts,
            next_attempt_at=invocation.not_before if invocation.status is Status.QUEUED else None,
            cancel_requested_at=invocation.cancel_requested_at,
            replay_of=invocation.replay_of,
            caller=invocation.caller,
            timeout_seconds=invocation.timeout_seconds,
            error=RecordError.model_validate(dict(invocation.error)) if invocation.error else None,
            exit_code=invocation.exit_code,
            oom_killed=invocation.oom_killed,
            max_memory_mb=invocation.max_memory_mb,
            memory_limit_mb=invocation.memory_limit_mb,
            image=image if invocation.image_tag or invocation.image_id else None,
            source_hash=invocation.source_hash,
            log_state=invocation.log_state,
            log_bytes=invocation.log_bytes,
            log_sha256=invocation.log_sha256,
            mlflow=MlflowReference.model_validate(mlflow) if mlflow else None,
            progress=ProgressAnswer.model_validate(invocation.progress) if invocation.progress else None,
            callback=CallbackAnswer.model_validate(invocation.callback) if invocation.callback else None,
            queue_position=queue_position,
        )


class EventAnswer(Answer):
    """An invocation entered a state."""

    status: Status
    at: Moment
    attempt: int


class WholeRecord(Record):
    """Everything that is known of an invocation, and the states it went through."""

    events: list[EventAnswer]
    """Oldest first."""

    @classmethod
    def with_events(cls, record: Record, events: Iterable[Event]) -> "WholeRecord":
        """The record and its history."""
        return cls(**dict(record), events=[EventAnswer.model_validate(event) for event in events])


def _common(invocation: Invocation) -> dict[str, Any]:
    return {
        "invocation_id": invocation.id,
        "function": invocation.function,
        "status": invocation.status,
        "container_name": invocation.container_name,
        "log_file": invocation.log_file,
        "start": invocation.start,
        "timings": TimingsAnswer.model_validate(invocation.timings),
        "result": invocation.result,
    }


class ReplayRequest(Body):
    """Run it again with the same input."""

    against: Literal["same", "today"] = "same"
    """`same`: the image and the model version of then; `today`: the function and the model as they are now."""


class ReplayAnswer(Answer):
    """An invocation and its replay, side by side."""

    original: Record
    replay: Record
    same_result: bool | None
    """Whether both results are equal; null when one of them has none (yet)."""


class PastQuery(Query):
    """Which page of the history."""

    limit: Annotated[int, Field(ge=1, le=200), _InDigits] = 50
    before: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """`next` of the page before this one."""


class InvocationsQuery(PastQuery):
    """Which invocations to list: those that fit everything that is said."""

    function: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None
    """Only of this function."""
    status: _Statuses | None = None
    """Only in this state, or in one of several with commas between them."""
    start: Start | None = None
    """Only those whose container was made for them (`cold`), was waiting (`warm`), or had served others (`reused`)."""
    since: _AskedMoment | None = None
    """Only those accepted at this moment or later."""
    until: _AskedMoment | None = None
    """Only those accepted before this moment."""
    q: _Words | None = None
    """Only those that have this text in the container's name, the caller, the parameters, the result or the error, or
    whose id begins with it. Large and small letters are the same. A whole id or name finds just its own."""
    model_name: _Words | None = None
    """Only those that made or used this model."""
    model_version: _Words | None = None
    """And this version of it, a number."""
    run_id: _Words | None = None
    """Only those whose result names this run of MLflow."""


class InvocationPage(Answer):
    """Invocations, newest first."""

    invocations: list[Record]
    """Fewer than asked for, or none, does not mean that this is the last page."""
    next: str | None
    """Pass it as `before` for the next page; null at the end."""


class LogsQuery(Query):
    """How much of the log."""

    tail: Annotated[int, Field(ge=1, le=100_000), _InDigits] | None = None
    """Only this many lines from the end; when it is followed, from the end as it is now."""
    last_event_id: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    """Follow on from there: the id of the last event that came. The header `Last-Event-ID` says the same and wins."""


class Percentiles(Answer):
    """Milliseconds, within 2 % of the exact percentile; null where nothing was measured."""

    p50: float | None
    p95: float | None


class Figures(Answer):
    """Invocations that have ended, added up."""

    count: int
    failures: int
    """Those that failed, timed out or were lost."""
    total_ms: Percentiles
    run_ms: Percentiles


class FiguresInAll(Figures):
    """The same, with how they ended and by kind of start."""

    statuses: dict[str, int]
    """How many ended in each way; ways that did not occur are left out."""
    starts: dict[str, Figures]
    """Of those that were handed to a container: `cold`, `warm`, `reused`."""


class FiguresOfBucket(FiguresInAll):
    """Invocations that were asked for in one stretch of time."""

    begins_at: Moment


class FiguresOfFunction(FiguresInAll):
    """Invocations of one function."""

    function: str


class StatisticsQuery(Query):
    """Of which time, and of what."""

    window: Literal["1h", "24h", "7d"] = "1h"
    """This long, up to now."""
    function: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None
    """Only of this function."""


class StatisticsAnswer(Answer):
    """How invocations went over time."""

    window: str
    function: str | None
    begins_at: Moment
    ends_at: Moment
    bucket_seconds: int
    """The length of each bucket; the last one has only begun."""
    is_complete: StrictBool
    """False for a moment after a start, while the history is still being read: ask again."""
    open: dict[str, int]
    """Invocations that have not ended right now, whenever they were asked for, by status."""
    total: FiguresInAll
    functions: list[FiguresOfFunction]
    buckets: list[FiguresOfBucket]
    """Oldest first, without gaps."""


class CompareInvocationsQuery(Query):
    """Which ones to compare."""

    ids: Annotated[str, Field(min_length=1, max_length=1000)]
    """2 to 10 ids, separated by commas."""


class ComparedInvocation(Answer):
    """An invocation that is compared with others."""

    invocation_id: str
    function: str
    status: Status
    container_name: str | None
    created_at: Moment
    finished_at: Moment | None

    @classmethod
    def of(cls, invocation: Invocation) -> "ComparedInvocation":
        """The beginning of its record."""
        return cls(
            invocation_id=invocation.id,
            function=invocation.function,
            status=invocation.status,
            container_name=invocation.container_name,
            created_at=invocation.created_at,
            finished_at=invocation.finished_at,
        )


class DifferenceAnswer(Answer):
    """One place at which not all records are the same."""

    pointer: str
    """JSON Pointer (RFC 6901) into the record."""
    values: dict[str, Any]
    """What stands there, by invocation id; one that has nothing there is left out."""


class InvocationsCompared(Answer):
    """Where the records of several invocations differ."""

    invocations: list[ComparedInvocation]
    """In the order asked for."""
    differences: list[DifferenceAnswer]
    is_truncated: StrictBool
    """There are more differences than are listed."""


# --- functions --------------------------------------------------------------------------------------------------------


State = Literal["ready", "not_built", "building", "build_failed", "invalid", "unknown"]


class FunctionImage(Answer):
    """The image of a function's present source."""

    tag: str
    id: str
    size_bytes: int
    built_at: Moment


class FunctionLimits(Answer):
    """What bounds each invocation of a function."""

    timeout: float
    """Seconds."""
    memory_mb: int
    cpus: float
    max_concurrency: int | None
    """Invocations at the same time; null: only the runner's own limit."""
    invocations_per_container: int
    warm: int
    """Ready execution environments to keep; 0: none."""
    warm_max: int
    """The most to keep while calls come faster."""
    warm_max_age: float
    """Seconds after which a ready one is replaced."""
    max_idle: float
    """Seconds after which one that served before and is not called again ends."""


class FunctionPool(Answer):
    """Execution environments of a function, and callers waiting for one."""

    warm: int
    """Ready environments to keep, as the manifest says."""
    target: int
    """And right now, with the rate of calls taken into account."""
    ready: int
    starting: int
    busy: int
    """Invocations that run."""
    waiting: int
    """Callers that wait."""
    state: PoolState
    """`off`: none are kept; `broken`: they fail before anybody can use them; `no_memory`: POOL_MEMORY is too small."""
    problem: str | None
    """What is wrong, in words."""
    log_tail: tuple[str, ...]
    """The last lines that the one that failed has printed."""
    diagnosis: DiagnosisAnswer | None
    """When it is `broken`: why, and what to do."""


class ExampleAnswer(Answer):
    """Parameters to try a function with."""

    name: str
    parameters: dict[str, Any]


class ScheduleAnswer(Answer):
    """When a function runs by itself, and how that stands."""

    name: str
    cron: str
    timezone: str
    parameters: dict[str, Any]
    """Complete, as the handler gets them."""
    overlap: Literal["forbid", "allow"]
    """`forbid`: a time is left out while an earlier invocation of this schedule has not ended."""
    next_at: Moment | None
    """When it is due next. Null when it is never due again, or the database does not answer."""
    last_at: Moment | None
    """When its last invocation was due."""
    last_invocation_id: str | None
    skipped: int
    """How many times were left out."""
    last_skipped_at: Moment | None


class FunctionAnswer(Answer):
    """A function as its folder stands right now."""

    name: str
    description: str
    state: State
    """State of its image. `invalid`: the folder cannot be used; `unknown`: the container engine does not answer."""
    problem: str | None
    """Why it is invalid, not built or unknown, in words."""
    diagnosis: DiagnosisAnswer | None
    """When the build failed: why, and what to do."""
    source_hash: str | None
    image: FunctionImage | None
    limits: FunctionLimits | None
    pool: FunctionPool
    parameters: dict[str, Any] | None
    """JSON Schema (2020-12) of the parameters; null when the function takes anything."""
    examples: list[ExampleAnswer]
    schedules: list[ScheduleAnswer]
    """When it runs by itself."""
    retry_on: list[OwnFailure]
    """Which of its own failures are tried again in the background."""


class FunctionList(Answer):
    """Every folder of `functions/`, by name."""

    functions: list[FunctionAnswer]


class BuildAnswer(Answer):
    """A function's image was built, or was there already."""

    function: str
    state: Literal["ready"]
    image: FunctionImage
    log: str
    """The build's log; empty when nothing had to be built since the logs were last cleared."""


# --- MLflow: models and experiments -----------------------------------------------------------------------------------


class PageQuery(Query):
    """Which page of a list."""

    limit: Annotated[int, Field(ge=1, le=200), _InDigits] = 50
    page_token: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    """`next_page_token` of the page before this one."""


class ModelAnswer(Answer):
    """A registered model."""

    name: str
    description: str | None
    created_at: Moment | None
    updated_at: Moment | None
    latest_version: str | None
    aliases: dict[str, str]
    """Version by alias."""
    tags: dict[str, str]
    mlflow_url: str
    """Its page in MLflow, from this server's root."""


class ModelPage(Answer):
    """Registered models."""

    models: list[ModelAnswer]
    next_page_token: str | None


class MadeBy(Answer):
    """The invocation that made a version of a model."""

    invocation_id: str
    function: str
    status: Status
    created_at: Moment


class ModelVersionAnswer(Answer):
    """A version of a registered model, with what the run that made it measured."""

    name: str
    version: str
    created_at: Moment | None
    status: str | None
    run_id: str | None
    source: str | None
    description: str | None
    aliases: list[str]
    tags: dict[str, str]
    metrics: dict[str, Metric]
    """Of the run; null for a metric that is not a finite number."""
    parameters: dict[str, str]
    """Of the run."""
    model_uri: str
    mlflow_url: str
    made_by: MadeBy | None
    """Null when it was registered from outside, or the record is gone."""
    used_by_url: str
    """The invocations that used it, from this server's root."""


class ModelVersionPage(Answer):
    """Versions of a model, newest first."""

    versions: list[ModelVersionAnswer]
    next_page_token: str | None


class AliasesQuery(Query):
    """Which moves to show."""

    alias: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """Only those of this alias."""
    limit: Annotated[int, Field(ge=1, le=1000), _InDigits] = 100
    """The newest so many."""


class MoveAliasRequest(Body):
    """Let the alias mean this version."""

    version: Annotated[str, Field(min_length=1, max_length=256, examples=["3"])]
    """A number, `latest` (its number right now), or `@` and another alias."""
    expected_version: str | None = None
    """The version it means now; null: there is no such alias yet. When it is another one, nothing is moved (409)."""


class RollBackRequest(Body):
    """Undo the last move."""

    expected_version: str | None = None
    """The version it means now; null: it is deleted. When it is another one, nothing is moved (409)."""


class DeleteAliasQuery(Query):
    """What is to be deleted."""

    expected_version: Annotated[str, Field(min_length=1, max_length=20)] | None = None
    """The version it means now. When it is another one, nothing is deleted (409)."""


class AliasMoveAnswer(Answer):
    """A move of an alias."""

    alias: str
    at: Moment
    """For one from outside: when it was noticed."""
    action: AliasAction
    """`outside`: it was moved in MLflow itself, nobody here knows by whom."""
    caller: str | None
    """The address it was asked from."""
    from_version: str | None
    """Null: there was no such alias."""
    to_version: str | None
    """Null: it was deleted."""


class AliasesAnswer(Answer):
    """The aliases of a model and how they came to point there."""

    model: str
    aliases: dict[str, str]
    """Version by alias."""
    history: list[AliasMoveAnswer]
    """Newest first."""


class CompareVersionsQuery(Query):
    """Which ones to compare."""

    versions: Annotated[str, Field(min_length=1, max_length=3000, examples=["1,2"])]
    """2 to 10 versions, separated by commas: numbers, `latest`, `@` and an alias."""


class ComparedVersion(Answer):
    """A version that is compared with others."""

    version: str
    created_at: Moment | None
    run_id: str | None
    aliases: list[str]
    mlflow_url: str


class ComparedValue(Answer):
    """A metric or a parameter of several versions."""

    name: str
    values: dict[str, Any]
    """By version; one that has none is left out."""
    differs: StrictBool
    """Not all versions have it, or not all the same."""


class VersionsCompared(Answer):
    """Several versions of a model side by side."""

    model: str
    versions: list[ComparedVersion]
    """In the order asked for."""
    metrics: list[ComparedValue]
    parameters: list[ComparedValue]


class ExperimentAnswer(Answer):
    """An experiment."""

    experiment_id: str
    name: str
    lifecycle_stage: str | None
    created_at: Moment | None
    updated_at: Moment | None
    tags: dict[str, str]
    mlflow_url: str


class ExperimentPage(Answer):
    """Experiments."""

    experiments: list[ExperimentAnswer]
    next_page_token: str | None


class RunAnswer(Answer):
    """A run of an experiment."""

    run_id: str
    run_name: str | None
    status: str | None
    started_at: Moment | None
    finished_at: Moment | None
    metrics: dict[str, Metric]
    parameters: dict[str, str]
    tags: dict[str, str]
    mlflow_url: str


class RunPage(Answer):
    """Runs of an experiment, newest first."""

    runs: list[RunAnswer]
    next_page_token: str | None


# --- operations -------------------------------------------------------------------------------------------------------


class Health(Answer):
    """The process answers."""

    status: Literal["ok"]


class Check(Answer):
    """One thing the runner needs."""

    ok: StrictBool
    detail: str


class ReadinessChecks(Answer):
    """Everything the runner needs."""

    engine: Check
    database: Check
    mlflow: Check
    logs: Check
    disk: Check


class Readiness(Answer):
    """Whether invocations can be accepted."""

    ready: StrictBool
    """The engine, the database and the logs folder work, and the runner is not shutting down."""
    degraded: StrictBool
    """Ready, but MLflow does not answer, so that functions that need it will fail; or the disk of the logs is full."""
    draining: StrictBool
    """Shutting down: running invocations finish, new ones are refused."""
    checks: ReadinessChecks


class SectionError(Answer):
    """A section of the status page that could not be filled."""

    error: str


class EngineStatus(Answer):
    """The container engine and its machine."""

    version: str
    api_version: str
    os: str
    kernel: str
    cpus: int
    memory_bytes: int
    storage_driver: str
    cgroup_version: str
    runtime: str


class ImageStatus(Answer):
    """An image of ours."""

    tag: str
    id: str
    base_id: str | None
    size_bytes: int
    built_at: Moment


class ContainerStatus(Answer):
    """A function container of ours."""

    id: str
    name: str
    state: str
    function: str | None
    role: str | None
    image: str
    created_at: Moment


class PoolStatus(Answer):
    """The pool as a whole, and by function."""

    model_config = ConfigDict(extra="allow")

    is_draining: bool
    in_flight: int
    functions: dict[str, FunctionPool]


class MlflowStatus(Answer):
    """MLflow as the runner sees it."""

    tracking_uri: str
    version: str


class DatabaseStatus(Answer):
    """The record of invocations."""

    url: str
    """Without credentials."""
    invocations: dict[str, int]
    """How many there are, by status."""


class DiskStatus(Answer):
    """Room on the disk that holds the logs."""

    logs_dir: str
    total_bytes: int
    free_bytes: int


class AmountStatus(Answer):
    """So many things, and what they take of the disk."""

    count: int
    bytes: int


Amounts = dict[str, AmountStatus]


class RetentionRun(Answer):
    """What the last run of retention removed."""

    at: Moment
    seconds: float
    freed: Amounts
    problem: str | None
    """Why something was left."""


class RetentionStatus(Answer):
    """What there is, by kind, and what retention would remove now.

    Sizes of images count the layers that they share for each of them; what records would free is an estimate.
    """

    settings: dict[str, float]
    """Bounds in force; 0 is none."""
    stored: Amounts
    removable: Amounts
    problem: str | None
    """Why something would be left."""
    last_run: RetentionRun | None


class DebugAnswer(Answer):
    """The system's status on one page. A section that cannot be filled says why, and the others are still there."""

    version: str
    started_at: Moment
    uptime_seconds: float
    engine: EngineStatus | SectionError
    images: list[ImageStatus] | SectionError
    containers: list[ContainerStatus] | SectionError
    pool: PoolStatus | SectionError
    mlflow: MlflowStatus | SectionError
    database: DatabaseStatus | SectionError
    disk: DiskStatus | SectionError
    retention: RetentionStatus | SectionError
    settings: dict[str, Any]
    """Settings that are no secrets."""
