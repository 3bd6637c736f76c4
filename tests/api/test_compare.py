"""``/compare/invocations`` and ``/models/{name}/compare``: several of a kind side by side."""

import pytest

from function_runner.errors import MlflowUnavailable, StoreUnavailable
from function_runner.invocation import Status, Timings, new_invocation_id
from support.api import finished


@pytest.fixture
def put(services):
    """Records an invocation and returns its id."""

    def put(**changes):
        record = finished(**changes)
        services.store.records[record.id] = record
        return record.id

    return put


def differences(response):
    return {entry["pointer"]: entry["values"] for entry in response.get_json()["differences"]}


def test_it_works(client, put):
    one = put(result={"label": "a", "odds": [0.1, 0.9]}, mlflow={"model_version": "1"})
    other = put(
        result={"label": "a", "odds": [0.2, 0.9]},
        parameters={"word": "hi", "times": 1},
        mlflow={"model_version": "2"},
        image_id="sha256:9",
    )
    response = client.get(f"/compare/invocations?ids={one},{other}")
    assert [entry["invocation_id"] for entry in response.get_json()["invocations"]] == [one, other]
    assert differences(response) == {
        "/parameters/word": {one: "hello", other: "hi"},
        "/result/odds/0": {one: 0.1, other: 0.2},
        "/image/id": {one: "sha256:1", other: "sha256:9"},
        "/mlflow/model_version": {one: "1", other: "2"},
    }
    assert response.get_json()["is_truncated"] is False


def test_the_same_twice_has_no_differences(client, put):
    assert differences(client.get(f"/compare/invocations?ids={put()},{put()}")) == {}


def test_one_that_failed_beside_those_that_did_not(client, put):
    good, better = put(result={"x": 1}), put(result={"x": 1}, timings=Timings(total_ms=1.0))
    bad = put(result=None, status=Status.FAILED, error={"code": "handler_error", "message": "no"})
    found = differences(client.get(f"/compare/invocations?ids={good},{bad},{better}"))
    assert found["/status"] == {good: "succeeded", bad: "failed", better: "succeeded"}
    assert found["/result"] == {good: {"x": 1}, bad: None, better: {"x": 1}}
    assert found["/error"][bad]["code"] == "handler_error"
    assert found["/timings/total_ms"][better] == 1.0


def test_of_very_many_differences_the_first_are_listed(client, put):
    one, other = put(result=list(range(2000))), put(result=[-1] * 2000)
    answer = client.get(f"/compare/invocations?ids={one},{other}").get_json()
    assert len(answer["differences"]) == 1000
    assert answer["is_truncated"] is True


@pytest.mark.parametrize("number", [1, 11])
def test_two_to_ten_are_compared(client, put, problem, number):
    ids = ",".join(put() for _ in range(number))
    document = problem(client.get(f"/compare/invocations?ids={ids}"), 400, "invalid_request")
    assert document["errors"] == [{"pointer": "/ids", "detail": "must name 2 to 10, separated by commas"}]


def test_what_is_named_twice_is_refused(client, put, problem):
    one = put()
    problem(client.get(f"/compare/invocations?ids={one},{one}"), 400, "invalid_request")
    problem(client.get("/models/iris_model/compare?versions=1,1"), 400, "invalid_request")


@pytest.mark.parametrize("path", ["/compare/invocations", "/models/iris_model/compare"])
@pytest.mark.parametrize("query", ["", "?ids=", "?versions=", "?more=1"])
def test_a_query_that_is_not_understood_is_refused(client, problem, path, query):
    problem(client.get(path + query), 400, "invalid_request")


def test_what_is_not_there_is_not_found(client, put, problem):
    one = put()
    for other in (new_invocation_id(), "x", ""):
        problem(client.get(f"/compare/invocations?ids={one},{other}"), 404, "invocation_not_found")
    problem(client.get("/models/nobody/compare?versions=1,2"), 404, "model_not_found")
    problem(client.get("/models/iris_model/compare?versions=1,9"), 404, "model_not_found")


def test_versions_side_by_side(client):
    answer = client.get("/models/iris_model/compare?versions=2,1").get_json()
    assert [version["version"] for version in answer["versions"]] == ["2", "1"]
    assert answer["metrics"] == [
        {"name": "accuracy", "values": {"2": 0.97, "1": 0.97}, "differs": False},
        {"name": "broken", "values": {"2": None, "1": None}, "differs": False},
        {"name": "f1", "values": {"2": 0.2, "1": 0.1}, "differs": True},
    ]
    assert answer["parameters"] == [
        {"name": "max_depth", "values": {"2": "3"}, "differs": True},
        {"name": "n_estimators", "values": {"2": "100", "1": "100"}, "differs": False},
    ]


def test_one_version_by_two_names_is_refused(client, services, problem):
    same = services.tracking.some_versions("iris_model", ["1"])
    services.tracking.some_versions = lambda name, versions: same * 2
    problem(client.get("/models/iris_model/compare?versions=1,latest"), 400, "invalid_request")


def test_neighbours_being_away_is_told(client, services, put, problem):
    ids = f"{put()},{put()}"
    services.tracking.error, services.store.error = MlflowUnavailable(), StoreUnavailable()
    problem(client.get(f"/compare/invocations?ids={ids}"), 503, "store_unavailable")
    problem(client.get("/models/iris_model/compare?versions=1,2"), 502, "mlflow_unavailable")
