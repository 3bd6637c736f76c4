"""``/models``: MLflow's registry."""

from urllib.parse import quote

import pytest

from function_runner.errors import MlflowUnavailable
from support.api import MODEL, VERSION

PATHS = ["/models", "/models/iris_model", "/models/iris_model/versions", "/models/iris_model/versions/1"]


def test_it_works(client):
    assert client.get("/models").get_json() == {"models": [MODEL], "next_page_token": "more"}
    assert client.get("/models/iris_model").get_json() == MODEL
    assert client.get("/models/iris_model/versions").get_json() == {"versions": [VERSION], "next_page_token": None}


@pytest.mark.parametrize("version", ["1", "latest", "@champion"])
def test_a_version_has_several_names(client, services, version):
    assert client.get(f"/models/iris_model/versions/{version}").get_json() == VERSION
    assert services.tracking.asked[-1] == ("model_version", "iris_model", version)


def test_lists_are_paged(client, services):
    client.get("/models?limit=3&page_token=a%2Bb")
    client.get("/models/iris_model/versions?limit=200&page_token=x")
    assert ("models", 3, "a+b") in services.tracking.asked
    assert ("model_versions", "iris_model", 200, "x") in services.tracking.asked


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
