"""``/models/{name}/aliases``: where they point, and who moved them."""

import pytest

from function_runner.errors import MlflowUnavailable, StoreUnavailable

PATH = "/models/iris_model/aliases"
CHAMPION = f"{PATH}/champion"


def test_it_works(client):
    first = client.get(PATH).get_json()
    assert (first["model"], first["aliases"]) == ("iris_model", {"champion": "1"})
    assert [move["action"] for move in first["history"]] == ["outside"]
    answer = client.put(CHAMPION, json={"version": "2"}, headers={"X-Forwarded-For": "192.0.2.7"}).get_json()
    assert answer["aliases"] == {"champion": "2"}
    newest = answer["history"][0]
    assert {name: value for name, value in newest.items() if name != "at"} == {
        "alias": "champion",
        "action": "set",
        "caller": "192.0.2.7",
        "from_version": "1",
        "to_version": "2",
    }
    assert client.post(f"{CHAMPION}/rollback").get_json()["aliases"] == {"champion": "1"}
    assert client.delete(CHAMPION).get_json()["aliases"] == {}
    history = client.get(PATH).get_json()["history"]
    assert [move["action"] for move in history] == ["delete", "rollback", "set", "outside"]


def test_an_alias_is_made(client):
    answer = client.put(f"{PATH}/challenger", json={"version": "latest", "expected_version": None}).get_json()
    assert answer["aliases"] == {"champion": "1", "challenger": "3"}


def test_the_history_can_be_narrowed(client):
    client.put(f"{PATH}/challenger", json={"version": "2"})
    client.put(f"{PATH}/challenger", json={"version": "3"})
    found = client.get(f"{PATH}?alias=challenger&limit=1").get_json()["history"]
    assert [(move["alias"], move["to_version"]) for move in found] == [("challenger", "3")]


def test_two_people_do_not_overwrite_each_other(client, problem):
    client.put(CHAMPION, json={"version": "2", "expected_version": "1"})
    for response in (
        client.put(CHAMPION, json={"version": "3", "expected_version": "1"}),
        client.put(CHAMPION, json={"version": "3", "expected_version": None}),
        client.delete(f"{CHAMPION}?expected_version=1"),
        client.post(f"{CHAMPION}/rollback", json={"expected_version": "1"}),
        client.post(f"{CHAMPION}/rollback", json={"expected_version": None}),
    ):
        document = problem(response, 409, "alias_moved")
        assert document["present_version"] == "2"
    assert client.get(PATH).get_json()["aliases"] == {"champion": "2"}
    assert client.post(f"{CHAMPION}/rollback", json={"expected_version": "2"}).status_code == 200


def test_what_was_never_elsewhere_is_not_rolled_back(client, problem):
    problem(client.post(f"{CHAMPION}/rollback"), 409, "no_earlier_version")


@pytest.mark.parametrize("alias", ["latest", "LATEST", "v1", "a.b", "x" * 256, "a b"])
def test_names_that_no_alias_can_have_are_refused(client, problem, alias):
    document = problem(client.put(f"{PATH}/{alias}", json={"version": "2"}), 400, "invalid_request")
    assert document["errors"][0]["pointer"] == "/alias"


@pytest.mark.parametrize("body", [{}, {"version": 2}, {"version": ""}, {"version": "1", "more": 1}, {"version": None}])
def test_a_body_that_is_not_understood_is_refused(client, services, problem, body):
    problem(client.put(CHAMPION, json=body), 400, "invalid_request")
    assert services.tracking.asked == []


def test_what_is_not_there_is_not_found(client, problem):
    for response in (
        client.get("/models/nobody/aliases"),
        client.put("/models/nobody/aliases/champion", json={"version": "1"}),
        client.put(CHAMPION, json={"version": "9"}),
        client.delete(f"{PATH}/other"),
        client.post(f"{PATH}/other/rollback"),
    ):
        problem(response, 404, "model_not_found")


def test_mlflow_or_the_record_being_away_is_told(client, services, problem):
    services.tracking.error = MlflowUnavailable()
    problem(client.get(PATH), 502, "mlflow_unavailable")
    problem(client.put(CHAMPION, json={"version": "2"}), 502, "mlflow_unavailable")
    services.tracking.error = None
    services.store.error = StoreUnavailable()
    problem(client.put(CHAMPION, json={"version": "2"}), 503, "store_unavailable")
    assert services.tracking.aliases == {"champion": "1"}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_a_page_of_another_origin_moves_nothing(client, services, problem, method):
    path = f"{CHAMPION}/rollback" if method == "POST" else CHAMPION
    body = {"version": "2"} if method == "PUT" else None
    response = client.open(path, method=method, json=body, headers={"Origin": "http://elsewhere.example"})
    problem(response, 403, "forbidden_origin")
    assert services.tracking.asked == []
