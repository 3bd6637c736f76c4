"""The static checks, as tests: whoever runs the tests cannot forget them, and the summary counts them."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT, TRACKED

TOOLS = Path(sys.executable).parent

SHELL_SCRIPTS = [path for path in TRACKED if path.suffix == ".sh" or path.parts[:1] == (".ci",)]
DOCKERFILES = [path for path in TRACKED if path.name == "Dockerfile"]


def test_ruff_finds_nothing():
    run("ruff", "check", ".")


def test_python_is_formatted():
    run("ruff", "format", "--check", ".")


def test_the_package_is_strictly_typed():
    run("mypy")


def test_imports_follow_the_floor_plan():
    run("lint-imports", "--no-cache", environment={"PYTHONPATH": str(ROOT / "function-runner")})


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=str)
def test_shellcheck_finds_nothing(script):
    run("shellcheck", "--enable=check-unassigned-uppercase", str(script))


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=str)
def test_hadolint_finds_nothing(dockerfile):
    run("hadolint", "--config", "tests/static/hadolint.yaml", str(dockerfile))


def run(tool, *arguments, environment=None):
    """Run a tool of the test environment in the checkout; its complaints are the failure."""
    command = [TOOLS / tool, *arguments]
    variables = {"PATH": f"{TOOLS}:/usr/bin:/bin", "HOME": "/nonexistent", "NO_COLOR": "1", **(environment or {})}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(done.stdout, done.stderr)
        pytest.fail(f"{tool} complains; its words are below", pytrace=False)
