"""The system under test: a stack of its own, started and stopped by the product's own start.sh.

Everything of it carries one name, so it can run beside a system in use, and be removed without touching anything else.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from support.client import Answer, Client
from support.docker_cli import DockerError, container_ids, containers, docker, image_tags, network_ids, volume_names
from support.paths import ROOT
from support.waiting import wait_until

SHIPPED = ("train", "predict")
RECEIVER = "callback-receiver"  # the one host beside the public ones that callbacks may go to
# Small enough to be reached by a test
LIMITS = {"MAX_CONCURRENCY": "4", "QUEUE_LIMIT": "24", "INIT_TIMEOUT": "30", "RETRY_PAUSE": "1", "MAX_ATTEMPTS": "10"}


class Stack(Client):
    """One running system: its address, its folders, its containers."""

    def __init__(self, name: str, directory: Path, *, port: int | None = None) -> None:
        self.name = name
        self.directory = directory
        self.port = port or _port_of(directory)
        self.functions_path = directory / "functions"
        self.logs_path = directory / "logs"
        self.environment = {
            **os.environ,
            "STACK": name,
            "HTTP_PORT": str(self.port),
            "FUNCTIONS_PATH": str(self.functions_path),
            "LOGS_PATH": str(self.logs_path),
            "ENV_FILE": str(directory / "env"),
            "CALLBACK_ALLOWED_HOSTS": RECEIVER,
            **LIMITS,
        }
        super().__init__(f"http://localhost:{self.port}")

    def prepare_folders(self) -> None:
        """A copy of the shipped functions and of the test functions, and a folder for logs."""
        self.functions_path.mkdir(exist_ok=True)
        for old in self.functions_path.iterdir():  # the folder itself may be mounted into a kept runner
            shutil.rmtree(old, ignore_errors=True)
        shipped = [ROOT / "functions" / name for name in SHIPPED]  # a user's own functions are not ours to test
        for source in (*shipped, *(ROOT / "tests" / "integration" / "functions").iterdir()):
            shutil.copytree(source, self.functions_path / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        self.logs_path.mkdir(exist_ok=True)

    def start(self, *arguments: str, say: Callable[[str], None] = print) -> None:
        """Run start.sh, showing its lines as they come.

        Raises:
            AssertionError: it failed.
        """
        status, output = self.run_start_script(*arguments, say=say)
        assert status == 0, f"start.sh {' '.join(arguments)} ended with {status}:\n{output[-5000:]}"

    def run_start_script(self, *arguments: str, say: Callable[[str], None] = lambda line: None) -> tuple[int, str]:
        """Exit status and output of start.sh with this stack's environment."""
        lines = []
        with subprocess.Popen(
            [ROOT / "start.sh", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    lines.append(line)
                    say(line.rstrip())
            except BaseException:  # interrupted: it must not go on making containers behind our back
                process.terminate()
                process.wait(timeout=60)
                raise
        return process.returncode, "".join(lines)

    # --- its containers

    def container(self, service: str) -> dict[str, Any]:
        """``docker inspect`` of a service's container."""
        found = containers(f"com.docker.compose.project={self.name}", f"com.docker.compose.service={service}")
        assert len(found) == 1, f"{len(found)} containers of service {service}"
        return found[0]

    def container_id(self, service: str) -> str:
        """Id of a service's container."""
        identifier: str = self.container(service)["Id"]
        return identifier

    @property
    def python_image(self) -> str:
        """Name of the one base image that everything here is built from."""
        name: str = self.container("prepare")["Config"]["Image"]
        return name

    def function_containers(self, function: str | None = None) -> list[dict[str, Any]]:
        """``docker inspect`` of the containers made for invocations."""
        labels = [f"smlops.stack={self.name}", f"smlops.function={function}" if function else "smlops.function"]
        return containers(*labels)

    def used_containers(self) -> list[str]:
        """Names of the containers that have had an invocation: only then is their log in the folder of logs itself."""
        names = [found["Name"].lstrip("/") for found in self.function_containers()]
        return [name for name in names if (self.logs_path / f"{name}.log").exists()]

    def wait_until_ready(self, *, seconds: float = 90) -> None:
        """Until /ready answers 200."""

        def is_ready() -> bool:
            try:
                return self.get("/ready", timeout=5).status == 200
            except requests.RequestException:
                return False

        wait_until(is_ready, seconds=seconds, what="/ready answers 200", every=0.3)

    def settled(self, invocation_id: str) -> dict[str, Any]:
        """The record once its log is closed: what is learned after the answer is then in it."""

        def record() -> dict[str, Any] | None:
            found = self.record(invocation_id)
            return found if found["log_state"] not in (None, "open") else None

        return wait_until(record, seconds=30, what="the log is closed")

    def log_text(self, container_name: str) -> str:
        """The log file on the disk."""
        return (self.logs_path / f"{container_name}.log").read_text(encoding="utf-8", errors="replace")

    def log_of(self, answer: Answer) -> str:
        """The complete log file of an answered invocation."""
        return self.log_text(self.settled(answer.json["invocation_id"])["container_name"])

    def describe(self) -> str:
        """States of all containers and the last lines of each service, for a test that failed."""
        try:
            parts = [
                docker(
                    "ps",
                    "-a",
                    "--filter",
                    f"label=smlops.stack={self.name}",
                    "--format",
                    "table {{.Names}}\t{{.Status}}",
                )
            ]
            for inspected in containers(f"com.docker.compose.project={self.name}"):
                done = subprocess.run(
                    ["docker", "logs", "--tail", "12", inspected["Id"]],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    timeout=30,
                    check=False,
                )
                parts.append(f"--- {inspected['Name'].lstrip('/')}\n{done.stdout.decode(errors='replace')}")
            return "\n".join(parts)
        except (DockerError, subprocess.SubprocessError) as error:
            return f"the engine could not be asked: {error}"


def _port_of(directory: Path) -> int:
    """The port of this stack: a free one, and the same again when the stack was kept."""
    remembered = directory / "port"
    if not remembered.exists():
        remembered.write_text(str(free_port()))
    return int(remembered.read_text())


def free_port() -> int:
    """A port nobody listens on right now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def leftovers(name: str) -> dict[str, list[str]]:
    """What exists on the engine under this name, by kind."""
    ours, compose = f"smlops.stack={name}", f"com.docker.compose.project={name}"
    return {
        "container": sorted({*container_ids(ours), *container_ids(compose)}),
        "network": sorted({*network_ids(ours), *network_ids(compose)}),
        "volume": sorted({*volume_names(ours), *volume_names(compose)}),
        "image": sorted(set(image_tags(f"{name}/*"))),
    }


def remove(name: str, directory: Path) -> None:
    """Remove what carries this name: containers, networks, volumes, images, and the folder of the run."""
    try:
        found = leftovers(name)
    except DockerError:
        found = {}
    if found.get("container"):
        docker("rm", "--force", "--volumes", *found["container"], check=False)
    for kind in ("network", "volume"):
        if found.get(kind):
            docker(kind, "rm", *found[kind], check=False)
    # Logs belong to the runner's user; when we may not remove them, a container of our own image may.
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists() and f"{name}/runner:latest" in found.get("image", []):
        mount = f"{directory}:/directory"
        script = "find /directory -mindepth 1 -delete"
        as_root = ["--rm", "--user", "0", "--network", "none", "--volume", mount, "--entrypoint", "sh"]
        docker("run", *as_root, f"{name}/runner:latest", "-c", script, check=False)
        shutil.rmtree(directory, ignore_errors=True)
    if found.get("image"):
        docker("image", "rm", "--force", *found["image"], check=False, timeout=300)


if __name__ == "__main__":
    _, _, stack_name, stack_directory = sys.argv
    remove(stack_name, Path(stack_directory))
