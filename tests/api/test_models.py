"""``/models``: MLflow's registry."""

from dataclasses import replace
from urllib.parse import quote

import pytest

from function_runner.errors import MlflowUnavailable, StoreUnavailable
from function_runner.invocation import Mention, Status
from function_runner.store import Wanted
from support.api import MODEL, NOW, VERSION, finished

PATHS = [
    "/models",
    "/models/iris_model",
    "/models/iris_model/versions",
    "/models/iris_model/versions/1",
    "/models/iris_model/versions/1/invocations",
]
MAKER = Mention("i1", "train", Status.SUCCEEDED, NOW, "r1", "iris_model", "1")
FAILED = Mention("i2", "train", Status.FAILED, NOW, None, None, None)
ANSWERED = {**VERSION, "made_by": None, "used_by_url": "/models/iris_model/versions/1/invocations"}


def test_it_works(client):
    assert client.get("/models").get_json() == {"models": [MODEL], "next_page_token": "more"}
    assert client.get("/models/iris_model").get_json() == MODEL
    assert client.get("/models/iris_model/versions").get_json() == {"versions": [ANSWERED], "next_page_token": None}


@pytest.mark.parametrize("version", ["1", "latest", "@champion"])
def test_a_version_has_several_names(client, services, version):
    assert client.get(f"/models/iris_model/versions/{version}").get_json() == ANSWERED
    assert services.tracking.asked[-1] == ("model_version", "iris_model", version)


def tag(services, invocation_id):
    tagged = {**VERSION, "tags": {"smlops.invocation_id": invocation_id}}
    services.tracking.model_version = lambda *_: tagged
    services.tracking.model_versions = lambda *_, **__: {"versions": [tagged], "next_page_token": None}


def made_by(client):
    [listed] = client.get("/models/iris_model/versions").get_json()["versions"]
    alone = client.get("/models/iris_model/versions/1").get_json()
    assert listed == alone
    return alone["made_by"]


def test_a_version_names_the_invocation_that_made_it(client, services):
    services.store.made = [MAKER]
    assert made_by(client) == {
        "invocation_id": "i1",
        "function": "train",
        "status": "succeeded",
        "created_at": "2026-01-31T12:34:56.789Z",
    }


@pytest.mark.parametrize(
    "other",
    [{"mlflow_run_id": "r0"}, {"model_name": "other"}, {"model_version": "2"}, {"mlflow_run_id": None}],
    ids=str,
)
def test_whose_record_differs_did_not_make_it(client, services, other):
    tag(services, "i1")  # not even if the version says so: tags are copied with a version
    services.store.made = [replace(MAKER, **other)]
    assert made_by(client) is None


def test_the_first_that_names_the_run_made_it(client, services):
    services.store.made = [MAKER, replace(MAKER, id="i3", function="other")]
    assert made_by(client)["invocation_id"] == "i1"


def test_one_that_failed_after_it_had_registered_made_it_too(client, services):
    services.store.made = [FAILED]
    assert made_by(client) is None
    tag(services, "i2")
    assert made_by(client)["invocation_id"] == "i2"
    tag(services, "nobody")
    assert made_by(client) is None


def test_a_version_without_a_run_was_made_by_nobody_here(client, services):
    services.tracking.model_version = lambda *_: {**VERSION, "run_id": None}
    services.store.made = [replace(MAKER, mlflow_run_id=None)]
    assert client.get("/models/iris_model/versions/1").get_json()["made_by"] is None


def test_those_that_used_a_version_are_listed(client, services):
    record = finished()
    services.store.records[record.id] = record
    page = client.get("/models/iris_model/versions/latest/invocations?limit=7&before=page2").get_json()
    assert [found["invocation_id"] for found in page["invocations"]] == [record.id]
    wanted = Wanted(model_name="iris_model", model_version="1", not_run_id="r1", finished_since=NOW)
    assert services.store.searches == [{"wanted": wanted, "limit": 7, "before": "page2"}]


@pytest.mark.parametrize("path", PATHS[-3:])
def test_the_store_being_away_is_told(client, services, problem, path):
    services.store.error = StoreUnavailable()
    problem(client.get(path), 503, "store_unavailable")


def test_lists_are_paged(client, services):
    client.get("/models?limit=3&page_token=a%2Bb")
    client.get("/models/iris_model/versions?limit=200&page_token=x")
    assert ("models", 3, "a+b") in services.tracking.asked
    assert ("model_versions", "iris_model", 200, "x") in services.tracking.asked


@pytest.mark.parametrize("query", ["limit=0", "page_token=x", "before=", "function=train"])
def test_a_query_for_users_that_is_not_understood_is_refused(client, problem, query):
    problem(client.get(f"/models/iris_model/versions/1/invocations?{query}"), 400, "invalid_request")


@pytest.mark.parametrize("path", ["/models", "/models/iris_model/versions"])
@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "page_token=", "page=2", "page_token=" + "x" * 2001]
)
def test_a_query_that_is_not_understood_is_refused(client, services, problem, path, query):
    problem(client.get(f"{path}?{query}"), 400, "invalid_request")
    assert services.tracking.asked == []


@pytest.mark.parametrize(
    "path", ["/models/x", "/models/x/versions", "/models/x/versions/1", "/models/iris_model/versions/9"]
)
def test_what_is_not_there_is_not_found(client, problem, path):
    problem(client.get(path), 404, "model_not_found")


@pytest.mark.parametrize("name", ["with space", "o'clock", 'say "hi"', "ü", "a%b", "%2e", "a;b", "𝄞"])
def test_names_arrive_as_they_are(client, services, problem, name):
    problem(client.get(f"/models/{quote(name)}"), 404, "model_not_found")
    assert services.tracking.asked == [("model", name)]


@pytest.mark.parametrize("path", PATHS)
def test_mlflow_being_away_is_told(client, services, problem, path):
    services.tracking.error = MlflowUnavailable()
    problem(client.get(path), 502, "mlflow_unavailable")


def test_an_answer_of_an_unknown_form_is_mlflows_fault_not_ours(client, services, problem, caplog):
    services.tracking.model = lambda name: {"name": name}
    problem(client.get("/models/iris_model"), 500, "internal_error")
    assert "latest_version" in caplog.text
