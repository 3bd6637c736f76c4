"""Many functions in the catalog, many records in the store: does an invocation take longer?"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.connection import Target
from benchmarks.figures import Spread, milliseconds, number
from benchmarks.load import repeat
from benchmarks.report import Section
from benchmarks.system import Copy, reused

SEED = (Path(__file__).parents[1] / "seed_records.py").read_text(encoding="utf-8")
FUNCTIONS = (1, 10, 50)
SUBJECT = reused("echo", 2)


@dataclass(frozen=True)
class Subject:
    """What is asked again and again."""

    title: str
    target: Target
    calls: int | None = None  # fewer than of the others


def measure(bench: Bench) -> Section:
    """About 4 minutes; 50 s when quick."""
    section = Section()
    _measure_functions(bench, section)
    _measure_records(bench, section)
    return section


def _measure_functions(bench: Bench, section: Section) -> None:
    """In turns, so that drift of the machine hits every size."""
    system = bench.system
    subjects = [
        Subject("invoke echo (reused)", system.call(SUBJECT)),
        Subject("GET /functions", system.page("/functions")),
        Subject("GET /health, for comparison", system.page("/health")),
    ]
    samples: dict[tuple[str, int], list[float]] = {}
    for _ in range(bench.pick(5, 2)):
        for functions in FUNCTIONS:
            bench.say(f"functions: {functions}")
            others = [Copy(f"echo-{index:02}", "echo", {"warm": 0}) for index in range(1, functions)]
            system.serve(SUBJECT, uncalled=others)
            for subject in subjects:
                samples.setdefault((subject.title, functions), []).extend(_ask(subject, bench.pick(200, 50)))
    section.text("By the number of functions in the catalog, p50 / p99 in milliseconds:")
    section.table(
        ["functions", *map(str, FUNCTIONS)],
        [
            [subject.title, *(_cell(samples[subject.title, functions]) for functions in FUNCTIONS)]
            for subject in subjects
        ],
    )


def _measure_records(bench: Bench, section: Section) -> None:
    system = bench.system
    system.serve(SUBJECT)
    invocation_id = system.invoke_once(SUBJECT).json["invocation_id"]
    subjects = [
        Subject("invoke echo (reused)", system.call(SUBJECT)),
        Subject("GET /invocations", system.page("/invocations")),
        Subject("GET /invocations, of one function", system.page(f"/invocations?function={SUBJECT.name}")),
        Subject("GET /invocations, none found", system.page("/invocations?status=lost")),
        Subject("GET /invocations, of two states", system.page("/invocations?status=succeeded,failed")),
        Subject(
            "GET /invocations, of today", system.page(f"/invocations?since={datetime.now(UTC):%Y-%m-%d}T00:00:00Z")
        ),
        Subject("GET /invocations, before all", system.page("/invocations?until=2020-01-01T00:00:00Z")),
        Subject("GET /invocations, of no model", system.page("/invocations?model_name=nobody")),
        Subject("GET /invocations, no index helps", system.page("/invocations?start=cold")),
        Subject("GET /invocations, a text found", system.page("/invocations?q=echo")),
        Subject("GET /invocations, a text not found", system.page("/invocations?q=no%20such%20text"), calls=30),
        Subject("GET /invocations/{id}", system.page(f"/invocations/{invocation_id}")),
        Subject("GET /health, for comparison", system.page("/health")),
    ]
    cells: dict[str, list[str]] = {subject.title: [] for subject in subjects}
    heads, restarts = [], []
    for wanted in bench.pick((100, 10_000, 100_000), (100, 10_000)):
        bench.say(f"records: {wanted}")
        with system.without_runner():
            there = int(system.in_runners_place(SEED, "/data/runner.db", str(wanted)))
            began = time.perf_counter()
        restarts.append(number(time.perf_counter() - began))
        heads.append(number(there))
        for subject in subjects:
            cells[subject.title].append(_cell(_ask(subject, subject.calls or bench.pick(1000, 100))))
    section.text("By the number of records in the store, p50 / p99 in milliseconds:")
    section.table(
        ["records", *heads],
        [*([title, *row] for title, row in cells.items()), ["restart until everything is ready, s", *restarts]],
    )


def _ask(subject: Subject, times: int) -> list[float]:
    answers = repeat(subject.target, times=times, within=10)
    assert all(answer.status == 200 for answer in answers), f"{subject.title}: {answers[-1].body[:300]!r}"
    return [answer.seconds for answer in answers]


def _cell(seconds: list[float]) -> str:
    spread = Spread.of(seconds)
    return f"{milliseconds(spread.p50)} / {milliseconds(spread.p99)}" if spread else ""
