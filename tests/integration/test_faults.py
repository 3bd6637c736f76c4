"""What people and machines do to a running system: kill, remove, stop, start again."""

import pytest
import requests

from support.docker_cli import docker, inspect
from support.waiting import wait_until

PREDICT = {"model_name": "iris_model", "model_version": "latest", "features": [5.1, 3.5, 1.4, 0.2]}
TERMINAL = {"succeeded", "failed", "timed_out", "cancelled", "lost"}


@pytest.fixture
def healed(stack):
    """Whatever the test did to the runner, the next test finds it ready."""
    yield
    runner = stack.container_id("runner")
    # A runner that is still shutting down takes a start for done.
    wait_until(
        lambda: docker("start", runner) and stack.get("/ready", timeout=5).status == 200,
        seconds=120,
        every=1,
        what="the runner is ready again",
    )


@pytest.mark.parametrize("command", [["kill"], ["rm", "-f"]], ids=["docker kill", "docker rm -f"])
def test_a_container_killed_in_mid_call(stack, running, command):
    answer, record = running(seconds=60)

    docker(*command, record["container_name"])

    problem = answer.result(timeout=20).problem(502, "killed")
    assert problem["diagnosis"]["kind"] == "killed_from_outside"
    assert problem["invocation_id"] == record["invocation_id"]
    assert problem["container_name"] == record["container_name"]
    final = stack.record(record["invocation_id"])
    assert final["status"] == "failed"
    assert final["error"]["code"] == "killed"
    assert f"START RequestId: {record['invocation_id']}" in stack.log_text(record["container_name"])


def test_a_container_stopped_in_mid_call(stack, running):
    answer, record = running(seconds=60)

    docker("stop", "-t", "1", record["container_name"])

    ended = answer.result(timeout=30)
    assert ended.status == 502, ended.text
    assert ended.json["code"] in ("killed", "exited_without_result")
    assert stack.record(record["invocation_id"])["status"] == "failed"


def test_others_go_on_while_one_is_killed(stack, running, background):
    answer, record = running(seconds=60)
    other = background.submit(stack.invoke, "sleep", {"seconds": 2})

    docker("kill", record["container_name"])

    assert answer.result(timeout=20).status == 502
    assert other.result(timeout=60).status == 200


@pytest.fixture
def foreign(stack):
    """Containers that look a little like ours and are not."""
    image = stack.container("prepare")["Image"]  # without labels of ours, unlike the images of the services
    options = ["run", "-d", "--network", "none", "--entrypoint", "sleep"]
    made = [
        docker(
            *options, "--label", f"smlops.stack={stack.name}-other", "--label", "smlops.function=sleep", image, "300"
        ),
        docker(*options, "--label", "smlops.function=sleep", "--label", "smlops.role=invoke", image, "300"),
        docker(*options, "--name", f"sleep-{stack.port:012x}", image, "300"),
    ]
    made = [identifier.strip() for identifier in made]
    yield made
    docker("rm", "-f", *made, check=False)


@pytest.mark.timeout(240)
def test_the_runner_killed_in_mid_call(stack, running, foreign, healed):
    answer, record = running(seconds=120)
    (container,) = stack.function_containers("sleep")
    runner = stack.container_id("runner")

    docker("kill", "--signal", "KILL", runner)
    try:
        broken = answer.result(timeout=30)
    except requests.ConnectionError:
        pass
    else:
        assert broken.status in (502, 503, 504)
        broken.problem(broken.status, broken.json["code"])
    docker("start", runner)
    stack.wait_until_ready()

    assert stack.record(record["invocation_id"])["status"] == "running"  # its container outlived the runner
    assert stack.post(f"/invocations/{record['invocation_id']}/cancel").json["status"] == "cancelled"
    wait_until(lambda: not inspect(container["Id"]), seconds=60, what="the container is removed")
    assert len(inspect(*foreign)) == 3
    assert all(found["State"]["Running"] for found in inspect(*foreign))
    assert (stack.logs_path / f"{record['container_name']}.log").is_file()
    assert stack.invoke("echo", {}).status == 200


@pytest.mark.timeout(240)
def test_shutting_down_lets_running_calls_finish_and_takes_no_new_ones(stack, running, background, healed):
    answer, record = running(seconds=12)
    runner = stack.container_id("runner")

    stopping = background.submit(docker, "stop", "--time", "90", runner)
    refused = wait_until(
        lambda: (found := stack.invoke("echo", {})).status != 200 and found, seconds=10, what="new calls are refused"
    )

    assert not answer.done()
    assert refused.status == 503, refused.text
    refused.problem(503, refused.json["code"])
    assert int(refused.headers["Retry-After"]) >= 1
    assert stack.get("/ready").status == 503
    assert answer.result(timeout=60).status == 200
    stopping.result(timeout=60)
    assert stack.container("runner")["State"]["ExitCode"] == 0
    docker("start", runner)
    stack.wait_until_ready()
    assert stack.record(record["invocation_id"])["status"] == "succeeded"


def test_nginx_answers_in_json_while_the_runner_is_away(stack, healed):
    docker("stop", "--time", "20", stack.container_id("runner"))

    for answer in (stack.get("/health"), stack.invoke("echo", {}), stack.get("/invocations"), stack.get("/docs")):
        assert answer.status in (502, 503), answer.text
        answer.problem(answer.status, answer.json["code"])
    assert int(stack.invoke("echo", {}).headers["Retry-After"]) >= 1
    assert stack.get("/").status == 200
    assert stack.get("/mlflow/health").status == 200


@pytest.mark.timeout(240)
def test_mlflow_away_is_said_quickly_and_other_functions_go_on(stack):
    mlflow = stack.container_id("mlflow")
    docker("stop", "--time", "10", mlflow)
    try:
        answer = stack.invoke("predict", PREDICT)
        answer.problem(503, "dependency_unavailable")
        assert answer.seconds < 30
        assert "MLflow" in answer.json["detail"]
        assert answer.json["diagnosis"]["kind"] == "mlflow_unreachable"
        assert stack.invoke("echo", {}).status == 200
        stack.get("/models").problem(502, "mlflow_unavailable")
        ready = stack.get("/ready")
        assert ready.json["checks"]["mlflow"]["ok"] is False
        assert stack.get("/").status == 200
        stack.get("/mlflow/").problem(502, "mlflow_unavailable")
        # Nobody waits for this one, so it is put back and tried again.
        later = stack.invoke("predict", PREDICT, headers={"Prefer": "respond-async"}).json["invocation_id"]
        put_back = wait_until(lambda: (found := stack.record(later))["attempt"] > 1 and found, seconds=60)
        assert put_back["error"]["code"] == "dependency_unavailable"
    finally:
        docker("start", mlflow)
        wait_until(lambda: stack.get("/mlflow/health").status == 200, seconds=90, what="MLflow is back", every=0.5)
        stack.wait_until_ready()
    ended = wait_until(lambda: (found := stack.record(later))["status"] in TERMINAL and found, seconds=60)
    assert ended["status"] == "succeeded", ended
