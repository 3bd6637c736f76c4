"""What a function can reach: the runtime API for its own invocation, MLflow, and nothing else."""

import pytest

from support.docker_cli import docker, inspect

SNOOP = '''\
    import http.client, os

    def handler(event, context):
        """Ask the runtime API for things of others, in several disguises; returns the statuses."""
        address = os.environ["AWS_LAMBDA_RUNTIME_API"]
        host, port = address.rsplit(":", 1)
        answers = {}
        for label, shown in {
            "own": address, "none": "", "other": "0" * 33 + ".runtime:9001", "bare": "runtime:9001",
        }.items():
            for method, path in [
                ("POST", f"/2018-06-01/runtime/invocation/{event['victim']}/response"),
                ("POST", f"/2018-06-01/runtime/invocation/{event['victim']}/error"),
                *([("GET", "/2018-06-01/runtime/invocation/next")] if label != "own" else []),
                ("GET", "/invocations"), ("GET", "/debug"), ("POST", "/invoke"),
            ]:
                connection = http.client.HTTPConnection(host, int(port), timeout=5)
                try:
                    connection.request(method, path, body=b'"stolen"' if method == "POST" else None,
                                       headers={"Host": shown, "Content-Type": "application/json"})
                    answers[f"{label} {method} {path}"] = connection.getresponse().status
                except OSError as error:
                    answers[f"{label} {method} {path}"] = type(error).__name__
                finally:
                    connection.close()
        return answers
    '''


def address(stack, service, network):
    return stack.container(service)["NetworkSettings"]["Networks"][network]["IPAddress"]


def test_only_the_runtime_api_and_mlflow_are_open(stack):
    functions = f"{stack.name}-functions"
    runner, mlflow = address(stack, "runner", functions), address(stack, "mlflow", functions)
    ports = (22, 80, 443, 2375, 2376, 5000, 5001, 8000, 8080, 9000, 9001, 9090)
    allowed = {f"{runner}:9001", f"{mlflow}:5000"}
    targets = {f"{host}:{port}" for host in (runner, mlflow) for port in ports}
    # The services by their other addresses, and every gateway this engine has, which is the host itself
    for service in ("nginx", "mlflow", "runner"):
        for name, network in stack.container(service)["NetworkSettings"]["Networks"].items():
            if name != functions:
                targets |= {f"{network['IPAddress']}:{port}" for port in (80, 5000, 8080, 9001)}
    for network in inspect(*docker("network", "ls", "-q").split(), kind="network"):
        for entry in network["IPAM"]["Config"] or ():
            gateway = entry.get("Gateway") or entry["Subnet"].split("/")[0].rsplit(".", 1)[0] + ".1"
            targets |= {f"{gateway}:{port}" for port in (22, 53, 80, stack.port)}
    targets |= {"169.254.169.254:80", "1.1.1.1:443", "8.8.8.8:53", f"127.0.0.1:{stack.port}", "localhost:9001"}

    result = stack.invoke("tries-the-network", {"targets": sorted(targets | allowed)}).result

    assert set(result["opened"]) == allowed


def test_other_function_containers_do_not_answer(stack, running):
    answer, record = running(seconds=8)
    (other,) = inspect(record["container_name"])
    host = other["NetworkSettings"]["Networks"][f"{stack.name}-functions"]["IPAddress"]

    targets = [f"{host}:{port}" for port in (22, 80, 8080, 9001)]
    assert stack.invoke("tries-the-network", {"targets": targets}).result["opened"] == []
    assert answer.result().status == 200


def test_names_of_the_outside_are_unknown(stack):
    names = ["example.com", "pypi.org", "nginx", "mlflow"]

    result = stack.invoke("tries-the-network", {"targets": names}).result

    assert result["opened"] == ["mlflow"], result["outcomes"]


def test_one_container_cannot_answer_for_another(stack, drop, running):
    drop("snoop", handler=SNOOP)
    answer, victim = running(seconds=8)

    statuses = stack.invoke("snoop", {"victim": victim["invocation_id"]}).result

    assert statuses
    for attempt, status in statuses.items():
        assert isinstance(status, str) or 400 <= status < 500, (attempt, status)
    outcome = answer.result()
    assert outcome.status == 200
    assert "stolen" not in outcome.text


