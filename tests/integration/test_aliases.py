"""Aliases with the real MLflow: a move reaches the next prediction, and what is moved in MLflow itself is noticed."""

import pytest

SETOSA = [5.1, 3.5, 1.4, 0.2]
PATH = "/models/iris_model/aliases"


@pytest.fixture(scope="module")
def versions(stack):
    """Two versions of iris_model that surely exist, the older one first."""
    made = [stack.invoke("train", {"n_estimators": number, "random_state": 1}).result for number in (20, 21)]
    return [result["model_version"] for result in made]


def predicted_by(stack):
    answer = stack.invoke("predict", {"model_name": "iris_model", "model_version": "@tested", "features": SETOSA})
    return answer.result["model_version"]


def history(stack):
    moves = stack.get(f"{PATH}?alias=tested").json["history"]
    return [(move["action"], move["from_version"], move["to_version"]) for move in moves]


def test_moves_reach_the_next_prediction(stack, versions):
    old, new = versions
    assert stack.request("PUT", f"{PATH}/tested", json={"version": old}).json["aliases"]["tested"] == old
    assert predicted_by(stack) == old

    stack.request("PUT", f"{PATH}/tested", json={"version": new, "expected_version": old})
    assert predicted_by(stack) == new
    stack.request("PUT", f"{PATH}/tested", json={"version": old, "expected_version": old}).problem(409, "alias_moved")

    assert stack.post(f"{PATH}/tested/rollback").json["aliases"]["tested"] == old
    assert predicted_by(stack) == old

    outside = {"name": "iris_model", "alias": "tested", "version": new}
    assert stack.post("/mlflow/api/2.0/mlflow/registered-models/alias", json=outside).status == 200
    assert history(stack)[0] == ("outside", old, new)

    assert "tested" not in stack.request("DELETE", f"{PATH}/tested").json["aliases"]
    assert "tested" not in stack.get("/models/iris_model").json["aliases"]
    assert history(stack) == [
        ("delete", new, None),
        ("outside", old, new),
        ("rollback", new, old),
        ("set", old, new),
        ("set", None, old),
    ]


@pytest.mark.parametrize("alias", ["latest", "v1"])
def test_mlflow_refuses_the_names_that_we_refuse(stack, versions, alias):
    body = {"name": "iris_model", "alias": alias, "version": versions[0]}
    assert stack.post("/mlflow/api/2.0/mlflow/registered-models/alias", json=body).status == 400
    stack.request("PUT", f"{PATH}/{alias}", json={"version": versions[0]}).problem(400, "invalid_request")


def test_a_version_that_is_not_there(stack, versions):
    stack.request("PUT", f"{PATH}/tested", json={"version": "99999"}).problem(404, "model_not_found")


def test_versions_and_invocations_side_by_side(stack, versions):
    compared = stack.get(f"/models/iris_model/compare?versions={','.join(versions)}").json
    trees = next(entry for entry in compared["parameters"] if entry["name"] == "n_estimators")
    assert trees == {"name": "n_estimators", "values": dict(zip(versions, ("20", "21"), strict=True)), "differs": True}

    ids = [record["invocation_id"] for record in stack.get("/invocations?function=train&limit=2").json["invocations"]]
    answer = stack.get(f"/compare/invocations?ids={','.join(ids)}").json
    found = {entry["pointer"]: entry["values"] for entry in answer["differences"]}
    assert set(found["/parameters/n_estimators"]) == set(ids)
    assert "/timings/run_ms" in found


def test_statistics_are_reached_from_outside(stack, versions):
    answer = stack.get("/statistics?window=24h&function=train").json
    assert answer["total"]["count"] >= 1
    assert answer["total"]["run_ms"]["p95"] > 0
