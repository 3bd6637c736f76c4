"""start.sh before it makes anything: its options, and the sentence for each thing that may be missing."""

import socket
from typing import Any

import pytest

# Answers like an engine that has nothing yet.
ENGINE = """
case "$*" in
  "version --format "*) echo 20.10.24 ;;
  "info --format {{.DockerRootDir}}") echo / ;;
  "info --format {{.MemTotal}}") echo 8000000000 ;;
  "compose version" | "buildx version") exit 0 ;;
  "context inspect "*) echo unix:///var/run/docker.sock ;;
  "ps "* | "images "*) exit 0 ;;
  "image inspect "*) exit 1 ;;
  *) echo "unexpected: docker $*" >&2; exit 1 ;;
esac
"""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def test_help(house: Any) -> None:
    ended = house.run("start.sh", "--help")
    assert ended.returncode == 0
    for word in (b"--no-install", b"--stop", b"ENV_FILE", b"STACK"):
        assert word in ended.stdout


def test_unknown_option(house: Any) -> None:
    ended = house.run("start.sh", "--prune")
    assert ended.returncode == 2
    assert b"Usage" in ended.stderr


@pytest.mark.parametrize(
    "settings", [{"STACK": "Bad Name"}, {"STACK": "-x"}, {"HTTP_PORT": "http"}, {"HTTP_PORT": "70000"}]
)
def test_nonsense_settings(house: Any, settings: dict[str, str]) -> None:
    ended = house.run("start.sh", **settings)
    assert ended.returncode == 1
    assert next(iter(settings)).encode() in ended.stderr


def test_engine_elsewhere_that_does_not_answer(house: Any) -> None:
    house.command("docker", "echo 'Cannot connect' >&2; exit 1")
    ended = house.run("start.sh", DOCKER_HOST="unix:///nowhere.sock")
    assert ended.returncode == 1
    assert b"DOCKER_HOST is unix:///nowhere.sock" in ended.stderr
    assert b"Cannot connect" in ended.stderr


def test_person_who_may_not_use_the_engine(house: Any) -> None:
    house.command("docker", "echo 'permission denied while trying to connect' >&2; exit 1")
    ended = house.run("start.sh")
    assert ended.returncode == 1
    assert b"usermod -aG docker" in ended.stderr


def test_engine_on_another_machine(house: Any) -> None:
    house.command("docker", ENGINE)
    ended = house.run("start.sh", DOCKER_HOST="tcp://10.0.0.1:2375")
    assert ended.returncode == 1
    assert b"another machine" in ended.stderr


def test_port_taken(house: Any) -> None:
    house.command("docker", ENGINE)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ended = house.run("start.sh", HTTP_PORT=str(port))
    assert ended.returncode == 1
    assert f"Port {port} on 127.0.0.1 is taken".encode() in ended.stderr
    assert not (house.folder / ".env").exists()


def test_full_disk(house: Any) -> None:
    house.command("docker", ENGINE)
    house.command("df", "printf 'Filesystem 1024-blocks Used Available\\n/dev/x 9 9 3145728\\n'")
    ended = house.run("start.sh", HTTP_PORT=str(free_port()))
    assert ended.returncode == 1
    assert b"Only 3 GiB are free" in ended.stderr


def test_open_to_others_without_credentials(house: Any) -> None:
    house.command("docker", ENGINE)
    ended = house.run("start.sh", BIND_ADDRESS="0.0.0.0", HTTP_PORT=str(free_port()))
    assert ended.returncode == 1
    assert b"set HTTP_USER and HTTP_PASSWORD" in ended.stderr


def test_named_base_image_that_cannot_be_had(house: Any) -> None:
    house.command("docker", ENGINE)
    ended = house.run("start.sh", PYTHON_IMAGE="registry.example/python:1", HTTP_PORT=str(free_port()))
    assert ended.returncode == 1
    assert b"registry.example/python:1" in ended.stderr
    assert b"neither here nor can it be pulled" in ended.stderr


def test_stop_without_an_engine_is_no_error(house: Any) -> None:
    house.command("docker", "exit 1")
    ended = house.run("start.sh", "--stop")
    assert ended.returncode == 0
    assert b"not running" in ended.stdout
