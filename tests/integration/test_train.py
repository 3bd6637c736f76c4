"""Training: what is measured, logged and registered."""

import pytest
import yaml


@pytest.fixture(scope="module")
def trained(stack):
    return stack.invoke("train", {"n_estimators": 20, "random_state": 7, "max_features": "sqrt"})


def origin(stack, answer):
    """The tags that lead from MLflow to the record."""
    record = stack.record(answer.json["invocation_id"])
    return {
        "smlops.invocation_id": record["invocation_id"],
        "smlops.function": "train",
        "smlops.container_name": record["container_name"],
        "smlops.log_file": record["log_file"],
        "smlops.image_id": record["image"]["id"],
        "smlops.base_image_id": record["image"]["base_id"],
        "smlops.source_hash": record["source_hash"],
    }


def test_it_works(trained):
    assert trained.result["accuracy"] > 0.8


def test_the_run_is_in_mlflow_with_parameters_measures_and_identity(stack, trained):
    result = trained.result

    runs = stack.get(f"/experiments/{result['experiment_id']}/runs?limit=200").json["runs"]
    run = next(run for run in runs if run["run_id"] == result["run_id"])

    assert run["status"] == "FINISHED"
    assert run["parameters"]["n_estimators"] == "20"
    assert run["metrics"]["accuracy"] == pytest.approx(result["accuracy"])
    assert origin(stack, trained).items() <= run["tags"].items()
    assert run["mlflow_url"] == f"/mlflow/#/experiments/{result['experiment_id']}/runs/{result['run_id']}"


def test_pictures_report_and_model_are_artifacts_of_the_run(stack, trained):
    paths = set(_artifacts(stack, trained.result["run_id"]))

    assert any("confusion" in path and path.endswith(".png") for path in paths), paths
    assert any("confusion" in path and path.endswith(".json") for path in paths), paths
    assert any("importance" in path and path.endswith(".png") for path in paths), paths
    assert any("importance" in path and path.endswith(".json") for path in paths), paths
    assert any("report" in path for path in paths), paths


def test_the_version_is_registered_with_its_run(stack, trained):
    result = trained.result

    version = stack.get(f"/models/iris_model/versions/{result['model_version']}").json

    assert version["run_id"] == result["run_id"]
    assert version["model_uri"] == result["model_uri"]
    assert version["metrics"]["accuracy"] == pytest.approx(result["accuracy"])
    assert version["parameters"]["n_estimators"] == "20"
    assert version["status"] == "READY"
    assert version["tags"] == origin(stack, trained)
    assert version["made_by"]["invocation_id"] == trained.json["invocation_id"]
    assert version["made_by"]["function"] == "train"
    assert stack.get(version["used_by_url"]).json == {"invocations": [], "next": None}


def test_the_model_has_a_second_form_that_was_compared_with_the_first(stack, trained):
    version = {"name": "iris_model", "version": trained.result["model_version"]}
    place = stack.get("/mlflow/api/2.0/mlflow/model-versions/get-download-uri", params=version).json["artifact_uri"]
    folder = f"/mlflow/api/2.0/mlflow-artifacts/artifacts/{place.removeprefix('mlflow-artifacts:/')}"

    described = yaml.safe_load(stack.get(f"{folder}/MLmodel").text)

    assert {"sklearn", "onnx", "python_function"} <= set(described["flavors"])
    assert described["metadata"]["onnx_twin"]["compared_rows"] == 150
    assert described["metadata"]["onnx_twin"]["largest_difference"] < 1e-5
    for file in (described["flavors"]["sklearn"]["pickled_model"], described["flavors"]["onnx"]["data"]):
        assert stack.get(f"{folder}/{file}").status == 200, file
    assert "ONNX twin: same labels for all 150 rows" in stack.logs(trained.json["invocation_id"])


def test_the_record_ties_invocation_run_and_model_together(stack, trained):
    record = stack.record(trained.json["invocation_id"])

    assert record["mlflow"] == {
        key: trained.result[key] for key in ("run_id", "experiment_id", "model_name", "model_version", "model_uri")
    } | {"model_alias": None}
    by_run = stack.get(f"/invocations?run_id={trained.result['run_id']}").json["invocations"]
    assert [found["invocation_id"] for found in by_run] == [record["invocation_id"]]


def test_the_same_seed_gives_the_same_measures(stack, trained):
    again = stack.invoke("train", {"n_estimators": 20, "random_state": 7, "max_features": "sqrt"})

    for measure in ("accuracy", "precision", "recall", "f1_score"):
        assert again.result[measure] == trained.result[measure]
    assert int(again.result["model_version"]) > int(trained.result["model_version"])


def test_tuning_searches_and_registers_the_best(stack):
    answer = stack.invoke("train", {"tune": True, "n_trials": 3, "cv": 3, "test_size": 0.25}, timeout=300)

    result = answer.result
    assert result["n_trials"] == 3
    assert 0.8 <= result["best_score"] <= 1.0
    assert result["best_parameters"]
    for name, value in result["best_parameters"].items():
        assert result["parameters"][name] == value
    runs = stack.get(f"/experiments/{result['experiment_id']}/runs?limit=200").json["runs"]
    children = [run for run in runs if run["tags"].get("mlflow.parentRunId") == result["run_id"]]
    assert len(children) == 3


def test_tuning_stays_in_the_search_space(stack):
    space = {"n_estimators": [11, 13], "max_depth": [2, 3]}

    result = stack.invoke(
        "train", {"tune": True, "search_space": space, "n_trials": 2, "cv": 3, "scoring": "f1_macro"}, timeout=300
    ).result

    assert result["best_parameters"]["n_estimators"] in space["n_estimators"]
    assert result["best_parameters"]["max_depth"] in space["max_depth"]


@pytest.mark.parametrize(
    ("parameters", "pointer"),
    [
        ({"n_estimators": 0}, "/n_estimators"),
        ({"n_estimators": -1}, "/n_estimators"),
        ({"n_estimators": 1.5}, "/n_estimators"),
        ({"n_estimators": True}, "/n_estimators"),
        ({"n_estimators": "10"}, "/n_estimators"),
        ({"n_estimators": 10**9}, "/n_estimators"),
        ({"test_size": 0}, "/test_size"),
        ({"test_size": 1}, "/test_size"),
        ({"test_size": -0.1}, "/test_size"),
        ({"test_size": 2}, "/test_size"),
        ({"test_size": 1e-9}, "/test_size"),
        ({"max_depth": 0}, "/max_depth"),
        ({"max_depth": -3}, "/max_depth"),
        ({"criterion": "magic"}, "/criterion"),
        ({"n_estimator": 5}, "/n_estimator"),
    ],
    ids=str,
)
def test_impossible_parameters_are_refused_before_anything_starts(stack, parameters, pointer):
    newest = _newest(stack)

    problem = stack.invoke("train", parameters).problem(422, "parameters_invalid")

    assert pointer in [error["pointer"] for error in problem["errors"]], problem
    assert _newest(stack) == newest


def _newest(stack):
    found = stack.get("/invocations?limit=1").json["invocations"]
    return found[0]["invocation_id"] if found else None


def _artifacts(stack, run_id, path=""):
    listing = stack.get("/mlflow/api/2.0/mlflow/artifacts/list", params={"run_id": run_id, "path": path}).json
    for file in listing.get("files", []):
        if file.get("is_dir"):
            yield from _artifacts(stack, run_id, file["path"])
        else:
            yield file["path"]
