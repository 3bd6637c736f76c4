"""Builds every object once and connects them. Everything else receives what it needs from here."""

import json
import logging
import os
import secrets
import socket
import sys
from dataclasses import dataclass
from datetime import UTC, datetime

from flask import Flask

from function_runner import api
from function_runner.aliases import Aliases
from function_runner.callbacks import Callbacks
from function_runner.catalog import Catalog
from function_runner.dispatcher import Dispatcher
from function_runner.docker_engine import ContainerEngine, DockerEngine
from function_runner.followers import Followers
from function_runner.images import Images
from function_runner.invocation import utc_now
from function_runner.invoker import Invoker
from function_runner.logs import LogStore
from function_runner.metrics import Metrics
from function_runner.model_versions import ModelVersions
from function_runner.pool import Pool
from function_runner.reaper import Reaper
from function_runner.retention import Retention
from function_runner.runtime_api import RuntimeApi, listen
from function_runner.scheduler import Scheduler
from function_runner.settings import MEBIBYTE, Settings
from function_runner.spool import Spool
from function_runner.statistics import Statistics
from function_runner.store import Store
from function_runner.tracking import Tracking

log = logging.getLogger(__name__)

EXTENSION = "function_runner"


@dataclass(frozen=True)
class House:
    """The objects that have a beginning and an end. Found at ``app.extensions[EXTENSION]``."""

    settings: Settings
    services: api.Services
    models: ModelVersions
    runtime_api: RuntimeApi
    reaper: Reaper
    dispatcher: Dispatcher
    scheduler: Scheduler
    callbacks: Callbacks

    def open(self) -> None:
        """Begin to work: set right what a crash left open, serve containers, run what waits."""
        self.reaper.adopt_running()
        self.runtime_api.start()
        self.reaper.start()
        self.models.start()
        self.services.pool.start()
        self.dispatcher.start()
        self.services.retention.start()
        self.scheduler.start()
        self.callbacks.start()
        log.info("function runner is up", extra={"action": "up"})

    def drain(self) -> None:
        """Refuse new invocations; return when the running ones have ended, or were ended, and are cleaned up."""
        log.info("draining", extra={"action": "draining"})
        by_themselves = self.services.invoker.drain(self.settings.drain_seconds)
        self.services.pool.close()
        self.services.followers.close()  # now: those who follow what ran have seen its end
        log.info("drained", extra={"action": "drained", "result": "complete" if by_themselves else "killed"})

    def close(self) -> None:
        """Stop everything. Call `drain` first when somebody may still be served."""
        self.scheduler.stop()
        self.callbacks.stop()
        self.dispatcher.stop()
        self.services.followers.close()
        self.services.retention.stop()
        self.reaper.stop()
        self.services.pool.close()
        self.models.stop()
        self.services.images.close()
        self.runtime_api.stop()
        self.services.store.close()


def create_app(settings: Settings | None = None, *, engine: ContainerEngine | None = None) -> Flask:
    """The WSGI application, working.

    Args:
        settings: default: from the environment.
        engine: default: the Docker engine of the settings.

    Raises:
        SettingsError: the settings cannot be used.
        StoreUnavailable: the database cannot be opened.
    """
    settings = settings or Settings.from_environment()
    configure_logging()
    instance = secrets.token_hex(6)
    metrics = Metrics()
    engine = engine or DockerEngine(
        settings.docker_host,
        stack=settings.stack,
        network=settings.functions_network,
        count_error=metrics.docker_error,
    )
    # Early: containers that outlived the previous runner may already be calling, and wait until they are served.
    host = own_address(settings.runtime_api_host)
    listener = listen(host, settings.runtime_api_port)
    runtime_address = (host, listener.getsockname()[1])
    logs = LogStore(settings.logs_dir, max_bytes=settings.log_max_bytes)
    store = Store(settings.database_url, owner=instance, min_free_bytes=settings.min_free_disk_mb * MEBIBYTE)
    store.migrate()
    tracking = Tracking(settings.mlflow_tracking_uri)
    catalog = Catalog(settings)
    images = Images(settings, engine, catalog, logs, metrics)
    models = ModelVersions(tracking)
    pool = Pool(
        settings,
        engine,
        catalog,
        images,
        models,
        logs,
        metrics,
        runtime_address=runtime_address,
        instance=instance,
        host_cpus=os.cpu_count() or 1,
    )
    spool = Spool(settings.logs_dir)
    spool.remove_unfinished()
    invoker = Invoker(settings, catalog, store, spool, models, pool, metrics)
    services = api.Services(
        settings=settings,
        catalog=catalog,
        store=store,
        logs=logs,
        tracking=tracking,
        aliases=Aliases(tracking, store, models, pool),
        statistics=Statistics(store),
        metrics=metrics,
        images=images,
        pool=pool,
        engine=engine,
        invoker=invoker,
        followers=Followers(store, logs, pool),
        retention=Retention(settings, engine, catalog, store, logs, images, tracking, metrics),
        started_at=utc_now(),
    )
    app = Flask(__name__, static_folder=None)
    api.register(app, services)
    house = House(
        settings,
        services,
        models,
        RuntimeApi(settings, listener, pool.find),
        Reaper(engine, store, logs, pool, invoker, runtime_address=runtime_address),
        Dispatcher(settings, catalog, store, invoker, metrics),
        Scheduler(catalog, store, invoker, metrics),
        Callbacks(settings, store, metrics, api.render),
    )
    app.extensions[EXTENSION] = house
    house.open()
    return app


def own_address(name: str) -> str:
    """The address of ours that goes by this name (default: the host's), for containers that know no names.

    On several networks the host's name would be ambiguous. The runtime API must be on the functions' network only, so
    compose gives us a name there that we have on no other.
    """
    return socket.gethostbyname(name or socket.gethostname())


class JsonFormatter(logging.Formatter):
    """One JSON object per line: what a function prints can never look like a line of ours."""

    FIELDS = ("action", "invocation_id", "function", "container", "status", "image", "result", "error_id")

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name in self.FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


def configure_logging() -> None:
    """Our package's log goes to standard error as JSON lines. Called again it changes nothing."""
    package = logging.getLogger("function_runner")
    if package.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    package.propagate = False
