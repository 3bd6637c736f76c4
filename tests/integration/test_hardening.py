"""Every limit and every hardening line, read back from the engine on live containers."""

import pytest

MIB = 1024 * 1024


@pytest.fixture
def container(stack, running):
    """``docker inspect`` of a function's container while its handler runs."""
    answer, record = running(seconds=3)
    found = [found for found in stack.function_containers("sleep") if found["Name"] == f"/{record['container_name']}"]
    assert len(found) == 1
    yield found[0]
    assert answer.result().status == 200


def test_a_function_container(stack, container):
    config, host = container["Config"], container["HostConfig"]

    # who it is
    assert config["User"] == "10001:10001"
    assert [name.upper() for name in host["CapDrop"]] == ["ALL"]
    assert not host["CapAdd"]
    assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
    assert not [option for option in host["SecurityOpt"] if "unconfined" in option]
    assert host["Privileged"] is False
    assert not host["GroupAdd"]

    # what it can write to
    assert host["ReadonlyRootfs"] is True
    assert set(host["Tmpfs"]) == {"/tmp"}
    assert {"size=256m", "mode=1777", "nosuid", "nodev"} <= set(host["Tmpfs"]["/tmp"].split(","))
    assert not host["Binds"]
    assert not host.get("Mounts")
    assert [mount for mount in container["Mounts"] if mount["Type"] != "tmpfs"] == []
    assert not host["VolumesFrom"]
    assert not host["Devices"]
    assert not host.get("DeviceRequests")

    # how much it gets
    assert host["Memory"] == 64 * MIB  # its function.yaml says so
    assert host["MemorySwap"] == host["Memory"]
    assert host["NanoCpus"] > 0
    assert host["PidsLimit"] == 128
    assert host["ShmSize"] == 64 * MIB
    assert not host["OomKillDisable"]
    limits = {limit["Name"]: (limit["Soft"], limit["Hard"]) for limit in host["Ulimits"]}
    assert limits["nofile"] == (1024, 1024)
    assert limits["core"] == (0, 0)
    assert limits["fsize"][1] > 0

    # how it lives
    assert host["Init"] is True
    assert host["AutoRemove"] is False
    assert host["RestartPolicy"]["Name"] in ("", "no")
    assert host["LogConfig"]["Type"] == "json-file"
    assert host["LogConfig"]["Config"]["max-size"]
    assert host["LogConfig"]["Config"]["max-file"] == "2"

    # whom it can reach
    assert host["NetworkMode"] == f"{stack.name}-functions"
    assert list(container["NetworkSettings"]["Networks"]) == [f"{stack.name}-functions"]
    assert not host["PortBindings"]
    assert host["PublishAllPorts"] is False
    assert host["IpcMode"] == "private"
    assert host["PidMode"] == ""
    assert host["UTSMode"] == ""
    assert host["UsernsMode"] == ""
    assert not host.get("Sysctls")
    assert host["Runtime"] in ("runc", "")


def test_its_labels_and_its_name(stack, container):
    labels = container["Config"]["Labels"]

    name = container["Name"].lstrip("/")
    assert name.startswith("sleep-")
    assert len(name) <= 63
    assert labels["smlops.stack"] == stack.name
    assert labels["smlops.function"] == "sleep"
    assert labels["smlops.environment"] == name
    assert labels["smlops.role"] in ("invoke", "pool")
    assert labels["smlops.source"]
    assert labels["smlops.instance"]


def test_its_environment_has_fixed_names_and_no_parameters(container):
    names = {variable.partition("=")[0] for variable in container["Config"]["Env"]}

    assert {"AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION"} <= names
    assert {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "MLFLOW_TRACKING_URI", "LAMBDA_TASK_ROOT"} <= names
    assert "seconds" not in "".join(container["Config"]["Env"])
    assert not [name for name in names if "PASSWORD" in name or "DATABASE" in name or "DOCKER" in name]


def test_the_functions_network_is_closed(stack):
    from support.docker_cli import inspect

    (network,) = inspect(f"{stack.name}-functions", kind="network")

    assert network["Internal"] is True
    assert network["EnableIPv6"] is False
    assert network["Options"]["com.docker.network.bridge.inhibit_ipv4"] == "true"
    members = {entry["Name"] for entry in network["Containers"].values()}
    services = {stack.container(service)["Name"].lstrip("/") for service in ("runner", "mlflow")}
    functions = {found["Name"].lstrip("/") for found in stack.function_containers()}
    assert services <= members
    assert members <= services | functions


@pytest.mark.parametrize("service", ["runner", "mlflow", "nginx"])
def test_a_service(stack, service):
    container = stack.container(service)
    config, host = container["Config"], container["HostConfig"]

    assert container["State"]["Health"]["Status"] == "healthy"
    user = config["User"].partition(":")[0]
    assert user not in ("", "0", "root")
    assert [name.upper() for name in host["CapDrop"]] == ["ALL"]
    assert not host["CapAdd"]
    assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
    assert host["Privileged"] is False
    assert host["ReadonlyRootfs"] is True
    assert "/tmp" in host["Tmpfs"]
    assert host["PidsLimit"] > 0
    assert host["Memory"] > 0
    assert host["Init"] is True
    assert config["Labels"]["smlops.stack"] == stack.name
    assert host["PidMode"] == ""
    assert not host["Devices"]


def test_only_the_runner_holds_the_engines_socket(stack):
    for service in ("mlflow", "nginx"):
        sources = [mount.get("Source", "") for mount in stack.container(service)["Mounts"]]
        assert not [source for source in sources if source.endswith("docker.sock")], service

    mounts = {mount["Destination"]: mount for mount in stack.container("runner")["Mounts"]}
    assert "/var/run/docker.sock" in mounts
    assert mounts["/functions"]["RW"] is False
    assert mounts["/logs"]["RW"] is True


def test_the_runner_stops_within_its_grace_period(stack):
    assert stack.container("runner")["Config"]["StopTimeout"] == 90


def test_where_each_service_stands(stack):
    def networks(service):
        return set(stack.container(service)["NetworkSettings"]["Networks"])

    assert networks("runner") == {f"{stack.name}-functions", f"{stack.name}-outgoing"}
    assert f"{stack.name}-functions" in networks("mlflow")
    assert len(networks("mlflow")) == 2
    assert len(networks("nginx")) == 2


def test_logs_are_not_for_everybody(stack):
    answer = stack.invoke("echo", {})

    log = stack.logs_path / f"{answer.json['container_name']}.log"

    assert log.stat().st_mode & 0o777 == 0o640
    assert not log.is_symlink()
