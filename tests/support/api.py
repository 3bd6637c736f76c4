"""Stand-ins for what is slow or far away from the API, and a client that checks every answer."""

import json
import shutil
import threading
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from werkzeug.test import TestResponse

from function_runner.catalog import Catalog
from function_runner.docker_engine import ContainerInfo, EngineInfo, Image
from function_runner.errors import AlreadyEnded, DiskFull, HandlerError, InvalidRequest, ModelNotFound
from function_runner.images import ImageState
from function_runner.invocation import (
    Callback,
    Event,
    Invocation,
    Mention,
    Mode,
    Progress,
    Request,
    Start,
    Status,
    Timings,
    new_invocation_id,
)
from function_runner.pool import PoolStatistics, PoolTotals
from function_runner.retention import Amount, Run, Survey
from function_runner.schedule import ScheduleState
from function_runner.store import AliasMove, End, Repeated, Wanted

NOW = datetime(2026, 1, 31, 12, 34, 56, 789000, tzinfo=UTC)
IMAGE = Image(tag="smlops/function-echo:0123456789ab", id="sha256:1", base_id="sha256:2", size_bytes=7, built_at=NOW)

ECHO_MANIFEST = """
description: Returns what it gets.
parameters:
  type: object
  additionalProperties: false
  required: [word]
  properties:
    word: {type: string, description: What to say}
    times: {type: integer, minimum: 1, maximum: 9, default: 1}
    list: {$ref: "#/$defs/words"}
  $defs:
    words: {type: array, items: {type: string}}
examples:
  - name: Hello
    parameters: {word: "it's hello"}
"""


