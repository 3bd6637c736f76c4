"""The two calls the customer wrote down, exactly as written, through curl."""

import json
import shutil
import subprocess

import pytest

TRAIN = '{"function": "train", "parameters": {"n_estimators": 100, "max_depth": 10, "test_size": 0.2}}'
PREDICT = (
    '{"function": "predict", "parameters": '
    '{"model_name": "iris_model", "model_version": "latest", "features": [5.1, 3.5, 1.4, 0.2]}}'
)

pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="the machine has no curl")


def curl(stack, body):
    command = ["curl", "-sS", "-X", "POST", f"{stack.url}/invoke", "-H", "Content-Type: application/json", "-d", body]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return json.loads(done.stdout)


def test_train_as_written(stack):
    answer = curl(stack, TRAIN)

    assert answer["status"] == "succeeded", answer
    assert answer["function"] == "train"
    assert answer["start"] in ("cold", "warm")
    assert answer["log_file"] == f"logs/{answer['container_name']}.log"
    assert set(answer["timings"]) >= {"queue_ms", "start_ms", "run_ms", "total_ms"}
    result = answer["result"]
    for measure in ("accuracy", "precision", "recall", "f1_score"):
        assert 0.8 <= result[measure] <= 1.0, (measure, result)
    assert result["training_time_seconds"] > 0
    assert result["model_name"] == "iris_model"
    assert result["model_uri"] == f"models:/iris_model/{result['model_version']}"
    assert result["run_id"]
    assert result["experiment_id"]
    assert result["parameters"]["n_estimators"] == 100
    assert result["parameters"]["max_depth"] == 10
    assert result["parameters"]["test_size"] == 0.2


def test_predict_as_written(stack):
    answer = curl(stack, PREDICT)

    assert answer["status"] == "succeeded", answer
    result = answer["result"]
    assert result["prediction"] == "setosa"
    assert set(result["probabilities"]) == {"setosa", "versicolor", "virginica"}
    assert sum(result["probabilities"].values()) == pytest.approx(1.0, abs=1e-4)
    assert result["model_name"] == "iris_model"
    assert result["model_uri"] == f"models:/iris_model/{result['model_version']}"


def test_the_answer_is_also_the_record(stack):
    answer = curl(stack, PREDICT)

    record = stack.settled(answer["invocation_id"])

    assert record["status"] == "succeeded"
    assert record["result"] == answer["result"]
    assert record["container_name"] == answer["container_name"]
    assert record["parameters"]["features"] == [5.1, 3.5, 1.4, 0.2]
    assert record["mlflow"]["model_name"] == "iris_model"
    assert record["mlflow"]["model_version"] == answer["result"]["model_version"]
    assert record["exit_code"] is None or record["exit_code"] == 137  # removed by us after its result, or not yet seen
    assert record["oom_killed"] in (None, False)
    assert record["attempt"] == 1
    assert record["created_at"].endswith("Z")
    assert record["created_at"] <= record["started_at"] <= record["finished_at"]
    assert record["image"]["id"].startswith("sha256:")
    assert record["image"]["tag"].startswith(f"{stack.name}/function-predict:")
