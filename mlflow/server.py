"""Starts MLflow's tracking server with the house's options.

``mlflow server`` normally stays beside the uvicorn process it starts, only to wait for it, and that costs 200 MB. Here
it becomes that process instead, after it has checked its options and prepared the environment as always.
"""

import os
import sys

import mlflow.server
from mlflow.cli import cli

PORT = "5000"
# Every name the server may be called by. NGINX passes the name without the port; MLflow compares whole strings.
OWN_NAMES = ["localhost", "127.0.0.1", "[::1]", "mlflow", f"mlflow:{PORT}", f"localhost:{PORT}", f"127.0.0.1:{PORT}"]


def main() -> None:
    """Check the names we are called by, then run the server in this process's place."""
    public = os.environ.get("PUBLIC_HOSTS", "") + "," + os.environ.get("BIND_ADDRESS", "")
    names = [*OWN_NAMES, *(name.strip().lower() for name in public.split(",") if name.strip())]
    wild = [name for name in names if "*" in name]
    if wild:
        sys.exit(f"PUBLIC_HOSTS must name hosts exactly, without wildcards: {', '.join(wild)}")

    os.environ.update(
        DO_NOT_TRACK="true",
        MLFLOW_DISABLE_TELEMETRY="true",
        # Each of the job processes would take 256 MB, and nothing here needs jobs or a gateway to other model servers.
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
        MLFLOW_ENABLE_AI_GATEWAY="false",
        # A version is made from what the server itself keeps, never from a file or a URL that a client names.
        MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX=r"^(runs|models|mlflow-artifacts):/",
    )
    mlflow.server._exec_cmd = become  # noqa: SLF001 - the version is pinned; were it renamed, two processes would run
    cli(
        [
            "server",
            "--host=0.0.0.0",
            f"--port={PORT}",
            "--workers=1",  # more would answer every kept connection 43 ms later
            "--static-prefix=/mlflow",
            "--backend-store-uri=sqlite:////data/mlflow.db",
            "--artifacts-destination=/data/artifacts",
            "--serve-artifacts",
            f"--allowed-hosts={','.join(dict.fromkeys(names))}",
            "--uvicorn-opts=--no-access-log --timeout-graceful-shutdown 20",
        ]
    )


def become(command: list[str], *, extra_env: dict[str, str], **_options: object) -> None:
    """Stands in for MLflow's ``_exec_cmd``: the same command and environment, without a second process."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe(command[0], command, {**os.environ, **extra_env})


if __name__ == "__main__":
    main()
