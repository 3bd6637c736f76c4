"""``/debug``: the system's status on one page, for people. No secrets, and no section can take the others with it."""

import logging
import re
import shutil
from collections.abc import Callable
from typing import Any

from flask import Response

from function_runner import __version__
from function_runner.api.checks import Checks, NoAnswer
from function_runner.api.route import Route
from function_runner.api.schemas import (
    ContainerStatus,
    DatabaseStatus,
    DebugAnswer,
    DiskStatus,
    EngineStatus,
    FunctionPool,
    ImageStatus,
    MlflowStatus,
    PoolStatus,
    RetentionStatus,
    SectionError,
)
from function_runner.api.services import Services
from function_runner.api.writing import as_json
from function_runner.errors import RunnerError
from function_runner.invocation import utc_now
from function_runner.settings import Settings

WITHIN_SECONDS = 3.0

RETENTION_SETTINGS = (
    "retain_records_days",
    "records_max",
    "retain_logs_days",
    "logs_max_mb",
    "retain_images_days",
    "min_free_disk_mb",
)
# Every setting is either shown or not; a test asks for the decision when there is a new one.
SHOWN_SETTINGS = (
    "stack",
    "functions_dir",
    "logs_dir",
    "mlflow_tracking_uri",
    "docker_host",
    "functions_network",
    "runtime_api_host",
    "runtime_api_port",
    "allowed_hosts",
    "python_image",
    "build_timeout",
    "build_memory_mb",
    "build_network",
    "default_timeout",
    "max_timeout",
    "init_timeout",
    "default_memory_mb",
    "default_cpus",
    "pids_limit",
    "tmp_mb",
    "log_max_bytes",
    "request_max_bytes",
    "result_max_bytes",
    "max_concurrency",
    "queue_limit",
    "queue_timeout",
    "backlog_limit",
    "max_queue_age",
    "max_attempts",
    "retry_pause",
    "functions_memory",
    "pool_memory",
    "drain_seconds",
    *RETENTION_SETTINGS,
)
# May hold secrets, or names of hosts.
HIDDEN_SETTINGS = (
    "database_url",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "callback_secret",
    "callback_allowed_hosts",
)

_USER_AND_PASSWORD = re.compile(r"(?<=://)[^/]*@")

log = logging.getLogger(__name__)


def routes(services: Services) -> list[Route]:
    """The routes of this module."""
    sections: dict[str, Callable[[], Any]] = {
        "engine": lambda: EngineStatus.model_validate(services.engine.info()),
        "images": lambda: [ImageStatus.model_validate(image) for image in services.engine.images()],
        "containers": lambda: _containers(services),
        "pool": lambda: _pool(services),
        "mlflow": lambda: _mlflow(services),
        "database": lambda: _database(services),
        "disk": lambda: _disk(services),
        "retention": lambda: _retention(services),
    }
    checks = Checks(sections, keep_seconds=0)

    def show(services: Services) -> Response:
        """The page."""
        found = {name: _section(name, outcome) for name, outcome in checks.run(within=WITHIN_SECONDS).items()}
        return _page(services, found)

    return [
        Route(
            "GET",
            "/debug",
            show,
            summary="Status of the whole system",
            description="Engine, images, containers, pool, MLflow, database, disk, retention and settings; no secrets.",
            tag="Operations",
            answer=DebugAnswer,
        )
    ]


def _page(services: Services, found: dict[str, Any]) -> Response:
    now = utc_now()
    answer = DebugAnswer(
        version=__version__,
        started_at=services.started_at,
        uptime_seconds=round((now - services.started_at).total_seconds(), 3),
        settings=_settings(services.settings),
        **found,
    )
    return Response(as_json(answer, indent=2) + b"\n", content_type="application/json")


def _section(name: str, outcome: Any) -> Any:
    match outcome:
        case RunnerError():
            return SectionError(error=outcome.detail)
        case NoAnswer():
            return SectionError(error=str(outcome))
        case Exception():
            log.error("section %s of /debug failed", name, exc_info=outcome, extra={"action": "debug_failed"})
            return SectionError(error="this section cannot be shown; see the runner's log")
        case _:
            return outcome


def _containers(services: Services) -> list[ContainerStatus]:
    return [
        ContainerStatus(
            id=container.id,
            name=container.name,
            state=container.state,
            function=container.labels.get("smlops.function"),
            role=container.labels.get("smlops.role"),
            image=container.image,
            created_at=container.created_at,
        )
        for container in services.engine.containers()
    ]


def _pool(services: Services) -> PoolStatus:
    names = [entry.name for entry in services.catalog.list()]
    return PoolStatus(
        is_draining=services.invoker.is_draining,
        in_flight=services.invoker.in_flight,
        functions={name: FunctionPool.model_validate(services.pool.statistics(name)) for name in names},
        **services.pool.totals(),
    )


def _mlflow(services: Services) -> MlflowStatus:
    uri = without_credentials(services.settings.mlflow_tracking_uri)
    return MlflowStatus(tracking_uri=uri, version=services.tracking.version())


def _database(services: Services) -> DatabaseStatus:
    return DatabaseStatus(
        url=without_credentials(services.settings.database_url), invocations=services.store.count_by_status()
    )


def _disk(services: Services) -> DiskStatus:
    usage = shutil.disk_usage(services.settings.logs_dir)
    return DiskStatus(logs_dir=str(services.settings.logs_dir), total_bytes=usage.total, free_bytes=usage.free)


def _retention(services: Services) -> RetentionStatus:
    survey = services.retention.survey()
    settings = services.settings.model_dump(include=set(RETENTION_SETTINGS))
    return RetentionStatus.model_validate({**vars(survey), "settings": settings})


def _settings(settings: Settings) -> dict[str, Any]:
    values = settings.model_dump(mode="json", include=set(SHOWN_SETTINGS))
    return {name: without_credentials(value) if isinstance(value, str) else value for name, value in values.items()}


def without_credentials(url: str) -> str:
    """The address without user, password and query; text that is no address stays as it is."""
    return _USER_AND_PASSWORD.sub("", url).partition("?")[0] if "://" in url else url
