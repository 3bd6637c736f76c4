"""The system that is measured: a stack of its own whose catalog is what the benchmark at hand needs."""

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml

from benchmarks import machine, models
from benchmarks.connection import Answer, Target, send_once
from support.docker_cli import container_ids, docker
from support.paths import ROOT
from support.stack import LIMITS, Stack
from support.waiting import wait_until

SOURCES = {
    "train": ROOT / "functions" / "train",
    "predict": ROOT / "functions" / "predict",
    "predict-sklearn": ROOT / "functions" / "predict",
    "echo": ROOT / "tests" / "benchmarks" / "functions" / "echo",
}
IRIS_ROW = [5.1, 3.5, 1.4, 0.2]
PARAMETERS: dict[str, dict[str, Any]] = {
    "train": {"n_estimators": 100, "max_depth": 10, "test_size": 0.2, "model_name": "benchmark"},
    "predict": {"model_name": models.WITH_TWIN, "model_version": "latest", "features": IRIS_ROW},
    "predict-sklearn": {"model_name": models.WITHOUT_TWIN, "model_version": "latest", "features": IRIS_ROW},
    "echo": {"text": "hello"},
}
FOR_EVER = 1_000_000  # invocations that a container which is to be reused may serve
SETTLE_SECONDS = 240.0
QUIET_SECONDS = 0.1  # after everything has settled: logs are closed, sockets go away


@dataclass(frozen=True)
class Copy:
    """A function under a name of its own: the folder of `source` with these keys of function.yaml changed."""

    name: str
    source: str
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, Any]:
        """What it is called with."""
        return PARAMETERS[self.source]

    def write(self, folder: Path) -> None:
        """Make the function's folder."""
        shutil.copytree(SOURCES[self.source], folder, ignore=shutil.ignore_patterns("__pycache__"))
        manifest = folder / "function.yaml"
        content = yaml.safe_load(manifest.read_text(encoding="utf-8")) | self.manifest
        if self.source == "predict-sklearn":  # what is loaded before the invocation is the default
            content["parameters"]["properties"]["model_name"]["default"] = models.WITHOUT_TWIN
        manifest.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def cold(source: str) -> Copy:
    """Every invocation makes its container."""
    return Copy(f"{source}-cold", source, {"warm": 0})


def warm(source: str, containers: int) -> Copy:
    """So many containers are kept ready, no more and no fewer, and each serves one invocation."""
    return Copy(f"{source}-warm", source, {"warm": containers, "warm_max": containers})


def reused(source: str, containers: int) -> Copy:
    """So many containers serve all invocations."""
    kept = {"warm": containers, "warm_max": containers}
    return Copy(f"{source}-reused", source, kept | {"invocations_per_container": FOR_EVER})


