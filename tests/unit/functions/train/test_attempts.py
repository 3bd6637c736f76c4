"""What is registered once stays registered once, however often the invocation is attempted; with a real MLflow.

In processes of their own, because MLflow warns when it is imported and keeps global state; and because an attempt may
lose its process.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TRAIN = Path(__file__).resolve().parents[4] / "functions" / "train"
PROGRAM = """
import json, os
from types import SimpleNamespace
import mlflow
import handler, tracking

def attempt(invocation_id, *, dies_after=None):
    # A child for each, made before MLflow has opened its database.
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        if dies_after:
            module, name = dies_after
            function = getattr(module, name)
            setattr(module, name, lambda *given, **named: (function(*given, **named), os._exit(9)))
        parameters = {"n_estimators": 2, "random_state": 1, "model_name": "m"}
        result = handler.handler(parameters, SimpleNamespace(aws_request_id=invocation_id))
        os.write(writing, json.dumps(result).encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as answer:
        result = answer.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (9 if dies_after else 0)
    return json.loads(result) if result else None

results = [attempt("i1"), attempt("i1")]
attempt("i2", dies_after=(mlflow, "register_model"))
results.append(attempt("i2"))
attempt("i3", dies_after=(tracking, "record_model"))
results.append(attempt("i3"))

client = mlflow.MlflowClient()
runs = client.search_runs(["1"], order_by=["start_time ASC"])
print(json.dumps({
    "results": results,
    "runs": [{"id": run.info.run_id, "status": run.info.status, "tags": run.data.tags} for run in runs],
    "versions": [
        {"run_id": version.run_id, "tags": version.tags}
        for version in client.search_model_versions("name = 'm'", order_by=["version_number ASC"])
    ],
}))
"""
CONTAINER = {
    "AWS_LAMBDA_FUNCTION_NAME": "train",
    "SMLOPS_CONTAINER_NAME": "train-0123456789ab",
    "SMLOPS_IMAGE_ID": "sha256:1",
    "SMLOPS_BASE_IMAGE_ID": "sha256:0",
    "SMLOPS_SOURCE_HASH": "abc",
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attempts")
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        check=False,
        cwd=folder,
        env={
            **CONTAINER,
            "PYTHONPATH": str(TRAIN),
            "HOME": str(folder),
            "PATH": "",
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        },
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def test_an_attempt_that_is_repeated_has_the_same_result(done):
    first, again, *_ = done["results"]
    assert again == first
    assert first["model_version"] == "1"


def test_the_result_has_what_shows_where_the_model_errs(done):
    result = done["results"][0]
    table = result["confusion_matrix"]
    rows = sum(map(sum, table["matrix"]))
    assert table["labels"] == ["setosa", "versicolor", "virginica"]
    assert [len(row) for row in table["matrix"]] == [3, 3, 3]
    assert sum(row[index] for index, row in enumerate(table["matrix"])) / rows == pytest.approx(result["accuracy"])
    assert list(result["feature_importances"].values()) == sorted(result["feature_importances"].values(), reverse=True)
    assert sum(result["feature_importances"].values()) == pytest.approx(1)


def test_one_that_died_after_it_had_registered_is_not_trained_again(done):
    first, _, after, _ = done["results"]
    run = done["runs"][1]
    assert (after["model_version"], after["run_id"], run["status"]) == ("2", run["id"], "FINISHED")
    assert after.keys() == first.keys()
    assert after["accuracy"] == first["accuracy"]


def test_one_that_died_before_is_trained_again_and_its_run_is_closed(done):
    *_, anew = done["results"]
    assert [run["status"] for run in done["runs"]] == ["FINISHED", "FINISHED", "KILLED", "FINISHED"]
    assert (anew["model_version"], anew["run_id"]) == ("3", done["runs"][3]["id"])


def test_each_is_registered_once(done):
    assert [version["run_id"] for version in done["versions"]] == [result["run_id"] for result in done["results"][1:]]


def test_run_and_version_say_where_they_come_from(done):
    origin = {
        "smlops.invocation_id": "i1",
        "smlops.function": "train",
        "smlops.container_name": "train-0123456789ab",
        "smlops.log_file": "logs/train-0123456789ab.log",
        "smlops.image_id": "sha256:1",
        "smlops.base_image_id": "sha256:0",
        "smlops.source_hash": "abc",
    }
    assert done["versions"][0]["tags"] == origin
    assert origin.items() <= done["runs"][0]["tags"].items()