@dataclass
class Invoker:
    """Answers at once; ``error`` is raised instead when it is set."""

    catalog: Catalog
    store: "Store"
    is_draining: bool = False
    in_flight: int = 0
    error: Exception | None = None
    result: Any = "done"
    calls: list[dict[str, Any]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    finishes: bool = True  # False: nothing ends before anybody's patience does
    keys: dict[str, str] = field(default_factory=dict)  # of requests, with the invocations they stand for
    longest_wait: float = 1000.0

    def invoke(self, request: Request, *, patience: float | None = None) -> Invocation:
        done = self._accept(request, Mode.SYNC, is_done=self.finishes)
        if done.status.is_terminal and done.status is not Status.SUCCEEDED and patience is None:
            raise self.error or HandlerError
        return done

    def submit(self, request: Request) -> Invocation:
        return self._accept(request, Mode.ASYNC, is_done=False)

    def wait(self, invocation_id: str, seconds: float) -> Invocation:
        record = self.store.records[invocation_id]
        if seconds and self.finishes:
            record = replace(finished(result=self.result), id=record.id, mode=record.mode)
            self.store.records[record.id] = record
        return record

    def cancel(self, invocation_id: str) -> Invocation:
        record = self.store.records[invocation_id]
        if record.status.is_terminal and record.status is not Status.CANCELLED:
            raise AlreadyEnded("It has ended.", invocation_id=invocation_id)
        record = self.store.records[invocation_id] = replace(record, status=Status.CANCELLED)
        return record

    def request_to_replay(self, original: Invocation, *, like_then: bool, caller: str | None = None) -> Request:
        source = original.source_hash if like_then else None
        return Request(original.function, original.parameters, caller=caller, replay_of=original.id, source_hash=source)

    def _accept(self, request: Request, mode: Mode, *, is_done: bool) -> Invocation:
        self.store.require_room()
        function = self.catalog.get(request.function)
        complete = function.validate(request.parameters)
        self.calls.append(
            {
                "function": request.function,
                "parameters": complete,
                "timeout": request.timeout,
                "caller": request.caller,
            }
        )
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        if request.idempotency_key in self.keys:
            raise Repeated(self.keys[request.idempotency_key])
        record = finished(
            function=request.function,
            parameters=complete,
            result=self.result,
            mode=mode,
            replay_of=request.replay_of,
            callback=Callback(request.callback_url) if request.callback_url is not None else None,
        )
        if not is_done:
            record = replace(record, status=Status.QUEUED, result=None, container_name=None, finished_at=None)
        if request.idempotency_key is not None:
            self.keys[request.idempotency_key] = record.id
        self.store.records[record.id] = record
        return record


@dataclass
class Store:
    """Records in a dict, newest last."""

    records: dict[str, Invocation] = field(default_factory=dict)
    error: Exception | None = None
    is_full: bool = False
    searches: list[dict[str, Any]] = field(default_factory=list)
    made: list[Mention] = field(default_factory=list)
    moves: list[AliasMove] = field(default_factory=list)
    schedule_states: dict[tuple[str, str], ScheduleState] = field(default_factory=dict)  # of schedules

    def schedules(self) -> dict[tuple[str, str], ScheduleState]:
        self.check()
        return self.schedule_states

    def check(self) -> None:
        if self.error is not None:
            raise self.error

    def require_room(self) -> None:
        if self.is_full:
            raise DiskFull

    def get(self, invocation_id: str) -> Invocation | None:
        self.check()
        return self.records.get(invocation_id)

    def search(self, wanted: Wanted, *, limit: int, before: str | None) -> tuple[list[Invocation], str | None]:
        self.check()
        self.searches.append({"wanted": wanted, "limit": limit, "before": before})
        if before not in (None, "page2"):
            raise InvalidRequest("This page does not exist.")
        found = list(reversed(self.records.values()))
        return found[:limit], "page2" if len(found) > limit else None

    def events(self, invocation_id: str) -> list[Event]:
        self.check()
        record = self.records[invocation_id]
        events = [Event(Status.QUEUED, record.created_at, 1)]
        return events + ([Event(record.status, record.finished_at, 1)] if record.finished_at else [])

    def mentions(self, *, ids: Collection[str], run_ids: Collection[str]) -> list[Mention]:
        self.check()
        return [mention for mention in self.made if mention.id in ids or mention.mlflow_run_id in run_ids]

    def position(self, sequence: int) -> int:
        return 7

    def first_event_since(self, moment: datetime) -> int | None:
        self.check()
        return 1

    def ends(self, *, after: int, limit: int) -> list[End]:
        self.check()
        ended = [record for record in self.records.values() if record.finished_at is not None]
        return [
            End(
                number,
                record.finished_at,
                record.function,
                record.status,
                record.start,
                record.created_at,
                record.timings.total_ms,
                record.timings.run_ms,
            )
            for number, record in enumerate(ended, 1)
            if number > after
        ][:limit]

    def count_open(self, function: str | None = None) -> dict[str, int]:
        self.check()
        return {"queued": 0, "starting": 0, "running": 1}

    def note_alias_moves(self, moves: list[AliasMove]) -> None:
        self.check()
        self.moves += moves

    def last_alias_moves(self, model: str) -> dict[str, AliasMove]:
        self.check()
        return {move.alias: move for move in self.moves if move.model == model}

    def alias_history(self, model: str, *, alias: str | None = None, limit: int = 100) -> list[AliasMove]:
        self.check()
        moves = [move for move in reversed(self.moves) if move.model == model and alias in (None, move.alias)]
        return moves[:limit]

    def count_by_status(self) -> dict[str, int]:
        self.check()
        return {"succeeded": len(self.records)}


READY = ImageState("ready", None, IMAGE)


@dataclass
class Images:
    """One image for everything; ``error`` is raised instead when it is set."""

    current: ImageState = READY
    error: Exception | None = None
    built: list[str] = field(default_factory=list)

    def state(self, function: Any) -> ImageState:
        if self.error is not None:
            raise self.error
        return self.current

    def build(self, function: Any) -> Image:
        if self.error is not None:
            raise self.error
        self.built.append(function.name)
        return IMAGE


@dataclass
class Pool:
    """Always the same numbers."""

    looks: int = 0

    def look(self) -> None:
        self.looks += 1

    def statistics(self, function_name: str) -> PoolStatistics:
        return PoolStatistics(warm=1, target=2, ready=0, starting=1, busy=2, waiting=3, state="ok")

    def totals(self) -> dict[str, Any]:
        return asdict(
            PoolTotals(
                max_concurrency=4,
                in_use=2,
                waiting=3,
                queue_limit=100,
                ready=1,
                memory_mb=1536,
                functions_memory_mb=4096,
                ready_memory_mb=512,
                pool_memory_mb=2048,
            )
        )

    def position(self, invocation_id: str) -> int | None:
        return 2

    def progress(self, invocation_id: str) -> Progress | None:
        return None


@dataclass
class Retention:
    """Always the same numbers; ``error`` is raised instead when it is set."""

    error: Exception | None = None

    def survey(self) -> Survey:
        if self.error is not None:
            raise self.error
        return Survey(
            stored={"records": Amount(7, 7000), "logs": Amount(5, 50_000)},
            removable={"records": Amount(2, 2000), "logs": Amount(1, 10_000)},
            problem=None,
            last_run=Run(NOW, 0.25, {"images": Amount(1, 900)}, "MLflow is away."),
        )


@dataclass
class Engine:
    """One container; ``error`` is raised instead when it is set; nothing is answered before ``answers``."""

    error: Exception | None = None
    answers: threading.Event = field(default_factory=threading.Event)
    pings: int = 0

    def __post_init__(self) -> None:
        self.answers.set()

    def ping(self) -> None:
        self.pings += 1
        self.answers.wait(20)
        if self.error is not None:
            raise self.error

    def info(self) -> EngineInfo:
        self.ping()
        return EngineInfo("20.10.24", "1.41", "Debian 12", "6.18", 2, 2**34, "overlay2", "1", "runc")

    def images(self) -> list[Image]:
        self.ping()
        return [IMAGE]

    def containers(self) -> list[ContainerInfo]:
        self.ping()
        labels = {"smlops.function": "echo", "smlops.role": "invoke", "smlops.instance": "1"}
        return [ContainerInfo("c1", "echo-0123456789ab", "running", labels, NOW, IMAGE.tag)]


@dataclass
class Models:
    """Notes what it is told."""

    told: list[str] = field(default_factory=list)

    def moved(self, name: str) -> None:
        self.told.append(name)


@dataclass
class Tracking:
    """One model and one experiment; ``error`` is raised instead when it is set."""

    error: Exception | None = None
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=lambda: {"champion": "1"})
    numbers: tuple[str, ...] = ("1", "2", "3")  # of the versions to which an alias can be moved

    def check(self) -> None:
        if self.error is not None:
            raise self.error

    def version(self) -> str:
        self.check()
        return "3.17.2"

    def models(self, limit: int = 50, page_token: str | None = None) -> dict[str, Any]:
        self._note("models", limit, page_token)
        return {"models": [MODEL], "next_page_token": "more"}

    def model(self, name: str) -> dict[str, Any]:
        self._note("model", name)
        if name != MODEL["name"]:
            raise ModelNotFound(f"There is no model {name!r}. There is: iris_model.")
        return MODEL | {"aliases": dict(self.aliases)}

    def set_alias(self, model: dict[str, Any], alias: str, version: str) -> str:
        self._note("set_alias", model["name"], alias, version)
        number = {"latest": self.numbers[-1]}.get(version, version)
        if number not in self.numbers:
            raise ModelNotFound(f"Model {model['name']!r} has no version {version!r}.")
        self.aliases[alias] = number
        return number

    def delete_alias(self, name: str, alias: str) -> None:
        self._note("delete_alias", name, alias)
        self.aliases.pop(alias, None)

    def some_versions(self, name: str, versions: list[str]) -> list[dict[str, Any]]:
        self.model(name)
        self._note("some_versions", name, *versions)
        if missing := [version for version in versions if version not in self.numbers]:
            raise ModelNotFound(f"Model {name!r} has no version {missing[0]!r}.")
        return [
            VERSION
            | {"version": version}
            | {"metrics": VERSION["metrics"] | {"f1": int(version) / 10}}
            | {"parameters": VERSION["parameters"] | ({"max_depth": "3"} if version == "2" else {})}
            for version in versions
        ]

    def model_versions(self, name: str, limit: int = 50, page_token: str | None = None) -> dict[str, Any]:
        self.model(name)
        self._note("model_versions", name, limit, page_token)
        return {"versions": [VERSION], "next_page_token": None}

    def model_version(self, name: str, version: str) -> dict[str, Any]:
        self.model(name)
        self._note("model_version", name, version)
        if version not in ("1", "latest", "@champion"):
            raise ModelNotFound(f"Model {name!r} has no version {version!r}.")
        return VERSION

    def experiments(self, limit: int = 50, page_token: str | None = None) -> dict[str, Any]:
        self._note("experiments", limit, page_token)
        return {"experiments": [EXPERIMENT], "next_page_token": None}

    def runs(self, experiment_id: str, limit: int = 50, page_token: str | None = None) -> dict[str, Any]:
        self._note("runs", experiment_id, limit, page_token)
        return {"runs": [RUN], "next_page_token": None}

    def _note(self, *call: Any) -> None:
        self.asked.append(call)
        self.check()