class System(Stack):
    """A running system, with what benchmarks do to it."""

    def __init__(self, name: str, directory: Path) -> None:
        super().__init__(name, directory)
        for setting in LIMITS:  # made for tests; what is measured has the defaults that everyone has
            self.environment.pop(setting, None)
        # Idle containers may have half of what is free, so that the pools asked for fit.
        self.environment["POOL_MEMORY"] = str(machine.memory_mb("MemAvailable") // 2)
        self._served: dict[str, Copy] = {}

    def start_with_models(self) -> None:
        """Start it; start.sh trains the first model, which is then registered without its ONNX twin as well."""
        self.functions_path.mkdir(exist_ok=True)
        self.logs_path.mkdir(exist_ok=True)
        self._fill_catalog(Copy("train", "train", {"warm": 0}), Copy("predict", "predict", {"warm": 0}))
        self.start()
        models.register_without_twin(f"{self.url}/mlflow")

    def serve(self, *copies: Copy, uncalled: Iterable[Copy] = ()) -> None:
        """Make these functions the whole catalog; return when they are built and their pools are full.

        Those that are never called are not built.
        """
        self.settle()  # what was measured before has ended
        self._fill_catalog(*copies, *uncalled)
        for copy in copies:
            built = self.post(f"/functions/{copy.name}/build", timeout=900)
            assert built.status == 200, f"{copy.name} was not built: {built.text[:2000]}"
        self.settle()

    def _fill_catalog(self, *copies: Copy) -> None:
        wanted = {copy.name: copy for copy in copies}
        for folder in self.functions_path.iterdir():
            if folder.name not in wanted or wanted[folder.name] != self._served.get(folder.name):
                shutil.rmtree(folder)
        new = self.directory / "new"
        for copy in copies:
            folder = self.functions_path / copy.name
            if not folder.exists():
                copy.write(new)
                new.rename(folder)  # at once, so that nobody reads half a folder
        self._served = wanted

    def settle(self) -> None:
        """Wait until all pools are full, nothing runs or starts, and no container is left of what ran."""

        def is_quiet() -> bool:
            pools = self._pools()
            return (
                self._are_full(pools)
                and not any(pool["busy"] or pool["waiting"] for pool in pools.values())
                and len(container_ids(f"smlops.stack={self.name}", "smlops.environment"))
                == sum(pool["ready"] for pool in pools.values())
            )

        wait_until(
            is_quiet, seconds=SETTLE_SECONDS, what="pools are full and nothing else runs: see /debug", every=0.05
        )
        time.sleep(QUIET_SECONDS)

    def wait_until_full(self, *, every: float) -> None:
        """Wait until all pools are full, without asking the engine."""
        wait_until(lambda: self._are_full(self._pools()), seconds=SETTLE_SECONDS, what="pools are full", every=every)

    def _pools(self) -> dict[str, dict[str, Any]]:
        pools = {function["name"]: function["pool"] for function in self.get("/functions").json["functions"]}
        for name, pool in pools.items():
            assert pool["state"] != "broken", f"{name}: {pool}"
        return pools

    def _are_full(self, pools: dict[str, dict[str, Any]]) -> bool:
        return pools.keys() == self._served.keys() and all(
            pool["ready"] >= self._served[name].manifest["warm"] and not pool["starting"]
            for name, pool in pools.items()
        )

    def ready(self, copy: Copy) -> int:
        """How many environments wait for this function's calls."""
        return int(self.get(f"/functions/{copy.name}").json["pool"]["ready"])

    def call(self, copy: Copy) -> Target:
        """The request that invokes this function."""
        return Target.post(self.port, "/invoke", {"function": copy.name, "parameters": copy.parameters})

    def page(self, path: str) -> Target:
        """The request that reads this page."""
        return Target.get(self.port, path)

    def invoke_once(self, copy: Copy) -> Answer:
        """Invoke it once, and make sure that it succeeded."""
        answer = send_once(self.call(copy))
        assert answer.status == 200, f"{copy.name}: {answer.status} {answer.body[:1000]!r}"
        return answer

    def records_of(self, copy: Copy, count: int) -> list[dict[str, Any]]:
        """The last so many records, in the order in which they were accepted."""
        records: list[dict[str, Any]] = []
        before = ""
        while len(records) < count:
            page = self.get(f"/invocations?function={copy.name}&limit={min(200, count - len(records))}{before}").json
            records += page["invocations"]
            if page["next"] is None:
                break
            before = f"&before={page['next']}"
        return records[::-1]

    def restart_with(self, **settings: str) -> None:
        """Start it again with these settings changed; an empty value is the default."""
        self.environment.update(settings)
        status, output = self.run_start_script()
        assert status == 0, output[-3000:]
        self.settle()

    @contextmanager
    def without_runner(self) -> Iterator[None]:
        """The runner is stopped within the block, and everything has settled after it."""
        runner = self.container_id("runner")
        docker("stop", "--time", "90", runner)
        try:
            yield
        finally:
            docker("start", runner)
            self.wait_until_ready()
        self.settle()

    def in_runners_place(self, source: str, *arguments: str) -> str:
        """Run a Python program in the runner's image, as its user and with its data; nothing else is in reach."""
        runner = self.container("runner")
        options = ["--rm", "--network", "none", "--user", runner["Config"]["User"]]
        data = ["--volume", f"{self.name}-runner-data:/data"]
        program = ["--entrypoint", "python3", runner["Config"]["Image"], "-c", source, *arguments]
        return docker("run", *options, *data, *program, timeout=600)

    def version(self) -> str:
        """Of the product."""
        try:
            return str(self.get("/debug").json["version"])
        except (requests.RequestException, KeyError):
            return "unknown"