def test_what_a_process_in_a_container_is(stack):
    seen = stack.invoke("inspects", {}).result

    status = {name: value.strip() for name, value in seen["status"].items()}
    for mask in ("CapEff", "CapBnd", "CapPrm", "CapInh", "CapAmb"):
        assert int(status[mask], 16) == 0, mask
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert status["Uid"].split() == ["10001"] * 4
    assert status["Gid"].split() == ["10001"] * 4
    assert seen["groups"] in ([], [10001])
    assert seen["pid"] != 1
    assert seen["limits"]["RLIMIT_NOFILE"] == 1024
    assert seen["limits"]["RLIMIT_CORE"] == 0
    assert seen["limits"]["RLIMIT_FSIZE"] > 0
    root = next(mount for mount in seen["mounts"] if mount[1] == "/")
    assert "ro" in root[3].split(",")
    tmp = next(mount for mount in seen["mounts"] if mount[1] == "/tmp")
    assert {"nosuid", "nodev", "noexec"} <= set(tmp[3].split(","))
    assert not [mount for mount in seen["mounts"] if "docker.sock" in mount[1]]
    assert not {"sda", "vda", "kvm", "mem", "fuse"} & set(seen["devices"])


def test_the_environment_and_context_of_a_handler(stack):
    answer = stack.invoke("inspects", {})

    variables, context = answer.result["environment"], answer.result["context"]
    record = stack.record(answer.json["invocation_id"])
    assert variables["AWS_LAMBDA_FUNCTION_NAME"] == context["function_name"] == "inspects"
    assert variables["AWS_LAMBDA_FUNCTION_VERSION"] == context["function_version"] == record["source_hash"][:12]
    assert variables["AWS_LAMBDA_LOG_STREAM_NAME"] == context["log_stream_name"] == answer.json["container_name"]
    assert context["log_group_name"] == f"/{stack.name}/inspects"
    assert context["aws_request_id"] == answer.json["invocation_id"]
    assert context["invoked_function_arn"]
    assert 0 < context["remaining_ms"] <= record["timeout_seconds"] * 1000
    assert int(context["memory_limit_in_mb"]) == record["memory_limit_mb"]
    assert variables["MLFLOW_TRACKING_URI"] == "http://mlflow:5000/mlflow"
    assert variables["SMLOPS_CONTAINER_NAME"] == answer.json["container_name"]
    assert variables["SMLOPS_IMAGE_ID"] == record["image"]["id"]
    assert variables["SMLOPS_SOURCE_HASH"] == record["source_hash"]
    assert variables["LAMBDA_TASK_ROOT"] == "/var/task" == answer.result["working_directory"]
    assert variables["HOME"] == "/tmp"
    assert variables["GREETING"] == "hello"
    assert variables["OMP_NUM_THREADS"] == variables["OPENBLAS_NUM_THREADS"]
    assert not [name for name in variables if "PASSWORD" in name or "DATABASE" in name or "SOCKET" in name]


def test_nothing_can_be_written_or_run_but_in_tmp(stack):
    result = stack.invoke("writes-root", {}).result

    assert result["written"].pop("/tmp/marker") == "written"
    assert set(result["written"].values()) <= {"EROFS", "EACCES"}, result
    assert result["run_from_tmp"] == "EACCES"


def test_nothing_of_an_earlier_invocation_is_left(stack):
    for _ in range(2):
        result = stack.invoke("remembers", {}).result
        assert result["invocations"] == 1
        assert result["found_marker"] is False
        assert result["processes"] < 6


@pytest.mark.parametrize("reserved", ["AWS_LAMBDA_RUNTIME_API", "MLFLOW_TRACKING_URI", "PATH", "LD_PRELOAD"])
def test_a_manifest_cannot_turn_the_inner_doors(stack, drop, reserved):
    drop("turned", manifest=f"environment: {{{reserved}: 'http://evil.test'}}\n")

    stack.invoke("turned", {}).problem(409, "function_invalid")
