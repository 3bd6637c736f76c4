"""One frozen object with every setting: its variable, its default and what it means.

Values come from environment variables of the same name in capitals. Nonsense is refused at start, with all complaints
at once, and never repaired silently.
"""

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from function_runner.errors import SettingsError

MEBIBYTE = 1024 * 1024

# Between the handler's deadline and the moment the platform gives up on the container (kill, then record).
KILL_GRACE_SECONDS = 5.0

# What the threads of callers and containers may be. docker-compose.yml gives the runner as many more as there may be
# followers, 32 for kept connections, and 128 for everything else (pids_limit).
MAX_CALLER_THREADS = 896

# Who follows a log holds a thread, so there are as many more threads, and callers never wait for followers.
MAX_FOLLOWERS = 128


MIN_KEY_BYTES = 16
SECRET_PREFIX = "whsec_"  # noqa: S105 - marks a secret that is written in base64

# What the services and the machine itself need; the rest is for functions.
HOUSE_MB = 1536


def _machine_mb() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MEBIBYTE


def _as_many_as_fit() -> int:
    """Twice the cores, so that waiting for others wastes none, but at most one for each GiB of the machine's memory."""
    return max(2, min(2 * (os.cpu_count() or 1), round(_machine_mb() / 1024)))


def _what_is_left() -> int:
    """The machine's memory without what the house needs, but always enough for one container of some size."""
    return max(1024, _machine_mb() - HOUSE_MB)


def _most_of_what_is_left() -> int:
    """So much that the shipped functions are kept ready with 4 GB too. Who runs gets the room of who only waits."""
    return _what_is_left() * 7 // 10


def _key_of(secret: str) -> bytes:
    """The key that a secret stands for: what follows ``whsec_``, from base64; any other text as it is."""
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("what follows whsec_ is not base64") from error