MODEL = {
    "name": "iris_model",
    "description": None,
    "created_at": "2026-01-31T12:34:56.789Z",
    "updated_at": "2026-01-31T12:34:56.789Z",
    "latest_version": "1",
    "aliases": {"champion": "1"},
    "tags": {},
    "mlflow_url": "/mlflow/#/models/iris_model",
}
VERSION = {
    "name": "iris_model",
    "version": "1",
    "created_at": "2026-01-31T12:34:56.789Z",
    "status": "READY",
    "run_id": "r1",
    "source": "models:/m-1",
    "description": None,
    "aliases": ["champion"],
    "tags": {},
    "metrics": {"accuracy": 0.97, "broken": None},
    "parameters": {"n_estimators": "100"},
    "model_uri": "models:/iris_model/1",
    "mlflow_url": "/mlflow/#/models/iris_model/versions/1",
}
EXPERIMENT = {
    "experiment_id": "1",
    "name": "iris",
    "lifecycle_stage": "active",
    "created_at": "2026-01-31T12:34:56.789Z",
    "updated_at": None,
    "tags": {},
    "mlflow_url": "/mlflow/#/experiments/1",
}
RUN = {
    "run_id": "r1",
    "run_name": "calm-owl",
    "status": "FINISHED",
    "started_at": "2026-01-31T12:34:56.789Z",
    "finished_at": None,
    "metrics": {"accuracy": 0.97},
    "parameters": {},
    "tags": {},
    "mlflow_url": "/mlflow/#/experiments/1/runs/r1",
}


