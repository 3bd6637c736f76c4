"""``/health``, ``/ready`` and ``/metrics``."""

import logging
from typing import Any

from flask import Response

from function_runner.api.checks import Checks, NoAnswer
from function_runner.api.route import Route
from function_runner.api.schemas import Check, Health, Readiness, ReadinessChecks
from function_runner.api.services import Services
from function_runner.api.writing import as_json
from function_runner.errors import DiskFull, RunnerError

READY_WITHIN_SECONDS = 0.8  # who asks usually gives up after one second
KEEP_SECONDS = 1.0

log = logging.getLogger(__name__)


def routes(services: Services) -> list[Route]:
    """The routes of this module."""
    checks = Checks(
        {
            "engine": services.engine.ping,
            "database": services.store.check,
            "mlflow": services.tracking.check,
            "logs": services.logs.check,
            "disk": services.store.require_room,
        },
        keep_seconds=KEEP_SECONDS,
    )

    def ready(services: Services) -> Response:
        """Whether invocations can be accepted."""
        return _ready(services, checks)

    return [
        Route("GET", "/health", health, summary="The process answers", tag="Operations", answer=Health),
        Route(
            "GET",
            "/ready",
            ready,
            summary="Whether invocations can be accepted",
            description=(
                "503 when the engine, the database or the logs folder does not work, when less than MIN_FREE_DISK_MB "
                "is free, or while shutting down. Without MLflow the runner stays ready and says `degraded`: functions "
                "that do not need it still run. So it does when the disk of the logs is full: output is lost."
            ),
            tag="Operations",
            answer=Readiness,
            also=(503,),
        ),
        Route(
            "GET",
            "/metrics",
            metrics,
            summary="Counters and timings for Prometheus",
            tag="Operations",
            answer="text/plain",
        ),
    ]


def health(_services: Services) -> Health:
    """Alive."""
    return Health(status="ok")


def metrics(services: Services) -> Response:
    """What Prometheus scrapes."""
    data, content_type = services.metrics.render()
    return Response(data, content_type=content_type)


def _ready(services: Services, checks: Checks) -> Response:
    outcomes = checks.run(within=READY_WITHIN_SECONDS)
    found = {name: _check(name, outcome) for name, outcome in outcomes.items()}
    draining = services.invoker.is_draining
    # What invocations can do without: functions that need no MLflow still run, and a full disk of logs costs output.
    spared = {"mlflow", "logs"} if isinstance(outcomes["logs"], DiskFull) else {"mlflow"}
    ready = not draining and all(check.ok for name, check in found.items() if name not in spared)
    answer = Readiness(
        ready=ready,
        degraded=ready and not all(check.ok for check in found.values()),
        draining=draining,
        checks=ReadinessChecks(**found),
    )
    body = as_json(answer)
    return Response(body, 200 if ready else 503, content_type="application/json")


def _check(name: str, outcome: Any) -> Check:
    match outcome:
        case RunnerError():
            return Check(ok=False, detail=outcome.detail)
        case NoAnswer():
            return Check(ok=False, detail=str(outcome))
        case Exception():
            log.error("check of %s failed", name, exc_info=outcome, extra={"action": "check_failed"})
            return Check(ok=False, detail="the check itself failed; see the runner's log")
        case _:
            return Check(ok=True, detail="works")
