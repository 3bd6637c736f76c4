"""Half an hour of mixed calls at a steady pace: does anything grow, get slower, or stay behind?"""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.connection import Answer, Connection, Target
from benchmarks.figures import Spread, milliseconds, number
from benchmarks.machine import MEBIBYTE, NOTHING, memory_of, processes_of
from benchmarks.report import Section
from benchmarks.system import System, cold, reused, warm
from support.docker_cli import container_ids

MIX = {  # calls a minute of each kind: together a quarter of what two cores can do
    "predict, single-use": 20,
    "predict, reused": 120,
    "predict, cold": 3,
    "echo, in the background": 60,
    "refused parameters": 12,
    "reading records and logs": 60,
}
CLIENTS = 16


@dataclass(frozen=True)
class State:
    """What there is at one moment, when nothing runs."""

    rss_mb: float
    pss_mb: float
    threads: int
    descriptors: int
    containers: int
    log_files: int

    @classmethod
    def of(cls, system: System) -> "State":
        """Of the runner's container and the stack's containers."""
        pids = processes_of(system.container_id("runner"))
        memory = sum((memory_of([pid]) for pid in pids), NOTHING)
        return cls(
            rss_mb=memory.rss / MEBIBYTE,
            pss_mb=memory.pss / MEBIBYTE,
            threads=sum(_entries(pid, "task") for pid in pids),
            descriptors=sum(_entries(pid, "fd") for pid in pids),
            containers=len(container_ids(f"smlops.stack={system.name}")),
            log_files=sum(1 for _ in system.logs_path.glob("*.log")),
        )


def measure(bench: Bench) -> Section:
    """About 35 minutes; 2 when quick."""
    system = bench.system
    copies = [warm("predict", 2), reused("predict", 2), cold("predict"), reused("echo", 1)]
    system.serve(*copies)
    targets = _targets(system)
    minutes = bench.pick(30.0, 0.5)
    bench.say("warming up: what is made once is made")
    _calls(targets, seconds=bench.pick(120.0, 10.0))
    system.settle()
    before = State.of(system)
    bench.say(f"{minutes:g} minutes of calls")
    answers = _calls(targets, seconds=minutes * 60)
    system.settle()
    after = State.of(system)
    section = Section()
    section.text(f"{minutes:g} minutes, {sum(len(found) for found in answers.values())} calls. The runner, at rest:")
    section.table(
        ["", "before", "after"],
        [
            ["RSS, MiB", number(before.rss_mb), number(after.rss_mb)],
            ["PSS, MiB", number(before.pss_mb), number(after.pss_mb)],
            ["threads", str(before.threads), str(after.threads)],
            ["file descriptors", str(before.descriptors), str(after.descriptors)],
            ["containers of the system", str(before.containers), str(after.containers)],
            ["log files", str(before.log_files), str(after.log_files)],
        ],
    )
    section.text("Latency in the first and in the last third, milliseconds:")
    section.table(
        ["", "n", "other than expected", "p50 first", "p50 last", "p95 first", "p95 last"],
        [_row(kind, found) for kind, found in answers.items()],
    )
    return section


def _targets(system: System) -> dict[str, Iterator[Target]]:
    pages = [system.page("/invocations?limit=20"), system.page("/debug"), system.page("/functions")]
    in_background = system.call(reused("echo", 1))
    request = in_background.request.replace(b"Accept:", b"Prefer: respond-async\r\nAccept:", 1)
    object.__setattr__(in_background, "request", request)
    refused = Target.post(system.port, "/invoke", {"function": "predict-warm", "parameters": {"features": "none"}})
    return {
        "predict, single-use": itertools.repeat(system.call(warm("predict", 2))),
        "predict, reused": itertools.repeat(system.call(reused("predict", 2))),
        "predict, cold": itertools.repeat(system.call(cold("predict"))),
        "echo, in the background": itertools.repeat(in_background),
        "refused parameters": itertools.repeat(refused),
        "reading records and logs": itertools.cycle(pages),
    }


def _calls(targets: dict[str, Iterator[Target]], *, seconds: float) -> dict[str, list[Answer]]:
    """Every kind at its pace, each call on a connection of its client; returns when all are answered."""
    answers: dict[str, list[Answer]] = {kind: [] for kind in targets}
    connections = threading.local()
    began = time.perf_counter()
    due = {kind: 60 / MIX[kind] * (place / len(targets)) for place, kind in enumerate(targets)}

    def call(kind: str, target: Target) -> None:
        if not hasattr(connections, "one"):
            connections.one = Connection(target.port)
        answers[kind].append(connections.one.send(target))

    with ThreadPoolExecutor(CLIENTS) as clients:
        under_way = []
        while (kind := min(due, key=lambda one: due[one])) and due[kind] < seconds:
            time.sleep(max(0.0, began + due[kind] - time.perf_counter()))
            under_way.append(clients.submit(call, kind, next(targets[kind])))
            due[kind] += 60 / MIX[kind]
        for one in under_way:
            one.result()
    return answers


def _row(kind: str, answers: list[Answer]) -> list[str]:
    usual = {"echo, in the background": 202, "refused parameters": 422}.get(kind, 200)
    others = Counter(answer.status for answer in answers if answer.status != usual)
    third = max(1, len(answers) // 3)
    first = Spread.of(answer.seconds for answer in answers[:third])
    last = Spread.of(answer.seconds for answer in answers[-third:])
    cells = [str(len(answers)), ", ".join(f"{count} of {status}" for status, count in others.items()) or "0"]
    for value in ("p50", "p95"):
        cells += [milliseconds(getattr(spread, value)) for spread in (first, last) if spread is not None]
    return [kind, *cells]


def _entries(pid: int, folder: str) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/{folder}").iterdir())