def finished(**changes: Any) -> Invocation:
    """The record of a successful invocation."""
    record = Invocation(
        id=new_invocation_id(),
        function="echo",
        parameters={"word": "hello", "times": 1},
        status=Status.SUCCEEDED,
        created_at=NOW,
        timeout_seconds=60.0,
        sequence=1,
        started_at=NOW + timedelta(milliseconds=400),
        finished_at=NOW + timedelta(milliseconds=450),
        container_name="echo-0123456789ab",
        start=Start.COLD,
        timings=Timings(0.1, 0.0, 9.0, 91.0, 300.0, 1.0, 50.0, 1.0, 452.1),
        parameters_sha256="b" * 64,
        result="done",
        result_sha256="c" * 64,
        source_hash="a" * 64,
        image_tag=IMAGE.tag,
        image_id=IMAGE.id,
        base_image_id=IMAGE.base_id,
        memory_limit_mb=512,
    )
    return replace(record, **changes)


class CheckedClient(FlaskClient):
    """A test client that compares every answer with the description of its route."""

    def open(self, *arguments: Any, **options: Any) -> TestResponse:
        response = super().open(*arguments, **options)
        self.application.config["CHECK_ANSWER"](response)
        return response


class Description:
    """``/openapi.json``, to compare answers with."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    def check(self, response: TestResponse) -> None:
        """Fails unless the answer is described."""
        if response.request.method == "HEAD" or response.mimetype == "text/css":
            return
        operation = self.operation(response.request.method, response.request.path)
        if operation is None:
            self.validate(json.loads(response.data), {"$ref": "#/components/schemas/Problem"})
            return
        described = operation["responses"].get(str(response.status_code))
        assert described is not None, f"{response.request.path}: {response.status_code} is not described"
        media_type = response.mimetype
        assert media_type in described["content"], f"{response.request.path}: {media_type} is not described"
        if media_type.endswith("json"):
            self.validate(json.loads(response.data), described["content"][media_type]["schema"])
        for name in ("X-Invocation-Id", "Retry-After"):
            if name in response.headers:
                assert name in described["headers"], f"{response.request.path}: header {name} is not described"

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        """The description of a request, or None where there is no such route."""
        for template, operations in self.document["paths"].items():
            parts, wanted = path.split("/"), template.split("/")
            if len(parts) == len(wanted) and all(
                a == b or (b.startswith("{") and a) for a, b in zip(parts, wanted, strict=True)
            ):
                return operations.get(method.lower())
        return None

    def validate(self, value: Any, schema: dict[str, Any]) -> None:
        """Fails unless the value fits a schema of the document."""
        complaint = best_match(
            Draft202012Validator({**schema, "components": self.document["components"]}).iter_errors(value)
        )
        assert complaint is None, f"{complaint.json_path}: {complaint.message}"


def add_function(folder: Path, name: str, manifest: str | None = None) -> None:
    """A function's folder, as a user would drop it."""
    target = folder / name
    target.mkdir(parents=True)
    (target / "Dockerfile").write_text("FROM scratch\n")
    (target / "handler.py").write_text("def handler(event, context):\n    return event\n")
    if manifest is not None:
        (target / "function.yaml").write_text(manifest)


def remove_function(folder: Path, name: str) -> None:
    shutil.rmtree(folder / name)
