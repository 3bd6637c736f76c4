"""What MLflow is asked, and what becomes of its answers, against a server that says what MLflow 3.17.2 says."""

import base64
import json
import re
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from function_runner import tracking as tracking_module
from function_runner.errors import ExperimentNotFound, InvalidRequest, MlflowUnavailable, ModelNotFound
from function_runner.tracking import Tracking, check_alias_name

MOMENT = 1_795_408_478_882  # 2026-11-23T04:34:38.882Z
API = "/mlflow/api/2.0/mlflow/"


class Refusal(Exception):
    """An answer that is an error: status, and MLflow's message."""


class FakeMlflow:
    """A model registry in memory with MLflow's routes, quoting rules and habits; nothing more than we use."""

    def __init__(self):
        self.models = {}  # name -> {"aliases": {alias: number}, "versions": {number: run_id}}
        self.runs = {}  # run_id -> experiment id
        self.experiments = {"0": "Default"}
        self.calls = []
        self.method = ""  # of the last call
        self.raw = {}  # path -> (status, body): an answer for that path, whatever is asked
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/mlflow"

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def register(self, name, versions=0, *, run_ids=None, **aliases):
        run_ids = run_ids or [f"run{number}" for number in range(1, versions + 1)]
        for run_id in run_ids:
            if run_id:
                self.runs.setdefault(run_id, "1")
                self.experiments.setdefault(self.runs[run_id], "iris")
        self.models[name] = {"aliases": aliases, "versions": dict(enumerate(run_ids, 1))}

    # --- the routes ---

    def registered_models_search(self, query):
        names = sorted(self.models)
        found, token = self._page(names, query)
        return {"registered_models": [self._model(name) for name in found]} | token

    def registered_models_get(self, query):
        return {"registered_model": self._model(self._known(query["name"]))}

    def model_versions_get(self, query):
        name, number = self._known(query["name"]), int(query["version"])
        if number not in self.models[name]["versions"]:
            raise Refusal(404, f"Model Version (name={name}, version={number}) not found")
        return {"model_version": self._version(name, number)}

    def model_versions_search(self, query):
        if "filter" not in query:
            everything = [(name, number) for name in self.models for number in self.models[name]["versions"]]
            page, token = self._page(everything, query)
            return {"model_versions": [self._version(*one) for one in page]} | token if page else {}
        matched = re.fullmatch(r"name (=|LIKE) (?:'([^']*)'|\"([^\"]*)\")", query["filter"])
        if not matched:
            raise Refusal(400, "Invalid clause(s) in filter string")
        wanted = matched[2] if matched[2] is not None else matched[3]
        if matched[1] == "LIKE":
            pattern = re.compile(re.escape(wanted).replace("_", "."))
            names = [name for name in self.models if pattern.fullmatch(name)]
        else:
            names = [wanted] if wanted in self.models else []
        found = [(name, number) for name in names for number in self.models[name]["versions"]]
        assert query["order_by"] == "version_number DESC"
        found.sort(key=lambda one: -one[1])
        page, token = self._page(found, query)
        return {"model_versions": [self._version(*one) for one in page]} | token if page else {}

    def runs_get(self, query):
        if query["run_id"] not in self.runs:
            raise Refusal(404, "Run not found")
        return {"run": self._run(query["run_id"])}

    def runs_search(self, query):
        found = [run_id for run_id, experiment in self.runs.items() if experiment in query["experiment_ids"]]
        if "filter" in query:
            wanted = re.findall("'([^']*)'", query["filter"])
            found = [run_id for run_id in found if run_id in wanted]
        page, token = self._page(found, query)
        return {"runs": [self._run(run_id) for run_id in page]} | token if page else {}

    def experiments_get(self, query):
        if query["experiment_id"] not in self.experiments:
            raise Refusal(404, f"No Experiment with id={query['experiment_id']} exists")
        return {"experiment": self._experiment(query["experiment_id"])}

    def experiments_search(self, query):
        page, token = self._page(sorted(self.experiments, reverse=True), query)
        return {"experiments": [self._experiment(one) for one in page]} | token

    # --- the shapes ---

    def registered_models_alias(self, query):
        model = self.models[self._known(query["name"])]
        if self.method == "DELETE":
            model["aliases"].pop(query["alias"], None)
            return {}
        number = int(query["version"])
        if number not in model["versions"]:
            raise Refusal(404, f"Model Version (name={query['name']}, version={number}) not found")
        model["aliases"][query["alias"]] = number
        return {}

    def _known(self, name):
        if name not in self.models:
            raise Refusal(404, f"Registered Model with name={name} not found")
        return name

    def _model(self, name):
        model = self.models[name]
        answer = {"name": name, "creation_timestamp": MOMENT, "last_updated_timestamp": MOMENT + 1}
        if model["versions"]:
            answer["latest_versions"] = [self._version(name, max(model["versions"]))]
        if model["aliases"]:
            answer["aliases"] = [{"alias": alias, "version": str(number)} for alias, number in model["aliases"].items()]
        return answer

    def _version(self, name, number):
        return {
            "name": name,
            "version": str(number),
            "creation_timestamp": MOMENT,
            "current_stage": "None",
            "description": "",
            "source": "models:/m-1",
            "run_id": self.models[name]["versions"][number],
            "status": "READY",
            "tags": [{"key": "format", "value": "onnx"}],
        }

    def _run(self, run_id):
        return {
            "info": {
                "run_id": run_id,
                "run_uuid": run_id,
                "run_name": "calm-owl-1",
                "experiment_id": self.runs[run_id],
                "status": "RUNNING",
                "start_time": MOMENT,
            },
            "data": {
                "metrics": [{"key": "accuracy", "value": 0.5}, {"key": "loss", "value": "NaN"}],
                "params": [{"key": "of", "value": run_id}],
                "tags": [{"key": "mlflow.runName", "value": "calm-owl-1"}],
            },
        }

    def _experiment(self, experiment_id):
        return {
            "experiment_id": experiment_id,
            "name": self.experiments[experiment_id],
            "lifecycle_stage": "active",
            "creation_time": MOMENT,
            "last_update_time": MOMENT,
        }

    def _page(self, items, query):
        offset = json.loads(base64.b64decode(query["page_token"]))["offset"] if "page_token" in query else 0
        end = offset + int(query["max_results"])
        token = base64.b64encode(json.dumps({"offset": end}).encode()).decode()
        return items[offset:end], {"next_page_token": token} if len(items) > end else {}

    def _handler(fake):  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet for head and body: two would wait for each other

            def do_GET(self):
                parts = urlsplit(self.path)
                self.answer(parts.path, {key: values[0] for key, values in parse_qs(parts.query).items()})

            def do_DELETE(self):
                self.do_POST()

            def do_POST(self):
                self.answer(self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def answer(self, path, query):
                fake.calls.append(path.removeprefix(API))
                fake.method = self.command
                if path in fake.raw:
                    status, body = fake.raw[path]
                else:
                    route = path.removeprefix(API).replace("/", "_").replace("-", "_")
                    try:
                        status, body = 200, json.dumps(getattr(fake, route)(query))
                    except Refusal as refusal:
                        status, message = refusal.args
                        body = json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": message})
                self.send_response(status)
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                with suppress(ConnectionError):
                    self.wfile.write(body.encode())

            def log_message(self, *_):
                pass

        return Handler


@pytest.fixture
def mlflow():
    fake = FakeMlflow()
    yield fake
    fake.close()


@pytest.fixture
def tracking(mlflow):
    tracking = Tracking(mlflow.url)
    yield tracking
    tracking._session.close()


# --- models -----------------------------------------------------------------------------------------------------------


def test_it_works(mlflow, tracking):
    mlflow.register("iris_model", 3, champion=2)
    assert tracking.models() == {
        "models": [
            {
                "name": "iris_model",
                "description": None,
                "created_at": "2026-11-23T04:34:38.882Z",
                "updated_at": "2026-11-23T04:34:38.883Z",
                "latest_version": "3",
                "aliases": {"champion": "2"},
                "tags": {},
                "mlflow_url": "/mlflow/#/models/iris_model",
            }
        ],
        "next_page_token": None,
    }


def test_a_model_without_versions(mlflow, tracking):
    mlflow.register("new")
    assert tracking.model("new")["latest_version"] is None
    assert tracking.model_versions("new") == {"versions": [], "next_page_token": None}
    with pytest.raises(ModelNotFound, match="'new' has no versions yet"):
        tracking.model_version("new", "latest")


def test_the_latest_version_is_the_greatest_number_of_any_stage(mlflow, tracking, monkeypatch):
    mlflow.register("staged", 11)
    model = mlflow._model("staged") | {"latest_versions": [{"version": "9"}, {"version": "11"}, {"version": "10"}]}
    mlflow.raw[API + "registered-models/get"] = (200, json.dumps({"registered_model": model}))
    assert tracking.model("staged")["latest_version"] == "11"


def test_models_are_paged(mlflow, tracking):
    for name in "abc":
        mlflow.register(name)
    first = tracking.models(2)
    assert [model["name"] for model in first["models"]] == ["a", "b"]
    last = tracking.models(2, first["next_page_token"])
    assert [model["name"] for model in last["models"]] == ["c"]
    assert last["next_page_token"] is None


def test_an_unknown_model_names_those_that_exist(mlflow, tracking):
    mlflow.register("iris_model")
    mlflow.register("wine")
    for call in (tracking.model, tracking.model_versions, lambda name: tracking.model_version(name, "1")):
        with pytest.raises(ModelNotFound, match=re.escape("There is no model 'nope'. There is: iris_model, wine.")):
            call("nope")


def test_of_many_models_some_are_named(mlflow, tracking):
    for number in range(30):
        mlflow.register(f"model{number:02}")
    with pytest.raises(ModelNotFound, match="model19 and more"):
        tracking.model("nope")


def test_without_any_model_the_way_to_one_is_named(tracking):
    with pytest.raises(ModelNotFound, match="`train` makes one"):
        tracking.model("nope")


# --- versions ---------------------------------------------------------------------------------------------------------


def test_a_version_comes_with_what_its_run_measured(mlflow, tracking):
    mlflow.register("iris_model", 3, champion=2, first=2, other=1)
    assert tracking.model_version("iris_model", "2") == {
        "name": "iris_model",
        "version": "2",
        "created_at": "2026-11-23T04:34:38.882Z",
        "status": "READY",
        "run_id": "run2",
        "source": "models:/m-1",
        "description": None,
        "aliases": ["champion", "first"],
        "tags": {"format": "onnx"},
        "metrics": {"accuracy": 0.5, "loss": None},
        "parameters": {"of": "run2"},
        "model_uri": "models:/iris_model/2",
        "mlflow_url": "/mlflow/#/models/iris_model/versions/2",
    }


@pytest.mark.parametrize(("asked", "number"), [("1", "1"), ("latest", "11"), ("@champion", "9")])
def test_a_version_by_number_latest_or_alias(mlflow, tracking, asked, number):
    mlflow.register("iris_model", 11, champion=9)
    assert tracking.model_version("iris_model", asked)["version"] == number


def test_versions_come_newest_first_by_number(mlflow, tracking):
    mlflow.register("iris_model", 11, champion=9)
    first = tracking.model_versions("iris_model", 3)
    assert [version["version"] for version in first["versions"]] == ["11", "10", "9"]
    assert [version["parameters"]["of"] for version in first["versions"]] == ["run11", "run10", "run9"]
    assert [version["aliases"] for version in first["versions"]] == [[], [], ["champion"]]
    second = tracking.model_versions("iris_model", 9, first["next_page_token"])
    assert [version["version"] for version in second["versions"]] == ["8", "7", "6", "5", "4", "3", "2", "1"]
    assert second["next_page_token"] is None


def test_a_page_of_versions_costs_four_calls(mlflow, tracking):
    mlflow.register("iris_model", 100)
    assert len(tracking.model_versions("iris_model", 100)["versions"]) == 100
    assert mlflow.calls == ["registered-models/get", "model-versions/search", "runs/get", "runs/search"]


def test_runs_of_several_experiments_are_found(mlflow, tracking):
    mlflow.runs = {"a": "1", "b": "2", "c": "1"}
    mlflow.register("iris_model", run_ids=["a", "b", "c"])
    found = tracking.model_versions("iris_model")["versions"]
    assert [version["parameters"]["of"] for version in found] == ["c", "b", "a"]


def test_a_run_that_is_gone_leaves_the_version_without_measures(mlflow, tracking):
    mlflow.register("iris_model", run_ids=["a", "gone", ""])
    del mlflow.runs["gone"]
    newest, middle, oldest = tracking.model_versions("iris_model")["versions"]
    assert (newest["run_id"], newest["metrics"]) == (None, {})
    assert (middle["run_id"], middle["metrics"]) == ("gone", {})
    assert oldest["metrics"]["accuracy"] == 0.5


def test_the_runs_of_all_versions_are_named_page_by_page(mlflow, tracking, monkeypatch):
    monkeypatch.setattr(tracking_module, "VERSIONS_AT_ONCE", 2)
    assert tracking.runs_of_versions() == frozenset()
    mlflow.register("iris_model", run_ids=["a", "b", "", "c"])
    mlflow.register("other", run_ids=["d", "a"])
    assert tracking.runs_of_versions() == {"a", "b", "c", "d"}
    assert mlflow.calls == ["model-versions/search"] * 4


@pytest.mark.parametrize("raw", [(500, "{}"), (200, "<html>"), (200, "[]"), (404, '{"message": "no"}')])
def test_when_mlflow_does_not_say_which_runs_nobody_guesses(mlflow, tracking, raw):
    mlflow.raw[f"{API}model-versions/search"] = raw
    with pytest.raises(MlflowUnavailable):
        tracking.runs_of_versions()


def test_a_run_id_that_is_none_is_not_put_into_a_filter(mlflow, tracking):
    mlflow.register("iris_model", run_ids=["a", "b", "') OR ('1'='1"])
    assert [version["metrics"] != {} for version in tracking.model_versions("iris_model")["versions"]] == [
        False,
        True,
        True,
    ]


@pytest.mark.parametrize("name", ["plain", "it's", 'say "hi"', "both ' and \"", "50%_x", "back\\slash", "ünï 模型"])
def test_any_name_is_found_and_only_that(mlflow, tracking, name):
    mlflow.register(name, 2)
    mlflow.register(name.replace("'", "x"), 3)
    assert {version["name"] for version in tracking.model_versions(name)["versions"]} == {name}
    assert tracking.model_version(name, "1")["name"] == name


def test_names_are_quoted_in_addresses(mlflow, tracking):
    mlflow.register("a b#c?d", 1)
    assert tracking.model_version("a b#c?d", "1")["mlflow_url"] == "/mlflow/#/models/a%20b%23c%3Fd/versions/1"


@pytest.mark.parametrize("asked", ["4", "0", "Production", "", "-1", "1.0", "9" * 30, "1 OR 1"])
def test_an_unknown_version_names_those_that_exist(mlflow, tracking, asked):
    mlflow.register("iris_model", 3)
    with pytest.raises(ModelNotFound, match=re.escape("There is: 3, 2, 1.")):
        tracking.model_version("iris_model", asked)


def test_an_unknown_alias_names_those_that_exist(mlflow, tracking):
    mlflow.register("iris_model", 3, champion=1, beta=2)
    with pytest.raises(ModelNotFound, match=re.escape("no alias 'gamma'. There is: @beta, @champion.")):
        tracking.model_version("iris_model", "@gamma")


def test_what_the_caller_named_is_not_repeated_at_length(tracking):
    with pytest.raises(ModelNotFound) as error:
        tracking.model("x" * 5000)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(("wanted", "number"), [("1", "1"), ("001", "1"), ("latest", "3"), ("@champion", "2")])
def test_an_alias_is_set_to_what_a_version_means_now(mlflow, tracking, wanted, number):
    mlflow.register("iris_model", 3, champion=2)
    assert tracking.set_alias(tracking.model("iris_model"), "challenger", wanted) == number
    assert tracking.model("iris_model")["aliases"] == {"champion": "2", "challenger": number}


@pytest.mark.parametrize("wanted", ["0", "4", "@nobody", "newest"])
def test_an_alias_is_not_set_to_a_version_that_is_not_there(mlflow, tracking, wanted):
    mlflow.register("iris_model", 3, champion=2)
    with pytest.raises(ModelNotFound):
        tracking.set_alias(tracking.model("iris_model"), "champion", wanted)
    assert tracking.model("iris_model")["aliases"] == {"champion": "2"}


def test_an_alias_is_deleted_and_that_can_be_repeated(mlflow, tracking):
    mlflow.register("iris_model", 3, champion=2, challenger=3)
    for _ in range(2):
        tracking.delete_alias("iris_model", "champion")
    assert tracking.model("iris_model")["aliases"] == {"challenger": "3"}
    with pytest.raises(ModelNotFound, match="iris_model"):
        tracking.delete_alias("nobody", "champion")


@pytest.mark.parametrize("alias", ["champion", "Prod-2", "v", "v1a", "latest1", "ü", "x" * 255, "_"])
def test_names_of_aliases(alias):
    check_alias_name(alias)


@pytest.mark.parametrize("alias", ["", "a b", "a.b", "a/b", "latest", "Latest", "v1", "V12", "x" * 256, "a\n", "@a"])
def test_names_that_no_alias_can_have(alias):
    with pytest.raises(InvalidRequest) as refused:
        check_alias_name(alias)
    assert refused.value.errors[0].pointer == "/alias"


def test_several_versions_come_in_the_order_asked_for(mlflow, tracking):
    mlflow.register("iris_model", 3, champion=2)
    found = tracking.some_versions("iris_model", ["latest", "1", "@champion"])
    assert [version["version"] for version in found] == ["3", "1", "2"]
    assert found == [tracking.model_version("iris_model", number) for number in ("3", "1", "2")]


# --- experiments and runs ---------------------------------------------------------------------------------------------


def test_experiments(mlflow, tracking):
    mlflow.experiments["1"] = "iris"
    page = tracking.experiments(1)
    assert page["experiments"] == [
        {
            "experiment_id": "1",
            "name": "iris",
            "lifecycle_stage": "active",
            "created_at": "2026-11-23T04:34:38.882Z",
            "updated_at": "2026-11-23T04:34:38.882Z",
            "tags": {},
            "mlflow_url": "/mlflow/#/experiments/1",
        }
    ]
    assert tracking.experiments(1, page["next_page_token"])["experiments"][0]["name"] == "Default"


def test_runs(mlflow, tracking):
    mlflow.register("iris_model", 2)
    page = tracking.runs("1", 1)
    assert page["runs"] == [
        {
            "run_id": "run1",
            "run_name": "calm-owl-1",
            "status": "RUNNING",
            "started_at": "2026-11-23T04:34:38.882Z",
            "finished_at": None,
            "metrics": {"accuracy": 0.5, "loss": None},
            "parameters": {"of": "run1"},
            "tags": {"mlflow.runName": "calm-owl-1"},
            "mlflow_url": "/mlflow/#/experiments/1/runs/run1",
        }
    ]
    assert tracking.runs("1", 1, page["next_page_token"])["runs"][0]["run_id"] == "run2"


def test_an_experiment_without_runs(tracking):
    assert tracking.runs("0") == {"runs": [], "next_page_token": None}


@pytest.mark.parametrize("experiment_id", ["7", "iris", "", "-1", "²", "9" * 30])
def test_an_unknown_experiment_names_those_that_exist(tracking, experiment_id):
    with pytest.raises(ExperimentNotFound, match=re.escape("There is: 0 (Default).")):
        tracking.runs(experiment_id)


# --- page tokens, and servers that do not do what they should ---------------------------------------------------------


@pytest.mark.parametrize(
    "token",
    [
        "",
        " ",
        "é",
        "nonsense",
        *(base64.b64encode(text).decode() for text in (b"[]", b"{}", b'{"offset": -1}', b"\xff")),
    ],
)
def test_a_page_token_that_nobody_handed_out_is_refused(mlflow, tracking, token):
    mlflow.register("iris_model", 1)
    for call in (
        lambda: tracking.models(1, token),
        lambda: tracking.model_versions("iris_model", 1, token),
        lambda: tracking.experiments(1, token),
        lambda: tracking.runs("1", 1, token),
    ):
        with pytest.raises(InvalidRequest) as refused:
            call()
        assert refused.value.errors[0].pointer == "/page_token"


def test_mlflow_says_its_version(mlflow, tracking):
    mlflow.raw["/mlflow/version"] = (200, "3.17.2\n")
    assert tracking.version() == "3.17.2"


def test_a_check_passes_when_mlflow_is_well(mlflow, tracking):
    mlflow.raw["/mlflow/health"] = (200, "OK")
    tracking.check()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (500, '{"message": "database is locked"}', "status 500: database is locked"),
        (500, "<html>", "status 500, and not in JSON"),
        (403, '{"message": "Invalid Host header"}', "status 403: Invalid Host header"),
        (200, "[]", "not in JSON"),
        (200, "", "not in JSON"),
        (302, "{}", "status 302"),
    ],
)
def test_an_answer_that_is_not_mlflows_is_told(mlflow, tracking, status, body, message):
    mlflow.raw[API + "registered-models/search"] = (status, body)
    with pytest.raises(MlflowUnavailable, match=message):
        tracking.models()


