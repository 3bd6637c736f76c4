"""The container engine as an operator sees it: the docker command, and what it lists by label.

Tests look from outside on purpose: they do not use the product's own door to the engine.
"""

import json
import subprocess
from collections.abc import Sequence
from typing import Any


class DockerError(Exception):
    """The docker command failed; the message is what it said."""


def docker(*arguments: str, timeout: float = 120, check: bool = True) -> str:
    """Run a docker command and return what it printed.

    Raises:
        DockerError: it failed, and ``check`` is true.
    """
    try:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise DockerError("there is no docker command") from error
    except subprocess.TimeoutExpired as error:
        raise DockerError(f"docker {' '.join(arguments)}: no answer within {timeout} s") from error
    output = done.stdout.decode(errors="replace")
    if check and done.returncode != 0:
        raise DockerError(f"docker {' '.join(arguments)}: {done.stderr.decode(errors='replace').strip()}")
    return output


def is_available() -> bool:
    """True when an engine answers."""
    try:
        docker("version", "--format", "{{.Server.Version}}", timeout=20)
    except DockerError:
        return False
    return True


def inspect(*names: str, kind: str = "container") -> list[dict[str, Any]]:
    """What ``docker inspect`` says; things that vanish meanwhile are left out."""
    if not names:
        return []
    found: list[dict[str, Any]] = json.loads(docker("inspect", "--type", kind, *names, check=False) or "[]")
    return found


def container_ids(*labels: str, running_only: bool = False) -> list[str]:
    """Ids of the containers that carry all these labels."""
    return docker("ps", "-q", "--no-trunc", *([] if running_only else ["-a"]), *_filters("label", labels)).split()


def containers(*labels: str) -> list[dict[str, Any]]:
    """``docker inspect`` of every container that carries all these labels, running or not."""
    return inspect(*container_ids(*labels))


def network_ids(*labels: str) -> list[str]:
    """Ids of the networks that carry all these labels."""
    return docker("network", "ls", "-q", "--no-trunc", *_filters("label", labels)).split()


def volume_names(*labels: str) -> list[str]:
    """Names of the volumes that carry all these labels."""
    return docker("volume", "ls", "-q", *_filters("label", labels)).split()


def image_tags(reference: str) -> list[str]:
    """Tags of the images whose name fits ``reference``, e.g. ``smlops/function-train``."""
    return docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", *_filters("reference", [reference])).split()


def _filters(key: str, values: Sequence[str]) -> list[str]:
    return [part for value in values for part in ("--filter", f"{key}={value}")]
