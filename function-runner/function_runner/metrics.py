"""Every counter and timing of the runner, declared together, in Prometheus' text format.

Labels are function names and fixed words, never ids: each combination is kept in memory for ever.
"""

from datetime import UTC, datetime

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# A warm invocation takes milliseconds, a training run minutes.
DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
BUILD_DURATIONS = (1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600, 900)


class Metrics:
    """What the runner counts. Each instance has a registry of its own; all methods may be called from any thread."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._invocations = Counter(
            "smlops_invocations_total",
            "Invocations that ended, by how they were called (sync, async) and how they ended.",
            ("function", "type", "status"),
            registry=registry,
        )
        self._durations = Histogram(
            "smlops_invocation_duration_seconds",
            "Time spent in each phase of an invocation: queue, build, create, start, init, record, run, result; "
            "total is all of them.",
            ("function", "phase"),
            buckets=DURATIONS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "smlops_invocations_in_flight",
            "Invocations that are waiting, starting or running.",
            ("function",),
            registry=registry,
        )
        self._queue_depth = Gauge(
            "smlops_queue_depth", "Invocations that wait for a place.", ("queue",), registry=registry
        )
        self._oldest_age = Gauge(
            "smlops_queue_oldest_age_seconds",
            "How long the oldest asynchronous invocation has been waiting.",
            registry=registry,
        )
        self._cold_starts = Counter(
            "smlops_cold_starts_total",
            "Invocations whose container was made for them.",
            ("function",),
            registry=registry,
        )
        self._starts = Counter(
            "smlops_starts_total",
            "Invocations that were handed to a container, by how that came to be: cold, warm, reused.",
            ("function", "start"),
            registry=registry,
        )
        self._environments = Gauge(
            "smlops_warm_pool_containers",
            "Execution environments, by state: ready, starting, busy.",
            ("function", "state"),
            registry=registry,
        )
        self._retries = Counter(
            "smlops_retries_total",
            "Asynchronous invocations that wait for another attempt after a failed one.",
            ("function",),
            registry=registry,
        )
        self._scheduled = Counter(
            "smlops_schedule_occurrences_total",
            "Times at which a schedule was due: submitted, or skipped because an earlier invocation was still open.",
            ("function", "result"),
            registry=registry,
        )
        self._callbacks = Counter(
            "smlops_callback_deliveries_total",
            "Attempts to deliver a callback: delivered; retried, which is to be tried again; failed, for good.",
            ("result",),
            registry=registry,
        )
        self._retired = Counter(
            "smlops_warm_pool_retired_total",
            "Environments that ended without having been used (again), by reason.",
            ("function", "reason"),
            registry=registry,
        )
        self._predictions = Counter(
            "smlops_model_predictions_total",
            "Invocations that answered with a registered model, by its version and how that was asked for.",
            ("model", "version", "asked"),
            registry=registry,
        )
        self._oom_kills = Counter(
            "smlops_container_oom_kills_total",
            "Containers in which the kernel ended a process for want of memory.",
            ("function",),
            registry=registry,
        )
        self._builds = Counter(
            "smlops_image_builds_total", "Builds of function images.", ("function", "result"), registry=registry
        )
        self._build_durations = Histogram(
            "smlops_image_build_duration_seconds",
            "Time a build of a function's image took.",
            ("function", "result"),
            buckets=BUILD_DURATIONS,
            registry=registry,
        )
        self._log_bytes = Counter("smlops_log_bytes_total", "Bytes written to log files.", registry=registry)
        self._disk_usage = Gauge(
            "smlops_disk_usage_bytes",
            "Room on the disk taken by records, logs, build_logs and images, as retention last saw it.",
            ("kind",),
            registry=registry,
        )
        self._removed = Counter(
            "smlops_retention_removed_total",
            "What was removed because it was old or there was too much, by kind.",
            ("kind",),
            registry=registry,
        )
        self._freed = Counter(
            "smlops_retention_freed_bytes_total",
            "Room that came free thereby; that of records is an estimate.",
            ("kind",),
            registry=registry,
        )
        self._engine_errors = Counter(
            "smlops_docker_api_errors_total", "Calls to the container engine that failed.", ("op",), registry=registry
        )
        # Shown as 0 from the start, so that a dashboard can tell "none" from "not measured".
        self._queue_depth.labels("sync")
        self._queue_depth.labels("async")
        for result in ("delivered", "retried", "failed"):
            self._callbacks.labels(result)

    def invocation_finished(self, function: str, type: str, status: str) -> None:  # noqa: A002 - the label's name
        """An invocation reached its terminal state. ``type`` is ``sync`` or ``async``."""
        self._invocations.labels(function, type, status).inc()

    def phase(self, function: str, phase: str, seconds: float) -> None:
        """An invocation spent this long in ``phase``: one of those in `Timings`, without its unit."""
        self._durations.labels(function, phase).observe(seconds)

    def in_flight(self, function: str, change: int) -> None:
        """So many more (or fewer) invocations are accepted and not ended."""
        self._in_flight.labels(function).inc(change)

    def set_queue_depth(self, depth: int, *, queue: str = "sync") -> None:
        """So many invocations wait for a place."""
        self._queue_depth.labels(queue).set(depth)

    def set_backlog(self, depth: int, oldest: datetime | None) -> None:
        """So many asynchronous invocations wait to be run, the oldest of them since then."""
        self._queue_depth.labels("async").set(depth)
        age = (datetime.now(UTC) - oldest).total_seconds() if oldest is not None else 0.0
        self._oldest_age.set(max(0.0, age))

    def started(self, function: str, start: str) -> None:
        """An invocation was handed to a container; ``start`` is ``cold``, ``warm`` or ``reused``."""
        self._starts.labels(function, start).inc()
        if start == "cold":
            self._cold_starts.labels(function).inc()

    def set_environments(self, function: str, state: str, number: int) -> None:
        """The function has so many environments in this state."""
        self._environments.labels(function, state).set(number)

    def retired(self, function: str, reason: str) -> None:
        """An environment of the function ended without having been used (again)."""
        self._retired.labels(function, reason).inc()

    def retried(self, function: str) -> None:
        """An attempt of an asynchronous invocation failed, and there will be another one."""
        self._retries.labels(function).inc()

    def scheduled(self, function: str, result: str) -> None:
        """A schedule of the function was due: ``submitted`` or ``skipped``."""
        self._scheduled.labels(function, result).inc()

    def callback(self, result: str) -> None:
        """An attempt to deliver a callback ended: ``delivered``, ``retried`` or ``failed``."""
        self._callbacks.labels(result).inc()

    def prediction(self, model: str, version: str, asked: str) -> None:
        """An invocation has used a version of a model; ``asked``: ``latest``, an alias, or ``number``."""
        self._predictions.labels(model, version, asked).inc()

    def oom_kill(self, function: str) -> None:
        """A container of the function ran out of memory."""
        self._oom_kills.labels(function).inc()

    def build(self, function: str, result: str, seconds: float) -> None:
        """A build ended: ``succeeded``, ``failed`` or ``interrupted``."""
        self._builds.labels(function, result).inc()
        self._build_durations.labels(function, result).observe(seconds)

    def log_bytes(self, count: int) -> None:
        """So many bytes of log were written."""
        self._log_bytes.inc(count)

    def set_disk_usage(self, kind: str, size: int) -> None:
        """All there is of this kind takes so many bytes."""
        self._disk_usage.labels(kind).set(size)

    def removed(self, kind: str, count: int, size: int) -> None:
        """So many of this kind were removed, which freed so many bytes."""
        self._removed.labels(kind).inc(count)
        self._freed.labels(kind).inc(size)

    def docker_error(self, op: str) -> None:
        """A call to the container engine failed; ``op`` is its name, e.g. ``create``."""
        self._engine_errors.labels(op).inc()

    def render(self) -> tuple[bytes, str]:
        """All of it as text, and the text's content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