def test_a_check_fails_when_mlflow_is_not_well(mlflow, tracking):
    mlflow.raw["/mlflow/health"] = (503, "")
    with pytest.raises(MlflowUnavailable, match="status 503"):
        tracking.check()


def test_nobody_there():
    tracking = Tracking("http://127.0.0.1:1/mlflow")
    for call in (tracking.check, tracking.models, tracking.version):
        with pytest.raises(MlflowUnavailable, match="cannot be reached"):
            call()


def test_a_server_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(tracking_module, "CHECK_SECONDS", 0.1)
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent,  # listens, and never reads
        pytest.raises(MlflowUnavailable, match="in time"),
    ):
        Tracking(f"http://127.0.0.1:{silent.server_port}/mlflow").check()


def test_a_kept_connection_that_was_closed_is_no_error(mlflow, tracking):
    mlflow.register("iris_model")
    tracking.models()
    port = mlflow.server.server_port
    mlflow.close()
    mlflow.__dict__.update(mlflow.__dict__ | {"server": ThreadingHTTPServer(("127.0.0.1", port), mlflow._handler())})
    mlflow.thread = threading.Thread(target=mlflow.server.serve_forever, kwargs={"poll_interval": 0.01})
    mlflow.thread.start()
    assert [model["name"] for model in tracking.models()["models"]] == ["iris_model"]


def test_a_proxy_for_the_world_outside_is_not_asked(mlflow, tracking, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    mlflow.raw["/mlflow/version"] = (200, "3.17.2")
    assert tracking.version() == "3.17.2"
