"""A whole runner on the fake engine: real store, logs, pool and runtime API; only the containers are made up."""

import threading
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from function_runner.catalog import Catalog
from function_runner.dispatcher import Dispatcher
from function_runner.errors import EngineUnavailable, ModelNotFound, RunnerError, StoreUnavailable
from function_runner.images import Images
from function_runner.invocation import Invocation, LogState, Request
from function_runner.invoker import Invoker
from function_runner.logs import LogStore
from function_runner.metrics import Metrics
from function_runner.model_versions import ModelVersions
from function_runner.pool import Pool
from function_runner.reaper import Reaper
from function_runner.runtime_api import RuntimeApi, listen
from function_runner.settings import Settings
from function_runner.spool import NotKept, Spool
from function_runner.store import Store
from support.fake_engine import FakeEngine
from support.waiting import wait_until


@dataclass
class FakeTracking:
    """What MLflow says about models; ``error`` is raised instead when it is set."""

    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: Exception | None = None
    asked: int = 0

    def model(self, name: str, *, within: float) -> dict[str, Any]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        if name not in self.models:
            raise ModelNotFound
        return self.models[name]


@dataclass
class Life:
    """Of one runner process: when it is over, nothing that it does has an effect."""

    is_over: bool = False
    steps: list[str] = field(default_factory=list)  # what it has done outside of itself, in order
    ends_before: int | None = None  # number of the step before which it is over

    def step(self, name: str) -> bool:
        """It is about to do this. False: it does not come to that any more."""
        with self._lock:
            if not self.is_over and len(self.steps) == self.ends_before:
                self.is_over = True
            if not self.is_over:
                self.steps.append(name)
            return not self.is_over

    _lock: threading.Lock = field(default_factory=threading.Lock)

    def guard(self, target: Any, error: type[Exception], methods: Container[str] | None = None) -> Any:
        """``target``, whose methods (default: all) raise ``error`` from then on."""
        return _Guarded(self, target, error, methods)


class _Guarded:
    def __init__(self, life: Life, target: Any, error: type[Exception], methods: Container[str] | None) -> None:
        self._parts = life, target, error, methods

    def __getattr__(self, name: str) -> Any:
        life, target, error, methods = self._parts
        found = getattr(target, name)
        if not callable(found) or (methods is not None and name not in methods):
            return found

        def taken(*arguments: Any, **options: Any) -> Any:
            if not life.step(name):
                raise error("The process is gone.")
            return found(*arguments, **options)

        return taken


@dataclass
class Runner:
    """Everything a test may want to look at or disturb."""

    settings: Settings
    engine: FakeEngine
    store: Store
    spool: Spool
    logs: LogStore
    catalog: Catalog
    images: Images
    models: ModelVersions
    pool: Pool
    invoker: Invoker
    reaper: Reaper
    runtime_api: RuntimeApi
    address: tuple[str, int]
    metrics: Metrics
    dispatcher: Dispatcher
    life: "Life"
    make_next: Callable[["Runner"], "Runner"]

    def add(self, name: str, handler: str, manifest: str = "", dockerfile: str = "FROM fake\n") -> Path:
        """Put a function into the folder, or change it."""
        folder = self.settings.functions_dir / name
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(dockerfile)
        (folder / "handler.py").write_text(handler)
        (folder / "function.yaml").write_text(manifest)
        return folder

    def invoke(self, name: str, **parameters: Any) -> Invocation:
        return self.invoker.invoke(Request(name, parameters))

    def until_woken(self, by: str = "wake") -> dict[str, str]:
        """Parameters with which `support.handlers.SLEEP` goes on until somebody calls `wake`."""
        return {"until": str(self.settings.functions_dir.parent / by)}

    def wake(self, by: str = "wake") -> None:
        """Whatever was asked to go on until this ends now."""
        (self.settings.functions_dir.parent / by).touch()

    def in_background(self, name: str, **parameters: Any) -> tuple[threading.Thread, list[Invocation | RunnerError]]:
        """Invoke in a thread; the returned list gets the record or the error."""
        outcome: list[Invocation | RunnerError] = []

        def work() -> None:
            try:
                outcome.append(self.invoke(name, **parameters))
            except RunnerError as error:
                outcome.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        return thread, outcome

    def settled(self, invocation_id: str) -> Invocation:
        """The record once its container is gone and its log is closed."""

        def closed() -> Invocation | None:
            record = self.store.get(invocation_id)
            return record if record and record.log_state not in (None, LogState.OPEN) else None

        record = wait_until(closed)
        wait_until(lambda: not self.engine.containers())
        return record

    def settled_beside_the_pool(self, invocation_id: str) -> Invocation:
        """The record once its own container is gone, whatever else is kept ready."""

        def gone() -> Invocation | None:
            record = self.store.get(invocation_id)
            names = {container.name for container in self.engine.containers()}
            return record if record and record.container_name not in names else None

        return wait_until(gone)

    def log(self, record: Invocation) -> str:
        assert record.container_name
        return self.logs.read(record.container_name).decode()

    def crash(self) -> "Runner":
        """Kill the runner at this moment, and start another one: its folders, address and containers are the same.

        The threads of the old one cannot be killed; but whatever they still do, it reaches nobody.
        """
        self.life.is_over = True
        self.dispatcher.stop()
        self.runtime_api.stop()
        for file in self.logs._open.values():
            file.close()
        return self.make_next(self)

    def latest(self) -> Invocation:
        return self.store.search(limit=1)[0][0]


