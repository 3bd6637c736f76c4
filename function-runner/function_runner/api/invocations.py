"""``/invocations``: the history, each record, and its log, which can be followed live."""

import re

from flask import Response, request

from function_runner import errors
from function_runner.api import outcome
from function_runner.api.event_stream import CONTENT_TYPE as EVENT_STREAM
from function_runner.api.event_stream import as_event_stream
from function_runner.api.invoke import caller
from function_runner.api.preferences import preferences
from function_runner.api.route import Route, as_response
from function_runner.api.schemas import (
    InvocationPage,
    InvocationsQuery,
    LogsQuery,
    PastQuery,
    Record,
    ReplayAnswer,
    ReplayRequest,
    WholeRecord,
)
from function_runner.api.services import Services
from function_runner.api.text import as_text
from function_runner.followers import Position, with_progress
from function_runner.invocation import Invocation, LogState, Mode, Start, Status
from function_runner.settings import Settings
from function_runner.store import Wanted, digest

TEXT = "text/plain"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def routes() -> list[Route]:
    """The routes of this module."""
    return [
        Route(
            "GET",
            "/invocations",
            search,
            summary="List invocations, newest first",
            tag="Invocations",
            query=InvocationsQuery,
            answer=InvocationPage,
            problems=(errors.StoreUnavailable,),
        ),
        Route(
            "GET",
            "/invocations/{invocation_id}",
            show,
            summary="The record of an invocation",
            tag="Invocations",
            answer=WholeRecord,
            headers=("X-Invocation-Id",),
            problems=(errors.InvocationNotFound, errors.StoreUnavailable),
        ),
        Route(
            "GET",
            "/invocations/{invocation_id}/logs",
            logs,
            summary="The log of an invocation",
            description=(
                "What the function printed, between the lines START, END and REPORT. With `Accept: text/event-stream` "
                "it is followed live, from before there is a container until the log is closed: events `status`, "
                "`progress`, `log` and at last `end`, each with an `id` to go on from after a lost connection."
            ),
            tag="Invocations",
            query=LogsQuery,
            answer=TEXT,
            also_as=(EVENT_STREAM,),
            headers=("X-Invocation-Id",),
            problems=(
                errors.InvocationNotFound,
                errors.NotFound,
                errors.LogExpired,
                errors.StoreUnavailable,
                errors.TooManyFollowers,
                errors.Draining,
            ),
        ),
        Route(
            "POST",
            "/invocations/{invocation_id}/cancel",
            cancel,
            summary="Cancel an invocation",
            description="Ends it wherever it stands: in the queue, or by killing its container. Safe to repeat.",
            tag="Invocations",
            answer=Record,
            headers=("X-Invocation-Id",),
            problems=(errors.InvocationNotFound, errors.AlreadyEnded, errors.StoreUnavailable),
        ),
        Route(
            "POST",
            "/invocations/{invocation_id}/replay",
            replay,
            summary="Run an invocation again with the same input",
            description=(
                "Runs the function again with the parameters of a recorded invocation, and shows both records and "
                "whether their results are equal. That the replay fails is not an error of this call: its record tells."
            ),
            tag="Invocations",
            body=ReplayRequest,
            body_is_optional=True,
            answer=ReplayAnswer,
            accepted=ReplayAnswer,
            headers=("X-Invocation-Id", "Preference-Applied"),
            request_headers=("Prefer",),
            problems=(
                errors.InvocationNotFound,
                errors.FunctionNotFound,
                errors.FunctionInvalid,
                errors.ParametersInvalid,
                errors.Busy,
                errors.Draining,
                errors.StoreUnavailable,
                errors.DiskFull,
            ),
        ),
    ]


def search(services: Services, *, query: InvocationsQuery) -> InvocationPage:
    """One page of records."""
    if query.model_version is not None and query.model_name is None:
        raise _unfit("model_version", "needs a model_name beside it")
    if query.since is not None and query.until is not None and query.since >= query.until:
        raise _unfit("until", "must be later than since")
    wanted = Wanted(
        function=query.function,
        statuses=query.status or (),
        start=query.start,
        since=query.since,
        until=query.until,
        text=query.q,
        model_name=query.model_name,
        model_version=query.model_version,
        run_id=query.run_id,
    )
    return page_of(services, wanted, query)


def page_of(services: Services, wanted: Wanted, query: PastQuery) -> InvocationPage:
    """One page of the records that fit."""
    found, cursor = services.store.search(wanted, limit=query.limit, before=query.before)
    return InvocationPage(invocations=[_record(services, invocation) for invocation in found], next=cursor)


def show(services: Services, *, invocation_id: str) -> WholeRecord:
    """The record of an invocation, with the states it went through."""
    record = _record(services, find(services, invocation_id))
    return WholeRecord.with_events(record, services.store.events(invocation_id))


