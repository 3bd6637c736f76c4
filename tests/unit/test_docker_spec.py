import re
from pathlib import Path

import pytest

from function_runner.docker_spec import build_spec, container_spec, image_tag, new_container_name, new_token
from function_runner.function import Function
from function_runner.invocation import ModelVersion
from function_runner.settings import Settings

FUNCTION = Function(
    name="train",
    folder=Path("train"),
    source_hash="abcdef" * 10 + "abcd",
    description="",
    timeout=30,
    memory_mb=256,
    cpus=4,
    warm=0,
    warm_max=0,
    warm_max_age=3600,
    max_concurrency=None,
    invocations_per_container=1,
    max_idle=300,
    schema=None,
    environment={"LEVEL": "3"},
)
SETTINGS = Settings(stack="house", functions_network="house-functions", https_proxy="http://proxy:3128")


def specified(**more):
    return container_spec(
        FUNCTION,
        SETTINGS,
        name="train-0123456789ab",
        token="t" * 32,
        image="house/function-train:abcdefabcdef",
        image_id="sha256:1",
        base_image_id="sha256:base",
        runtime_address=("10.1.2.3", 9001),
        instance="i1",
        host_cpus=2,
        **more,
    )


@pytest.fixture
def spec():
    return specified()


@pytest.fixture
def host_config(spec):
    return spec.config["HostConfig"]


@pytest.fixture
def environment(spec):
    return dict(entry.split("=", 1) for entry in spec.config["Env"])


def test_it_works(spec):
    assert spec.name == "train-0123456789ab"
    assert spec.image == "house/function-train:abcdefabcdef"


def test_every_hardening_line_is_there(spec, host_config):
    assert spec.config["User"] == "10001:10001"
    expected = {
        "NetworkMode": "house-functions",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "IpcMode": "private",
        "Init": True,
        "Privileged": False,
        "AutoRemove": False,
        "RestartPolicy": {"Name": "no"},
        "Dns": ["192.0.2.1"],
        "PidsLimit": 128,
    }
    assert {key: host_config[key] for key in expected} == expected
    assert host_config["Tmpfs"] == {"/tmp": "rw,noexec,nosuid,nodev,size=256m,mode=1777"}
    assert {limit["Name"] for limit in host_config["Ulimits"]} == {"nofile", "core", "fsize"}


def test_nothing_of_the_host_gets_in(spec, host_config):
    forbidden = {"Binds", "Mounts", "VolumesFrom", "CapAdd", "Devices", "DeviceRequests", "PidMode", "UTSMode"}
    forbidden |= {"UsernsMode", "CgroupParent", "GroupAdd", "PortBindings", "PublishAllPorts", "Sysctls", "Runtime"}
    assert not forbidden & set(host_config)
    assert not {"Entrypoint", "Cmd", "Volumes", "ExposedPorts"} & set(spec.config)


def test_swap_does_not_extend_the_memory_limit(host_config):
    assert host_config["Memory"] == host_config["MemorySwap"] == 256 * 1024 * 1024


def test_no_more_cpus_than_the_machine_has(host_config, environment):
    assert host_config["NanoCpus"] == 2_000_000_000
    assert environment["OMP_NUM_THREADS"] == "2"


def test_the_engine_keeps_more_output_than_we_do(host_config):
    assert int(host_config["LogConfig"]["Config"]["max-size"]) >= 1.5 * SETTINGS.log_max_bytes


def test_the_token_is_in_the_host_name_it_calls(host_config, environment):
    assert environment["AWS_LAMBDA_RUNTIME_API"] == f"{'t' * 32}.runtime:9001"
    assert host_config["ExtraHosts"] == [f"{'t' * 32}.runtime:10.1.2.3"]
    assert ".runtime" in environment["no_proxy"].split(",")


def test_the_container_knows_who_it_is(spec, environment):
    assert environment["AWS_LAMBDA_LOG_STREAM_NAME"] == environment["SMLOPS_CONTAINER_NAME"] == spec.name
    assert environment["AWS_LAMBDA_FUNCTION_VERSION"] == "abcdefabcdef"
    assert environment["SMLOPS_IMAGE_ID"] == "sha256:1"
    assert environment["SMLOPS_BASE_IMAGE_ID"] == "sha256:base"
    assert environment["LEVEL"] == "3"


def test_our_labels_are_on_it(spec):
    assert spec.config["Labels"]["smlops.stack"] == "house"
    assert spec.config["Labels"]["smlops.function"] == "train"
    assert spec.config["Labels"]["smlops.environment"] == spec.name


def test_an_image_is_named_after_its_content():
    assert image_tag(FUNCTION, SETTINGS) == "house/function-train:abcdefabcdef"


def test_a_build_gets_the_base_image_and_the_proxy():
    spec = build_spec(FUNCTION, SETTINGS, base_id="sha256:base")
    assert spec.arguments["PYTHON_IMAGE"] == SETTINGS.python_image
    assert spec.arguments["HTTPS_PROXY"] == spec.arguments["https_proxy"] == "http://proxy:3128"
    assert "HTTP_PROXY" not in spec.arguments
    assert spec.labels["smlops.base"] == "sha256:base"


def test_names_and_tokens_fit_where_they_go():
    name = new_container_name("f" * 41)
    assert re.fullmatch(r"f{41}-[0-9a-f]{12}", name)
    assert len(name) <= 63  # a host name label
    assert re.fullmatch(r"[0-9a-f]{32}", new_token())


def test_one_that_is_made_in_advance_yields_the_processor_and_says_so():
    waiting, wanted = specified(in_advance=True).config, specified().config
    assert waiting["HostConfig"]["CpuShares"] < wanted["HostConfig"]["CpuShares"] == 1024
    assert (waiting["Labels"]["smlops.role"], wanted["Labels"]["smlops.role"]) == ("pool", "invoke")
    assert "AWS_LAMBDA_INITIALIZATION_TYPE=provisioned-concurrency" in waiting["Env"]
    assert "AWS_LAMBDA_INITIALIZATION_TYPE=on-demand" in wanted["Env"]


def test_it_is_told_which_model_to_load_when_that_is_known():
    told = specified(model=ModelVersion("iris", "3")).config["Env"]
    assert {"SMLOPS_MODEL_NAME=iris", "SMLOPS_MODEL_VERSION=3"} <= set(told)
    assert not [variable for variable in specified().config["Env"] if variable.startswith("SMLOPS_MODEL")]