@pytest.fixture(autouse=True)
def one_address_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake engine's containers share this machine's address; real ones have their own."""
    monkeypatch.setattr("function_runner.runtime_api.MAX_CONNECTIONS_PER_ADDRESS", 1000)


@pytest.fixture
def fake_tracking() -> FakeTracking:
    return FakeTracking()


@pytest.fixture
def make_runner(tmp_path: Path) -> Iterator[Callable[..., Runner]]:
    """Builds a runner with these settings; closes it after the test."""
    closing: list[Callable[[], None]] = []

    def make(
        tracking: FakeTracking | None = None, *, after: Runner | None = None, port: int = 0, **values: Any
    ) -> Runner:
        functions, logs_dir = tmp_path / "functions", tmp_path / "logs"
        functions.mkdir(exist_ok=True)
        logs_dir.mkdir(exist_ok=True)
        settings = Settings(
            functions_dir=functions, logs_dir=logs_dir, database_url=f"sqlite:///{tmp_path / 'runner.db'}", **values
        )
        engine, metrics, life = FakeEngine(stack=settings.stack), Metrics(), Life()
        if after is not None:
            engine = after.engine
        guarded: Any = life.guard(engine, EngineUnavailable)
        logs = LogStore(settings.logs_dir, max_bytes=settings.log_max_bytes)
        store = Store(settings.database_url)
        store.migrate()
        catalog = Catalog(settings)
        images = Images(settings, guarded, catalog, logs, metrics)
        listener = listen("127.0.0.1", port)
        address: tuple[str, int] = listener.getsockname()
        models = ModelVersions(tracking or FakeTracking())
        pool = Pool(
            settings,
            guarded,
            catalog,
            images,
            models,
            logs,
            metrics,
            runtime_address=address,
            instance="here",
            host_cpus=2,
        )
        commits = store._commits
        store._commits = life.guard(commits, StoreUnavailable, {"run"})
        spool = Spool(settings.logs_dir)
        invoker = Invoker(settings, catalog, store, life.guard(spool, NotKept, {"keep"}), models, pool, metrics)
        runtime_api = RuntimeApi(settings, listener, pool.find)
        runtime_api.start()
        models.start()
        pool.start()
        dispatcher = Dispatcher(settings, catalog, store, invoker, metrics)
        closing.extend([store.close, runtime_api.stop, images.close, models.stop, pool.close, dispatcher.stop])
        return Runner(
            settings,
            engine,
            store,
            spool,
            logs,
            catalog,
            images,
            models,
            pool,
            invoker,
            Reaper(guarded, store, logs, pool, invoker, runtime_address=address),
            runtime_api,
            address,
            metrics,
            dispatcher,
            life,
            lambda before: make(tracking, after=before, port=before.address[1], **values),
        )

    yield make
    for close in reversed(closing):
        close()


@pytest.fixture
def runner(make_runner: Callable[..., Runner]) -> Runner:
    """A runner whose waits are short, yet long enough for a machine that is busy with other things."""
    return make_runner(init_timeout=20, default_timeout=20, max_concurrency=4)
