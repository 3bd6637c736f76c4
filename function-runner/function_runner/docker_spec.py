"""Turns a function and the settings into what the container engine is asked for. Pure: nothing here talks to anyone.

Every limit and every hardening line of a function container stands in this file and nowhere else. The shape is the
body of the Docker Engine API's ``POST /containers/create``, because that is what reviewers know and what ``docker
inspect`` shows.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from function_runner.function import Function
from function_runner.invocation import ModelVersion
from function_runner.settings import MEBIBYTE, Settings

LABEL_STACK = "smlops.stack"
LABEL_FUNCTION = "smlops.function"
LABEL_SOURCE = "smlops.source"
LABEL_INSTANCE = "smlops.instance"
LABEL_ROLE = "smlops.role"
LABEL_RUNTIME = "smlops.runtime"  # address and port of the runtime API that the container calls
LABEL_ENVIRONMENT = "smlops.environment"
LABEL_BASE = "smlops.base"

USER = "10001:10001"
TASK_ROOT = "/var/task"

# Nothing answers at this address (RFC 5737). The engine's own resolver still knows the names on the functions'
# network; everything else is a dead end, so that a function cannot tunnel data out through DNS.
DEAD_RESOLVER = "192.0.2.1"

RUNTIME_DOMAIN = "runtime"

# Weight of a container when the processor is short: the engine's usual one, and that of one nobody waits for yet.
FULL_SHARES = 1024
YIELDING_SHARES = 128


@dataclass(frozen=True)
class ContainerSpec:
    """A container to create."""

    name: str
    image: str
    config: Mapping[str, Any]  # body of POST /containers/create


@dataclass(frozen=True)
class BuildSpec:
    """An image to build."""

    tag: str
    cache_tag: str  # and a number name what the build leaves beside its image
    arguments: Mapping[str, str]
    labels: Mapping[str, str]
    memory_bytes: int
    network: str | None
    timeout: float  # seconds


def new_container_name(function_name: str) -> str:
    """``{function}-{12 hex}``: the one name of an execution environment, its container and its log."""
    return f"{function_name}-{secrets.token_hex(6)}"


def new_token() -> str:
    """What a container is recognised by. 32 hex digits, because it travels as a label of a host name."""
    return secrets.token_hex(16)


def image_tag(function: Function, settings: Settings) -> str:
    """The name of the image made from exactly this source."""
    return f"{settings.stack}/function-{function.name}:{function.version}"


def cache_tag(stack: str, function: str, version: str) -> str:
    """What the names begin with that are given to what building this source leaves beside its image."""
    return f"{stack}/cache-{function}:{version}"


def token_of(environment: Mapping[str, str]) -> str | None:
    """The token of a container that was created with this environment; None when it is none of ours."""
    token, _, rest = environment.get("AWS_LAMBDA_RUNTIME_API", "").partition(".")
    return token if token and rest.startswith(f"{RUNTIME_DOMAIN}:") else None


def build_spec(function: Function, settings: Settings, *, base_id: str | None) -> BuildSpec:
    """How to build the function's image. ``docker build`` by hand with the same PYTHON_IMAGE gives the same."""
    proxies = {"http_proxy": settings.http_proxy, "https_proxy": settings.https_proxy, "no_proxy": settings.no_proxy}
    arguments = {"PYTHON_IMAGE": settings.python_image}
    for name, value in proxies.items():
        if value:
            arguments |= {name: value, name.upper(): value}
    return BuildSpec(
        tag=image_tag(function, settings),
        cache_tag=cache_tag(settings.stack, function.name, function.version),
        arguments=arguments,
        labels={
            LABEL_STACK: settings.stack,
            LABEL_FUNCTION: function.name,
            LABEL_SOURCE: function.source_hash,
            LABEL_BASE: base_id or "",
        },
        memory_bytes=settings.build_memory_mb * MEBIBYTE,
        network=settings.build_network or None,
        timeout=settings.build_timeout,
    )


