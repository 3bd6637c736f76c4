"""MLflow behind the door: its pages, a client outside, and that it forgets nothing."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.docker_cli import docker
from support.waiting import wait_until


@pytest.fixture(scope="module")
def outside(stack):
    """What a client saw that only knows http://localhost/mlflow."""
    program = Path(__file__).with_name("outside_client.py")
    environment = {**stack.environment, "MLFLOW_TRACKING_URI": "", "NO_PROXY": "localhost", "no_proxy": "localhost"}
    done = subprocess.run(
        [sys.executable, program, f"{stack.url}/mlflow"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.timeout(300)
def test_a_client_outside_logs_and_stores_200_megabytes(stack, outside):
    assert outside["same_bytes"]
    runs = stack.get(f"/experiments/{outside['experiment_id']}/runs").json["runs"]
    run = next(run for run in runs if run["run_id"] == outside["run_id"])
    assert run["metrics"]["height"] == 1.5
    assert run["parameters"]["colour"] == "blue"


@pytest.mark.timeout(300)
def test_a_client_outside_registers_a_model(stack, outside):
    assert outside["predictions_agree"]
    version = stack.get("/models/outside_model/versions/latest").json
    assert version["version"] == outside["version"]
    assert "outside_model" in [model["name"] for model in stack.get("/models").json["models"]]


@pytest.mark.timeout(300)
def test_a_model_from_outside_answers_in_the_only_form_it_has(stack, outside):
    parameters = {"model_name": "outside_model", "features": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]}

    result = stack.invoke("predict", parameters).result

    assert result["prediction"] == [0, 2]
    assert result["model_version"] == outside["version"]
    assert result["model_format"] == "skops"


def test_its_page_and_everything_the_page_asks_for(stack):
    page = stack.get("/mlflow/")

    assert page.status == 200
    assert page.headers["Content-Type"].startswith("text/html")
    files = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page.text)
    assert files
    for file in files:
        address = file if file.startswith("/") else f"/mlflow/{file.removeprefix('./')}"
        assert stack.get(address).status == 200, address


def test_without_the_slash_it_leads_there(stack):
    answer = stack.get("/mlflow")

    assert answer.status in (301, 302, 307, 308)
    assert answer.headers["Location"].removeprefix(stack.url) == "/mlflow/"


def test_its_api_in_both_spellings_of_the_page(stack):
    for api in ("api", "ajax-api"):
        answer = stack.post(f"/mlflow/{api}/2.0/mlflow/experiments/search", json={"max_results": 5})
        assert answer.status == 200, answer.text
        assert answer.json["experiments"]


@pytest.mark.parametrize(
    "path",
    [
        "/mlflow/get-artifact?path=../../../etc/passwd&run_uuid={run}",
        "/mlflow/get-artifact?path=%2fetc%2fpasswd&run_uuid={run}",
        "/mlflow/get-artifact?path=..%252f..%252fetc%252fpasswd&run_uuid={run}",
        "/mlflow/api/2.0/mlflow-artifacts/artifacts/..%2f..%2f..%2fetc%2fpasswd",
        "/mlflow/api/2.0/mlflow-artifacts/artifacts/%2e%2e/%2e%2e/etc/passwd",
        "/mlflow/model-versions/get-artifact?name=iris_model&version=1&path=../../../etc/passwd",
    ],
)
def test_artifacts_do_not_lead_out_of_their_folder(stack, outside, path):
    answer = stack.get(path.format(run=outside["run_id"]))

    assert answer.status >= 400
    assert "root:x:0" not in answer.text


def test_an_artifact_with_a_script_cannot_act_as_our_page(stack, outside):
    run = outside["run_id"]
    experiment = outside["experiment_id"]
    path = f"/mlflow/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/page.html"
    assert stack.request("PUT", path, data=b"<script>alert(1)</script>").status == 200

    for address in (path, f"/mlflow/get-artifact?path=page.html&run_uuid={run}"):
        answer = stack.get(address)
        assert answer.status == 200, answer.text
        assert "sandbox" in answer.headers["Content-Security-Policy"]


@pytest.mark.timeout(240)
def test_a_restart_forgets_nothing(stack, outside):
    docker("restart", "--time", "20", stack.container_id("mlflow"), timeout=60)
    wait_until(lambda: stack.get("/mlflow/health").status == 200, seconds=120, what="MLflow is back", every=0.5)

    run = stack.get("/mlflow/api/2.0/mlflow/runs/get", params={"run_id": outside["run_id"]}).json["run"]
    assert run["data"]["metrics"][0]["value"] == 1.5
    assert stack.get("/models/outside_model/versions/latest").json["version"] == outside["version"]
    experiment = outside["experiment_id"]
    size = stack.get(
        f"/mlflow/api/2.0/mlflow-artifacts/artifacts/{experiment}/{outside['run_id']}/artifacts/large.bin"
    ).content
    assert len(size) == 200 * 1024 * 1024
    stack.wait_until_ready()
