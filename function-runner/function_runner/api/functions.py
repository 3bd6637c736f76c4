"""``/functions``: the catalog, the state of each image, and building it."""

from flask import Response

from function_runner import errors
from function_runner.api.route import Route
from function_runner.api.schemas import (
    BuildAnswer,
    DiagnosisAnswer,
    ExampleAnswer,
    FunctionAnswer,
    FunctionImage,
    FunctionLimits,
    FunctionList,
    FunctionPool,
    ScheduleAnswer,
    State,
)
from function_runner.api.services import Services
from function_runner.api.text import as_text
from function_runner.errors import EngineUnavailable, FunctionInvalid, StoreUnavailable
from function_runner.function import Function
from function_runner.invocation import utc_now
from function_runner.schedule import Schedule, ScheduleState


def routes() -> list[Route]:
    """The routes of this module."""
    return [
        Route(
            "GET",
            "/functions",
            list_all,
            summary="List the functions",
            tag="Functions",
            answer=FunctionList,
        ),
        Route(
            "GET",
            "/functions/{name}",
            show,
            summary="A function: its parameters, limits, image and pool",
            tag="Functions",
            answer=FunctionAnswer,
            problems=(errors.FunctionNotFound,),
        ),
        Route(
            "POST",
            "/functions/{name}/build",
            build,
            summary="Build a function's image and wait for it",
            description="Does nothing when the image of the present source exists. A build that failed is tried again.",
            tag="Functions",
            answer=BuildAnswer,
            problems=(errors.FunctionNotFound, errors.FunctionInvalid, errors.BuildFailed, errors.EngineUnavailable),
        ),
        Route(
            "GET",
            "/functions/{name}/build/log",
            build_log,
            summary="The log of the last build of a function's present source",
            tag="Functions",
            answer="text/plain",
            problems=(errors.FunctionNotFound, errors.FunctionInvalid, errors.NotFound),
        ),
    ]


def list_all(services: Services) -> FunctionList:
    """Every folder, also those that cannot be used."""
    return FunctionList(
        functions=[
            _valid(services, entry.function)
            if entry.function is not None
            else _invalid(services, entry.name, entry.problem or FunctionInvalid())
            for entry in services.catalog.list()
        ]
    )


def show(services: Services, *, name: str) -> FunctionAnswer:
    """One function."""
    try:
        return _valid(services, services.catalog.get(name))
    except FunctionInvalid as problem:
        return _invalid(services, name, problem)


def build(services: Services, *, name: str) -> BuildAnswer:
    """Build the image, wait, and tell."""
    function = services.catalog.get(name)
    image = services.images.build(function)
    log = services.logs.read_build(function.name, function.version)
    return BuildAnswer(function=function.name, state="ready", image=FunctionImage.model_validate(image), log=log or "")


def build_log(services: Services, *, name: str) -> Response:
    """The build's log as text."""
    function = services.catalog.get(name)
    log = services.logs.read_build(function.name, function.version)
    if log is None:
        raise errors.NotFound(
            f"There is no build log of function {name!r} as it is now: it was not built yet, or its log was removed.",
            function=name,
        )
    return as_text(log)


def _valid(services: Services, function: Function) -> FunctionAnswer:
    state, problem, image, diagnosis = _image(services, function)
    return FunctionAnswer(
        name=function.name,
        description=function.description,
        state=state,
        problem=problem,
        diagnosis=diagnosis,
        source_hash=function.source_hash,
        image=image,
        limits=FunctionLimits(
            timeout=function.timeout,
            memory_mb=function.memory_mb,
            cpus=function.cpus,
            max_concurrency=function.max_concurrency,
            invocations_per_container=function.invocations_per_container,
            warm=function.warm,
            warm_max=function.warm_max,
            warm_max_age=function.warm_max_age,
            max_idle=function.max_idle,
        ),
        pool=_pool(services, function.name),
        parameters=dict(function.schema) if function.schema is not None else None,
        examples=[ExampleAnswer.model_validate(dict(example)) for example in function.examples],
        schedules=_schedules(services, function),
        retry_on=sorted(function.retry_on),
    )


def _image(
    services: Services, function: Function
) -> tuple[State, str | None, FunctionImage | None, DiagnosisAnswer | None]:
    try:
        found = services.images.state(function)
    except EngineUnavailable as error:
        # The catalog and its forms are worth having while the engine is away.
        return "unknown", error.detail, None, None
    image = FunctionImage.model_validate(found.image) if found.image else None
    diagnosis = DiagnosisAnswer.model_validate(found.diagnosis) if found.diagnosis else None
    return found.state, found.problem, image, diagnosis


def _invalid(services: Services, name: str, problem: FunctionInvalid) -> FunctionAnswer:
    return FunctionAnswer(
        name=name,
        description="",
        state="invalid",
        problem=problem.detail,
        diagnosis=None,
        source_hash=None,
        image=None,
        limits=None,
        pool=_pool(services, name),
        parameters=None,
        examples=[],
        schedules=[],
        retry_on=[],
    )


def _schedules(services: Services, function: Function) -> list[ScheduleAnswer]:
    if not function.schedules:
        return []
    try:
        known = services.store.schedules()
    except StoreUnavailable:
        # The catalog and its forms are worth having while the database is away.
        return [_schedule(schedule, None, is_known=False) for schedule in function.schedules]
    return [_schedule(schedule, known.get((function.name, schedule.name))) for schedule in function.schedules]


def _schedule(schedule: Schedule, progress: ScheduleState | None, *, is_known: bool = True) -> ScheduleAnswer:
    # One that was edited a moment ago begins anew, now.
    is_begun = progress is not None and progress.timing == schedule.timing
    since = progress.handled_until if progress is not None and is_begun else utc_now()
    return ScheduleAnswer(
        name=schedule.name,
        cron=schedule.cron,
        timezone=schedule.timezone,
        parameters=dict(schedule.parameters),
        overlap=schedule.overlap,
        next_at=schedule.next_after(since) if is_known else None,
        last_at=progress.last_at if progress else None,
        last_invocation_id=progress.last_invocation_id if progress else None,
        skipped=progress.skipped if progress else 0,
        last_skipped_at=progress.last_skipped_at if progress else None,
    )


def _pool(services: Services, name: str) -> FunctionPool:
    return FunctionPool.model_validate(services.pool.statistics(name))
