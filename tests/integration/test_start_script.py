"""start.sh on a machine where the system already runs, and where something stands in its way."""

import time

import pytest

from support.docker_cli import container_ids
from support.stack import Stack, leftovers


@pytest.fixture(autouse=True)
def nothing_stays():
    """These tests look at containers themselves."""


@pytest.fixture
def second(stack, tmp_path):
    """Another stack, never started completely."""
    directory = tmp_path / "second"
    directory.mkdir()
    other = Stack(f"{stack.name}-b", directory)
    other.prepare_folders()
    yield other
    assert not leftovers(other.name)["container"]


@pytest.mark.timeout(300)
def test_starting_again_changes_nothing_and_is_quick(stack):
    before = sorted(container_ids(f"com.docker.compose.project={stack.name}", running_only=True))
    settings = (stack.directory / "env").read_text()
    started = time.monotonic()

    status, output = stack.run_start_script()

    assert status == 0, output[-3000:]
    assert time.monotonic() - started < 40  # 20 s is the aim on a quiet machine; the proof calls a function for real
    assert sorted(container_ids(f"com.docker.compose.project={stack.name}", running_only=True)) == before
    assert (stack.directory / "env").read_text() == settings
    assert stack.url in output


def test_a_taken_port_is_said_before_anything_is_made(stack, second):
    second.environment["HTTP_PORT"] = str(stack.port)

    status, output = second.run_start_script()

    assert status != 0
    assert str(stack.port) in output
    assert "taken" in output
    assert leftovers(second.name) == {"container": [], "network": [], "volume": [], "image": []}


def test_a_wider_address_without_credentials_is_refused(second):
    second.environment["BIND_ADDRESS"] = "0.0.0.0"

    status, output = second.run_start_script()

    assert status != 0
    assert "HTTP_USER" in output
    assert leftovers(second.name) == {"container": [], "network": [], "volume": [], "image": []}


@pytest.mark.parametrize("setting", [("STACK", "Not A Name"), ("HTTP_PORT", "eighty"), ("HTTP_PORT", "99999")], ids=str)
def test_nonsense_is_refused_in_words(second, setting):
    name, value = setting
    second.environment[name] = value

    status, output = second.run_start_script()

    assert status != 0
    assert name in output


def test_stopping_what_does_not_run_is_no_error(second):
    status, output = second.run_start_script("--stop")

    assert status == 0, output


def test_help_and_an_unknown_word(stack):
    status, output = stack.run_start_script("--help")
    assert status == 0
    assert "--stop" in output
    assert "--no-install" in output

    status, _ = stack.run_start_script("--frobnicate")
    assert status == 2
