"""docker-compose.yml: every service is shut in, one door is open, and both generations of compose understand it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from function_runner.settings import MAX_CALLER_THREADS, MAX_FOLLOWERS, Settings

COMPOSE = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
STACK = "${STACK:-smlops}"
each_service = pytest.mark.parametrize("name", sorted(SERVICES))


def test_old_compose_accepts_the_top_level() -> None:
    assert {key for key in COMPOSE if not key.startswith("x-")} == {"services", "networks", "volumes"}


@each_service
def test_is_shut_in(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert service["pids_limit"] <= (1184 if name == "runner" else 512)
    assert service["mem_limit"]
    assert service["logging"]["options"]["max-size"]
    assert "privileged" not in service


@each_service
def test_only_prepare_has_capabilities_and_it_has_no_network(name: str) -> None:
    service = SERVICES[name]
    assert ("cap_add" in service) == (name == "prepare")
    assert (service.get("network_mode") == "none") == (name == "prepare")
    assert (service["restart"] == "no") == (name == "prepare")


def test_only_nginx_publishes_a_port() -> None:
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "nginx": ["${BIND_ADDRESS:-127.0.0.1}:${HTTP_PORT:-80}:8080"]
    }


def test_only_the_runner_has_the_engine() -> None:
    holders = [name for name, service in SERVICES.items() if any("docker.sock" in str(v) for v in service["volumes"])]
    assert holders == ["runner"]


def test_only_the_runner_has_a_way_out_and_its_inner_door_is_not_there() -> None:
    assert SERVICES["runner"]["networks"] == {"functions": {"aliases": ["runtime-api"]}, "outgoing": {}}
    assert SERVICES["runner"]["environment"]["RUNTIME_API_HOST"] == "runtime-api"
    assert [name for name in SERVICES if "outgoing" in SERVICES[name].get("networks", ())] == ["runner"]


def test_functions_have_no_way_out() -> None:
    assert COMPOSE["networks"]["functions"]["internal"] is True
    assert COMPOSE["networks"]["functions"]["driver_opts"] == {"com.docker.network.bridge.inhibit_ipv4": "true"}
    assert COMPOSE["networks"]["backend"]["internal"] is True


@pytest.mark.parametrize("kind", ["services", "networks", "volumes"])
def test_everything_is_labelled(kind: str) -> None:
    for thing in COMPOSE[kind].values():
        assert thing["labels"] == {"smlops.stack": STACK}


def test_the_runner_may_have_the_threads_that_its_settings_allow() -> None:
    assert SERVICES["runner"]["pids_limit"] >= MAX_CALLER_THREADS + MAX_FOLLOWERS + 160


# Fixed by the stack, not by a setting of that name; the proxies and the hosts are put together from several.
FIXED = {
    *("functions_dir", "logs_dir", "database_url", "mlflow_tracking_uri", "functions_network", "allowed_hosts"),
    "runtime_api_host",
}
# Not to be changed from outside: operations.md says so.
INSIDE_ONLY = {
    *("docker_host", "runtime_api_port", "build_network", "default_cpus", "pids_limit", "tmp_mb"),
}


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - FIXED - INSIDE_ONLY))
def test_a_setting_of_the_runner_reaches_it(name: str) -> None:
    assert f"${{{name.upper()}:-" in SERVICES["runner"]["environment"][name.upper()]


def test_what_is_not_passed_on_keeps_its_default() -> None:
    assert not {name for name in INSIDE_ONLY if name.upper() in SERVICES["runner"]["environment"]}
