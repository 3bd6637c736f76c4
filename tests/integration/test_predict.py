"""Predicting: which model, which features, and what is refused in words."""

import pytest

SETOSA = [5.1, 3.5, 1.4, 0.2]
VIRGINICA = [6.7, 3.0, 5.2, 2.3]
CLASSES = {"setosa", "versicolor", "virginica"}


@pytest.fixture(scope="module")
def version(stack):
    """A version of iris_model that surely exists, as text."""
    return stack.invoke("train", {"n_estimators": 30, "random_state": 1}).result["model_version"]


def predict(stack, **parameters):
    return stack.invoke("predict", {"model_name": "iris_model", **parameters})


def test_one_row(stack, version):
    result = predict(stack, model_version="latest", features=SETOSA).result

    assert result["prediction"] == "setosa"
    assert set(result["probabilities"]) == CLASSES
    assert result["model_version"] == version
    assert result["model_format"] == "onnx"


def test_many_rows(stack, version):
    result = predict(stack, model_version="latest", features=[SETOSA, VIRGINICA, SETOSA]).result

    assert result["prediction"] == ["setosa", "virginica", "setosa"]
    assert [set(row) for row in result["probabilities"]] == [CLASSES] * 3


def test_by_column_name(stack, version):
    columns = _columns(stack, version)

    result = predict(stack, model_version="latest", features=dict(zip(columns, SETOSA, strict=True))).result

    assert result["prediction"] == "setosa"


def test_a_version_by_number(stack, version):
    result = predict(stack, model_version=version, features=SETOSA).result

    assert result["model_version"] == version
    assert result["model_uri"] == f"models:/iris_model/{version}"


def test_a_version_by_alias(stack, version):
    answer = stack.post(
        "/mlflow/api/2.0/mlflow/registered-models/alias",
        json={"name": "iris_model", "alias": "champion", "version": version},
    )
    assert answer.status == 200, answer.text

    result = predict(stack, model_version="@champion", features=SETOSA).result

    assert result["model_version"] == version
    assert stack.get("/models/iris_model").json["aliases"]["champion"] == version
    assert stack.get("/models/iris_model/versions/@champion").json["version"] == version


def test_what_was_asked_for_what_was_used_and_who_used_it_can_be_found(stack, version):
    asked = {wanted: predict(stack, model_version=wanted, features=SETOSA) for wanted in ("latest", version)}

    for wanted, answer in asked.items():
        mlflow = stack.record(answer.json["invocation_id"])["mlflow"]
        assert (mlflow["model_alias"], mlflow["model_version"]) == (wanted, version)
    described = stack.get(f"/models/iris_model/versions/{version}").json
    users = stack.get(f"{described['used_by_url']}?limit=200").json["invocations"]
    ids = [user["invocation_id"] for user in users]
    assert {answer.json["invocation_id"] for answer in asked.values()} <= set(ids)
    assert described["made_by"]["invocation_id"] not in ids
    assert {user["function"] for user in users} == {"predict"}
    of_model = stack.get(f"/invocations?model_name=iris_model&model_version={version}&q=setosa").json["invocations"]
    found = {one["invocation_id"] for one in of_model if one["function"] == "predict"}
    assert set(ids) >= found >= {answer.json["invocation_id"] for answer in asked.values()}


def test_a_model_registered_anew_has_other_makers_and_users_though_its_numbers_are_the_same(stack, version):
    train = {"n_estimators": 2, "random_state": 1, "model_name": "registered_anew"}
    before = stack.invoke("train", train)
    assert predict(stack, model_name="registered_anew", features=SETOSA).result["model_version"] == "1"
    deleted = stack.request(
        "DELETE", "/mlflow/api/2.0/mlflow/registered-models/delete", json={"name": "registered_anew"}
    )
    assert deleted.status == 200, deleted.text

    after = stack.invoke("train", train)

    anew = stack.get("/models/registered_anew/versions/1").json
    assert before.result["model_version"] == after.result["model_version"] == "1"
    assert anew["made_by"]["invocation_id"] == after.json["invocation_id"]
    assert stack.get(anew["used_by_url"]).json["invocations"] == []


