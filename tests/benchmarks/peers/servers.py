"""Other ways to serve the same model: how each is installed, started, asked and stopped.

Each is started as its own documentation says, with one worker process, directly on this machine: no container around
it and no NGINX in front, in its favour.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.connection import Target, send_once
from benchmarks.system import IRIS_ROW
from support.stack import free_port
from support.waiting import wait_until

HERE = Path(__file__).parent
START_SECONDS = 120.0
COLUMNS = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]


class Unavailable(Exception):
    """This peer cannot be measured on this machine; the message is the reason."""


@dataclass(frozen=True)
class Place:
    """Where one peer lives."""

    venv: Path
    folder: Path  # its working directory, new for each run
    model: Path  # the registered model as MLflow stores it
    port: int

    def program(self, name: str) -> str:
        """A program of its venv."""
        return str(self.venv / "bin" / name)

    @property
    def forest(self) -> Path:
        """The forest within the model, as skops stored it."""
        return next(self.model.glob("*.skops"))


@dataclass(frozen=True, eq=False)
class Peer:
    """One of them."""

    name: str  # of its requirements: peers/<name>.txt
    title: str
    returns: str
    path: str
    body: Any
    alive: str  # a page that it answers without the model
    prepare: Callable[[Place], Sequence[str]]  # writes what it needs and returns the command
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def name_and_version(self) -> str:
        """As in the table."""
        lines = (HERE / f"{self.name}.txt").read_text(encoding="utf-8").splitlines()
        return f"{self.title} {next(line.partition('==')[2] for line in lines if line.startswith(f'{self.name}=='))}"

    def target(self, port: int) -> Target:
        """The request for one row."""
        return Target.post(port, self.path, self.body)


def _mlflow(place: Place) -> Sequence[str]:
    serve = [place.program("mlflow"), "models", "serve", "--model-uri", str(place.model), "--env-manager", "local"]
    return [*serve, "--host", "127.0.0.1", "--port", str(place.port), "--workers", "1"]


def _bentoml(place: Place) -> Sequence[str]:
    shutil.copy(HERE / "bentoml_service.py", place.folder)
    return [place.program("bentoml"), "serve", "bentoml_service:Iris", "--host", "127.0.0.1", "--port", str(place.port)]


def _mlserver(place: Place) -> Sequence[str]:
    settings = {
        "parallel_workers": 0,
        "debug": False,
        "host": "127.0.0.1",
        "http_port": place.port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
    }
    model = {
        "name": "iris",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib"},
    }
    (place.folder / "settings.json").write_text(json.dumps(settings))
    (place.folder / "model-settings.json").write_text(json.dumps(model))
    # It loads what joblib stored: the same forest, stored anew.
    store = "import joblib, skops.io, sys; joblib.dump(skops.io.load(sys.argv[1], trusted=sys.argv[3:]), sys.argv[2])"
    stored = [str(place.forest), str(place.folder / "model.joblib"), "sklearn.tree._tree.Tree"]
    subprocess.run([place.program("python"), "-c", store, *stored], check=True, capture_output=True)
    return [place.program("mlserver"), "start", "."]


def _functions_framework(place: Place) -> Sequence[str]:
    serve = [place.program("functions-framework"), "--target", "predict", "--source", str(HERE / "cloud_function.py")]
    return [*serve, "--host", "127.0.0.1", "--port", str(place.port)]


PEERS = (
    Peer(
        "mlflow",
        "mlflow models serve",
        "class",
        "/invocations",
        {"dataframe_split": {"columns": COLUMNS, "data": [IRIS_ROW]}},
        "/version",
        _mlflow,
        {"MLFLOW_DISABLE_TELEMETRY": "true"},
    ),
    Peer(
        "bentoml",
        "BentoML",
        "class, probabilities",
        "/predict",
        {"features": IRIS_ROW},
        "/livez",
        _bentoml,
        {"BENTOML_DO_NOT_TRACK": "True"},
    ),
    Peer(
        "mlserver",
        "MLServer",
        "class",
        "/v2/models/iris/infer",
        {"inputs": [{"name": "features", "shape": [1, 4], "datatype": "FP64", "data": IRIS_ROW}]},
        "/v2/health/live",
        _mlserver,
    ),
    Peer(
        "functions-framework",
        "functions-framework",
        "class, probabilities",
        "/",
        {"features": IRIS_ROW},
        "/robots.txt",  # the framework's own answer, 404; every other address is the function
        _functions_framework,
    ),
)


@dataclass(frozen=True)
class Running:
    """The peers that serve, with the request for each; and why the others do not."""

    targets: dict[Peer, Target]
    unavailable: dict[Peer, str]


@contextmanager
def all_running(cache: Path, folder: Path, model: Path, say: Callable[[str], None]) -> Iterator[Running]:
    """Every peer that can be installed and started here, until the end of the block."""
    running = Running({}, {})
    with ExitStack() as stack:
        for peer in PEERS:
            try:
                say(f"starting {peer.title}")
                place = Place(_install(peer, cache), folder / peer.name, model, free_port())
                running.targets[peer] = stack.enter_context(_serving(peer, place))
            except Unavailable as reason:
                say(f"{peer.title} is not measured: {reason}")
                running.unavailable[peer] = str(reason)
        yield running


def _install(peer: Peer, cache: Path) -> Path:
    """Its venv; made when it is not there or its requirements have changed."""
    requirements, venv = HERE / f"{peer.name}.txt", cache / peer.name
    stamp, wanted = venv / ".installed", hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return venv
    uv = str(Path(sys.executable).with_name("uv"))
    install = [uv, "pip", "install", "--quiet", "--python", str(venv / "bin" / "python"), "--compile-bytecode"]
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(venv)],
        [*install, "--requirement", str(requirements)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Unavailable(f"it cannot be installed: {_last_words(done.stderr)}")
    stamp.write_text(wanted)
    return venv


@contextmanager
def _serving(peer: Peer, place: Place) -> Iterator[Target]:
    """The request, once it is answered."""
    shutil.rmtree(place.folder, ignore_errors=True)
    place.folder.mkdir(parents=True)
    log = place.folder / "server.log"
    try:
        command = peer.prepare(place)
    except (OSError, subprocess.CalledProcessError, StopIteration) as error:
        raise Unavailable(f"it cannot be prepared: {error}") from error
    environment = {
        **os.environ,
        "PATH": f"{place.venv / 'bin'}:{os.environ['PATH']}",
        "HOME": str(place.folder),
        "MODEL": str(place.forest),
        "OMP_NUM_THREADS": "1",  # as in our containers
        "OPENBLAS_NUM_THREADS": "1",
        **peer.environment,
    }
    environment.pop("PYTHONPATH", None)
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            cwd=place.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, to be stopped as a whole
        ) as process,
    ):
        try:
            target = peer.target(place.port)
            _wait_until_it_answers(target, process, log)
            yield target
        finally:
            _stop(process)


def _wait_until_it_answers(target: Target, process: "subprocess.Popen[bytes]", log: Path) -> None:
    answers = []

    def is_up() -> bool:
        if process.poll() is not None:
            return True
        try:
            answers.append(send_once(target))
        except OSError:
            return False
        return answers[-1].status == 200

    try:
        wait_until(is_up, seconds=START_SECONDS, what="it answers", every=0.3)
    except AssertionError:
        said = answers[-1].body[:300].decode(errors="replace") if answers else _last_words(log.read_text())
        raise Unavailable(f"it does not answer within {START_SECONDS:.0f} s: {said}") from None
    if process.poll() is not None:
        raise Unavailable(f"it ended with {process.returncode}: {_last_words(log.read_text())}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask its whole group to end, then end what is left of it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _last_words(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return " ".join((lines[-1] if lines else "it says nothing").split())[:300]