def container_spec(
    function: Function,
    settings: Settings,
    *,
    name: str,
    token: str,
    image: str,
    image_id: str,
    base_image_id: str | None = None,
    runtime_address: tuple[str, int],
    instance: str,
    host_cpus: int,
    in_advance: bool = False,
    model: ModelVersion | None = None,
) -> ContainerSpec:
    """How to create one execution environment.

    Args:
        name: the environment's one name, see `new_container_name`.
        token: identifies this container to the runtime API; it is the first label of the host name it calls.
        runtime_address: IPv4 address and port of the runtime API on the functions' network.
        instance: the runner process that owns the container.
        host_cpus: cores of the machine; the engine refuses a limit above it.
        in_advance: nobody waits for it. Until it is ready it yields the processor to those that somebody waits for.
        model: the model version it may load while it has time.
    """
    runtime_ip, runtime_port = runtime_address
    runtime_host = f"{token}.{RUNTIME_DOMAIN}"
    cpus = min(function.cpus, float(host_cpus))
    environment = _environment(function, settings, name, f"{runtime_host}:{runtime_port}", image_id, cpus)
    if base_image_id is not None:
        environment["SMLOPS_BASE_IMAGE_ID"] = base_image_id
    if in_advance:
        environment["AWS_LAMBDA_INITIALIZATION_TYPE"] = "provisioned-concurrency"
    if model is not None:
        environment |= {"SMLOPS_MODEL_NAME": model.name, "SMLOPS_MODEL_VERSION": model.version}
    memory = function.memory_mb * MEBIBYTE
    config = {
        "Image": image,
        "User": USER,
        "Env": [f"{key}={value}" for key, value in environment.items()],
        "Labels": {
            LABEL_STACK: settings.stack,
            LABEL_FUNCTION: function.name,
            LABEL_SOURCE: function.source_hash,
            LABEL_INSTANCE: instance,
            LABEL_RUNTIME: f"{runtime_ip}:{runtime_port}",
            LABEL_ROLE: "pool" if in_advance else "invoke",
            LABEL_ENVIRONMENT: name,
        },
        "AttachStdin": False,
        "OpenStdin": False,
        "Tty": False,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "NetworkMode": settings.functions_network,
            "Dns": [DEAD_RESOLVER],
            "DnsOptions": ["timeout:1", "attempts:1"],
            "ExtraHosts": [f"{runtime_host}:{runtime_ip}"],
            "ReadonlyRootfs": True,
            "Tmpfs": {"/tmp": f"rw,noexec,nosuid,nodev,size={settings.tmp_mb}m,mode=1777"},  # noqa: S108 - inside the container
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"],
            "IpcMode": "private",
            "ShmSize": 64 * MEBIBYTE,
            "Memory": memory,
            "MemorySwap": memory,  # equal: no swap, so that the limit is the limit
            "NanoCpus": int(cpus * 1e9),
            "CpuShares": YIELDING_SHARES if in_advance else FULL_SHARES,
            "PidsLimit": settings.pids_limit,
            "Ulimits": [
                {"Name": "nofile", "Soft": 1024, "Hard": 1024},
                {"Name": "core", "Soft": 0, "Hard": 0},
                {"Name": "fsize", "Soft": settings.tmp_mb * MEBIBYTE, "Hard": settings.tmp_mb * MEBIBYTE},
            ],
            "OomScoreAdj": 500,  # when the host itself runs short, a function goes before a service
            "Init": True,  # reaps what handlers leave behind
            # The engine's own copy is only for recovery after a crash of the runner; the log proper is captured live.
            "LogConfig": {
                "Type": "json-file",
                "Config": {"max-size": str(settings.log_max_bytes * 3 // 2), "max-file": "2"},
            },
            "RestartPolicy": {"Name": "no"},
            "AutoRemove": False,  # removed by the runner, after state and log are durable
            "Privileged": False,
        },
    }
    return ContainerSpec(name=name, image=image, config=config)


def _environment(
    function: Function, settings: Settings, name: str, runtime_api: str, image_id: str, cpus: float
) -> dict[str, str]:
    """Fixed names only: parameters of an invocation never become variables."""
    threads = str(max(1, int(cpus)))
    return {
        **function.environment,
        # What AWS Lambda promises to a function
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/{settings.stack}/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": name,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_REGION": "local",
        "AWS_DEFAULT_REGION": "local",
        "LAMBDA_TASK_ROOT": TASK_ROOT,
        "TZ": ":UTC",
        # What we add
        "MLFLOW_TRACKING_URI": settings.mlflow_tracking_uri,
        "SMLOPS_CONTAINER_NAME": name,
        "SMLOPS_IMAGE_ID": image_id,
        "SMLOPS_SOURCE_HASH": function.source_hash,
        # A read-only root file system: everything that caches goes to /tmp
        "HOME": "/tmp",  # noqa: S108 - inside the container
        "MPLCONFIGDIR": "/tmp/matplotlib",  # noqa: S108
        # Numeric libraries start as many threads as the host has cores, whatever the limit says
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        # libcurl in the runtime client honours proxies that an image may bring along
        "no_proxy": f".{RUNTIME_DOMAIN},mlflow,localhost,127.0.0.1",
        "NO_PROXY": f".{RUNTIME_DOMAIN},mlflow,localhost,127.0.0.1",
    }