def test_a_damaged_onnx_form_is_replaced_by_the_other_one(stack, version):
    trained = stack.invoke("train", {"n_estimators": 30, "random_state": 1, "model_name": "damaged_twin"}).result
    number = trained["model_version"]
    rows = [SETOSA, VIRGINICA]
    sound = predict(stack, model_name="damaged_twin", model_version=number, features=rows).result
    place = stack.get(
        "/mlflow/api/2.0/mlflow/model-versions/get-download-uri", params={"name": "damaged_twin", "version": number}
    ).json["artifact_uri"]
    twin = f"/mlflow/api/2.0/mlflow-artifacts/artifacts/{place.removeprefix('mlflow-artifacts:/')}/model.onnx"
    half = stack.get(twin).content[:1000]
    assert stack.request("PUT", twin, data=half).status == 200

    answer = predict(stack, model_name="damaged_twin", model_version=number, features=rows)

    assert sound["model_format"] == "onnx"
    assert answer.result["model_format"] == "skops"
    assert answer.result["prediction"] == sound["prediction"]
    for damaged_row, sound_row in zip(answer.result["probabilities"], sound["probabilities"], strict=True):
        assert damaged_row == pytest.approx(sound_row, abs=1e-6)
    assert "; its other form is used" in stack.logs(answer.json["invocation_id"])


def test_a_feature_out_of_the_training_range_is_a_warning(stack, version):
    result = predict(stack, model_version="latest", features=[50.0, 3.5, 1.4, 0.2]).result

    assert result["prediction"] in CLASSES
    assert result["warnings"]


def test_an_unknown_model_names_what_exists(stack, version):
    problem = stack.invoke("predict", {"model_name": "nobody", "features": SETOSA}).problem(404, "handler_not_found")

    assert "nobody" in problem["detail"]
    assert "iris_model" in problem["detail"]
    assert problem["diagnosis"]["kind"] == "no_such_model"
    assert problem["invocation_id"]
    assert problem["log_file"] == f"logs/{problem['container_name']}.log"


@pytest.mark.parametrize("wanted", ["99999", "@nobody"])
def test_an_unknown_version_names_what_exists(stack, version, wanted):
    problem = predict(stack, model_version=wanted, features=SETOSA).problem(404, "handler_not_found")

    assert wanted.lstrip("@") in problem["detail"]
    assert problem["diagnosis"]["kind"] == "no_such_model"
    assert version in problem["detail"]


@pytest.mark.parametrize(
    "features",
    [
        [5.1, 3.5, 1.4],
        [5.1, 3.5, 1.4, 0.2, 9.9],
        [[5.1, 3.5, 1.4, 0.2], [5.1]],
        ["5.1", 3.5, 1.4, 0.2],
        [None, 3.5, 1.4, 0.2],
        [True, 3.5, 1.4, 0.2],
        [],
        [[]],
        {},
        {"colour": "red"},
        "setosa",
        5,
    ],
    ids=str,
)
def test_features_that_do_not_fit_are_refused_with_their_place(stack, version, features):
    answer = predict(stack, model_version="latest", features=features)

    assert answer.status == 422, answer.text
    problem = answer.problem(422, answer.json["code"])
    assert problem["code"] in ("parameters_invalid", "handler_refused")
    assert problem["errors"], problem
    assert all(error["pointer"].startswith("/features") for error in problem["errors"]), problem


@pytest.mark.parametrize("wanted", ["", "0", "-1", "1.5", "newest", "@", "1; drop table", "../1"])
def test_a_version_that_cannot_be_one_is_refused(stack, version, wanted):
    answer = predict(stack, model_version=wanted, features=SETOSA)

    assert answer.status in (404, 422), answer.text
    answer.problem(answer.status, answer.json["code"])


def _columns(stack, version):
    """Names of the columns, as the function's own example gives them."""
    examples = stack.get("/functions/predict").json["examples"]
    for example in examples:
        features = example["parameters"].get("features")
        if isinstance(features, dict):
            return list(features)
    return ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