class Settings(BaseModel):
    """All settings of the function runner. Times are in seconds, sizes in bytes unless the name says otherwise."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_default=True)

    # Who we are: prefix of every name and the value of our label on every container, image and network.
    stack: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")] = "smlops"

    # Where things are
    functions_dir: Path = Path("/functions")
    logs_dir: Path = Path("/logs")
    database_url: str = "sqlite:////data/runner.db"
    mlflow_tracking_uri: str = "http://mlflow:5000/mlflow"  # as seen from the runner and from function containers
    docker_host: str = "unix:///var/run/docker.sock"
    functions_network: str = "smlops-functions"
    runtime_api_host: str = ""  # address that function containers call; empty: this container's own
    runtime_api_port: Annotated[int, Field(ge=0, le=65535)] = 9001
    allowed_hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")

    # How images are made
    python_image: str = "python:3.11-slim-bookworm"
    build_timeout: Annotated[float, Field(gt=0, le=7200)] = 900.0
    build_memory_mb: Annotated[int, Field(ge=256)] = 2048
    build_network: str = ""  # network of build containers; empty: the engine's default
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""

    # Limits of one invocation, unless its function.yaml says otherwise
    default_timeout: Annotated[float, Field(gt=0)] = 60.0
    max_timeout: Annotated[float, Field(gt=0, le=86400)] = 900.0
    init_timeout: Annotated[float, Field(gt=0, le=900)] = 60.0
    default_memory_mb: Annotated[int, Field(ge=16)] = 512
    default_cpus: Annotated[float, Field(gt=0)] = 1.0
    pids_limit: Annotated[int, Field(ge=16)] = 128
    tmp_mb: Annotated[int, Field(ge=1)] = 256
    log_max_bytes: Annotated[int, Field(ge=1024)] = 10 * MEBIBYTE
    request_max_bytes: Annotated[int, Field(ge=1024)] = MEBIBYTE
    result_max_bytes: Annotated[int, Field(ge=1024)] = 6 * MEBIBYTE

    # How many at once
    max_concurrency: Annotated[int, Field(ge=1, le=1000)] = Field(default_factory=_as_many_as_fit)
    queue_limit: Annotated[int, Field(ge=0, le=100_000)] = 100
    queue_timeout: Annotated[float, Field(gt=0, le=3600)] = 300.0

    # Asynchronous invocations: how many may wait, for how long, how often each is handed over at most, and the longest
    # pause before the second attempt (it doubles with each further one)
    backlog_limit: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000
    max_queue_age: Annotated[float, Field(gt=0, le=604_800)] = 21_600.0
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    retry_pause: Annotated[float, Field(ge=0, le=3600)] = 60.0

    # How much memory, in MB, counted by the containers' limits: of all function containers, and of those that wait
    functions_memory: Annotated[int, Field(ge=64)] = Field(default_factory=_what_is_left)
    pool_memory: Annotated[int, Field(ge=0)] = Field(default_factory=_most_of_what_is_left)

    # What is kept: how long, in days, and how much; 0 sets no bound. Below so much free disk nothing new is accepted.
    retain_records_days: Annotated[float, Field(ge=0, le=36500)] = 30.0
    records_max: Annotated[int, Field(ge=0)] = 1_000_000
    retain_logs_days: Annotated[float, Field(ge=0, le=36500)] = 14.0
    logs_max_mb: Annotated[int, Field(ge=0)] = 2048
    retain_images_days: Annotated[float, Field(ge=0, le=36500)] = 30.0
    min_free_disk_mb: Annotated[int, Field(ge=0)] = 256

    # Callbacks: what they are signed with (empty: there are none), and what they may reach although it is not public
    callback_secret: SecretStr = SecretStr("")
    callback_allowed_hosts: tuple[str, ...] = ()

    # Shutting down: how long running invocations may go on after SIGTERM,
    # and are then killed. It must leave time to clean up before the container itself is killed (stop_grace_period).
    drain_seconds: Annotated[float, Field(ge=0, le=75)] = 60.0

    @field_validator("callback_secret")
    @classmethod
    def _check_secret(cls, secret: SecretStr) -> SecretStr:
        text = secret.get_secret_value()
        if text and len(_key_of(text)) < MIN_KEY_BYTES:
            raise ValueError(f"must have at least {MIN_KEY_BYTES} bytes; best are whsec_ and 24 random bytes in base64")
        return secret

    @field_validator("allowed_hosts", "callback_allowed_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(host.strip().lower() for host in value.split(",") if host.strip())
        return value

    @model_validator(mode="after")
    def _check_order(self) -> "Settings":
        if self.default_timeout > self.max_timeout:
            raise ValueError("DEFAULT_TIMEOUT must not be greater than MAX_TIMEOUT")
        return self

    @model_validator(mode="after")
    def _check_threads(self) -> "Settings":
        # A caller holds a thread while it waits, a container one for its output; the container allows PIDS_LIMIT.
        if 2 * self.max_concurrency + self.queue_limit > MAX_CALLER_THREADS:
            raise ValueError(
                f"2 x MAX_CONCURRENCY + QUEUE_LIMIT must not be greater than {MAX_CALLER_THREADS}: "
                "each of them needs a thread of the function runner"
            )
        return self

    @property
    def callback_key(self) -> bytes:
        """What callbacks are signed with; empty when there are none."""
        return _key_of(self.callback_secret.get_secret_value())

    @property
    def sync_wait_limit(self) -> float:
        """Seconds after which a synchronous call has ended in every case: waited, built, started, run, killed."""
        return self.queue_timeout + self.build_timeout + self.init_timeout + self.max_timeout + KILL_GRACE_SECONDS

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings from ``environment`` (default: the process's).

        An empty variable counts as not set, because compose passes unset ones on as empty strings.

        Raises:
            SettingsError: one line per variable that cannot be used.
        """
        source = os.environ if environment is None else environment
        values = {}
        for name in cls.model_fields:
            value = source.get(name.upper(), "").strip()
            if value:
                values[name] = value
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            lines = [
                f"{'.'.join(str(part) for part in item['loc']).upper() or 'settings'}: {item['msg']}"
                for item in error.errors()
            ]
            raise SettingsError("The settings cannot be used. " + "; ".join(lines)) from error
