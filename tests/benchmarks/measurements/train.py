"""Train through the system, against the same handler in a plain process of the same image."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.connection import Answer
from benchmarks.figures import milliseconds, percentile, times
from benchmarks.report import Section
from benchmarks.system import Copy, System, cold, warm
from support.docker_cli import docker, inspect

POOL = 2
BARE = Path(__file__).parents[1] / "bare_train.py"


def measure(bench: Bench) -> Section:
    """About 3 minutes; 40 s when quick."""
    system = bench.system
    by_cold, by_warm = cold("train"), warm("train", POOL)
    system.serve(by_cold, by_warm)
    answers: dict[str, list[Answer]] = {"cold": [], "warm": []}
    bare: list[dict[str, float]] = []
    with _bare(system, by_cold) as train_bare:
        for _ in range(bench.pick(15, 3)):
            for copy in (by_cold, by_warm):
                system.settle()
                answer = system.invoke_once(copy)
                answers.setdefault(answer.json["start"], []).append(answer)
            system.settle()
            bare.append(train_bare())
    section = Section()
    base = percentile([run["seconds"] for run in bare], 0.5)
    rows = [
        [
            "bare: a new process in a running container",
            str(len(bare)),
            milliseconds(base),
            milliseconds(percentile([run["seconds"] - run["handler_seconds"] for run in bare], 0.5)),
            milliseconds(percentile([run["handler_seconds"] for run in bare], 0.5)),
            times(1),
        ]
    ]
    for start, several in answers.items():
        if not several:
            continue
        whole = percentile([answer.seconds for answer in several], 0.5)
        handler = percentile([answer.json["timings"]["run_ms"] / 1000 for answer in several], 0.5)
        rows.append(
            [
                f"through the system, {start}",
                str(len(several)),
                milliseconds(whole),
                milliseconds(whole - handler),
                milliseconds(handler),
                times(whole / base),
            ]
        )
    section.text("One training with 100 trees, medians in milliseconds:")
    section.table(["", "n", "whole", "before and after", "in the handler", "against bare"], rows)
    if not answers["warm"]:
        section.text("No call was started warm.")
    return section


@contextmanager
def _bare(system: System, copy: Copy) -> Iterator[Callable[[], dict[str, float]]]:
    """A container of the function's image that is already running, with the same limits and the same MLflow.

    Each call starts a new process in it that imports the handler and calls it once.
    """
    function = system.get(f"/functions/{copy.name}").json
    name = f"{system.name}-bare"
    options = ["--rm", "--interactive", "--init", "--name", name, "--label", f"smlops.stack={system.name}"]
    limits = [f"--memory={function['limits']['memory_mb']}m", f"--cpus={function['limits']['cpus']}", "--read-only"]
    scene = ["--tmpfs", "/tmp", "--network", f"{system.name}-functions"]
    variables = ["MLFLOW_TRACKING_URI=http://mlflow:5000/mlflow", "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1"]
    environment = [part for variable in (*variables, "HOME=/tmp", "no_proxy=mlflow") for part in ("--env", variable)]
    program = ["--entrypoint", "/opt/venv/bin/python", function["image"]["tag"], "-c", BARE.read_text(encoding="utf-8")]
    with subprocess.Popen(
        ["docker", "run", *options, *limits, *scene, *environment, *program, json.dumps(copy.parameters)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def train() -> dict[str, float]:
            process.stdin.write("go\n")
            process.stdin.flush()
            seconds: dict[str, float] = json.loads(process.stdout.readline())
            return seconds

        try:
            yield train
        finally:
            process.stdin.close()
            if inspect(name):
                docker("rm", "--force", name, check=False)