def logs(services: Services, *, invocation_id: str, query: LogsQuery) -> Response:
    """The log of an invocation, or its last lines; as it is, or live."""
    invocation = find(services, invocation_id)
    if request.accept_mimetypes.best_match([TEXT, EVENT_STREAM]) == EVENT_STREAM:
        response = _follow(services, invocation, query)
    else:
        response = _read(services, invocation, query)
    response.headers["X-Invocation-Id"] = invocation.id
    return response


def _follow(services: Services, invocation: Invocation, query: LogsQuery) -> Response:
    # The header is the newer one: a browser that connects again sends it with the address as it was.
    last_seen = request.headers.get("Last-Event-ID") or query.last_event_id
    after = Position.parse(last_seen) if last_seen else None
    return as_event_stream(services.followers.follow(invocation, after=after, tail_lines=query.tail))


def _read(services: Services, invocation: Invocation, query: LogsQuery) -> Response:
    if query.last_event_id is not None:
        raise errors.InvalidRequest(
            "last_event_id is for following the log: ask with Accept: text/event-stream.",
            errors=[errors.FieldError("/last_event_id", "needs Accept: text/event-stream")],
        )
    if invocation.container_name is None:
        raise errors.NotFound(
            f"The invocation is {invocation.status} and has no log: no container was chosen for it.",
            invocation_id=invocation.id,
            function=invocation.function,
        )
    if invocation.log_state is LogState.EXPIRED:
        raise _expired(services.settings, invocation)
    is_reused = invocation.start is Start.REUSED
    try:
        return as_text(
            services.logs.read_part(
                invocation.container_name, invocation.id, is_reused=is_reused, tail_lines=query.tail
            )
        )
    except errors.NotFound:
        now = services.store.get(invocation.id)
        if now is not None and now.log_state is LogState.EXPIRED:  # removed while it was read
            raise _expired(services.settings, now) from None
        raise


def cancel(services: Services, *, invocation_id: str) -> Record:
    """End an invocation."""
    return _record(services, services.invoker.cancel(find(services, invocation_id).id))


def replay(services: Services, *, invocation_id: str, body: ReplayRequest) -> Response:
    """Run an invocation again, and show both."""
    original = find(services, invocation_id)
    preferred = preferences(request, longest_wait=services.settings.max_timeout)
    wanted = services.invoker.request_to_replay(original, like_then=body.against == "same", caller=caller())
    if preferred.patience is None:
        # Waited for here, so that a replay that fails can be shown beside what it replays.
        preferred_wait = services.invoker.longest_wait
        replayed = services.invoker.invoke(wanted, patience=preferred_wait)
    else:
        replayed = outcome.run(services.invoker, wanted, preferred)
    both = ReplayAnswer(
        original=_record(services, original),
        replay=_record(services, replayed),
        same_result=_are_equal(original, replayed),
    )
    if replayed.status.is_terminal:
        response = as_response(both)
        response.headers["X-Invocation-Id"] = replayed.id
    else:
        response = outcome.accepted(both, replayed)
    return outcome.with_preferences(response, preferred.applied)


def _are_equal(one: Invocation, other: Invocation) -> bool | None:
    if not one.status is other.status is Status.SUCCEEDED:
        return None
    return digest(one.result) == digest(other.result)


def _expired(settings: Settings, invocation: Invocation) -> errors.LogExpired:
    bounds = [
        f"for {settings.retain_logs_days:g} days (RETAIN_LOGS_DAYS)" if settings.retain_logs_days else "",
        f"up to {settings.logs_max_mb} MB together (LOGS_MAX_MB)" if settings.logs_max_mb else "",
    ]
    kept = ", ".join(filter(None, bounds))
    return errors.LogExpired(
        f"The log of this invocation was removed{f': logs are kept {kept}' if kept else ''}. Its record stays.",
        invocation_id=invocation.id,
        function=invocation.function,
        log_file=invocation.log_file,
    )


def _record(services: Services, invocation: Invocation) -> Record:
    return Record.of(with_progress(invocation, services.pool), _position(services, invocation))


def _position(services: Services, invocation: Invocation) -> int | None:
    """Where it stands in the queue: of those who wait for a container, or behind all of them in the record."""
    if invocation.status is not Status.QUEUED:
        return None
    position = services.pool.position(invocation.id)
    if position is not None or invocation.mode is not Mode.ASYNC or invocation.sequence is None:
        return position
    return services.store.position(invocation.sequence)


def _unfit(name: str, detail: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(
        f"The query is not understood: {name} {detail}.", errors=[errors.FieldError(f"/{name}", detail)]
    )


def find(services: Services, invocation_id: str) -> Invocation:
    """The record of this id, or `InvocationNotFound`."""
    # Only what can be an id goes to the store, and only names from the store go near a path.
    invocation = services.store.get(invocation_id) if _UUID.fullmatch(invocation_id) else None
    if invocation is None:
        shown = invocation_id if len(invocation_id) <= 60 else invocation_id[:57] + "..."
        raise errors.InvocationNotFound(f"There is no invocation {shown!r}; /invocations lists those on record.")
    return invocation
