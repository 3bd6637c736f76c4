"""What the system adds to a handler: an echo function's time as the caller sees it, less the time in the handler."""

from collections.abc import Callable, Iterable

from benchmarks.bench import Bench
from benchmarks.connection import Answer, Connection
from benchmarks.figures import Spread, milliseconds, number, percentile, spread_cells
from benchmarks.load import repeat
from benchmarks.report import Section
from benchmarks.system import Copy, reused, warm

POOL = 4
PHASES = ("queue_ms", "create_ms", "start_ms", "init_ms", "run_ms", "result_ms")


def measure(bench: Bench) -> Section:
    """About 3 minutes; 20 s when quick."""
    system = bench.system
    single_use, kept = warm("echo", POOL), reused("echo", 1)
    system.serve(single_use, kept)

    hot = repeat(system.call(kept), times=bench.pick(2000, 300), within=20)

    def gentle(copy: Copy) -> Iterable[Answer]:
        for _ in range(bench.pick(120, 12)):
            system.settle()
            with Connection(system.port) as connection:
                connection.send(system.page("/health"))
                yield connection.send(system.call(copy))

    rows = {
        "reused container, call after call": hot,
        "reused container, after a quiet moment": list(gentle(kept)),
        "single-use container, after a quiet moment": list(gentle(single_use)),
    }
    section = Section()
    section.text("Time as the caller sees it less the time in the handler, milliseconds:")
    section.table(
        ["", "started", "n", "p50", "p95", "p99"],
        [
            [title, _starts(answers), *spread_cells(Spread.of(map(_overhead, answers)))]
            for title, answers in rows.items()
        ],
    )
    section.text("Where it goes, medians in milliseconds:")
    section.table(
        ["", "whole call", "NGINX, HTTP, record", *(phase.removesuffix("_ms") for phase in PHASES), "in the handler"],
        [
            [
                title,
                milliseconds(_median(answers, lambda answer: answer.seconds)),
                milliseconds(_median(answers, lambda answer: answer.seconds - _timing(answer, "total_ms"))),
                *(milliseconds(_median(answers, lambda answer, name=phase: _timing(answer, name))) for phase in PHASES),
                number(_median(answers, lambda answer: answer.json["result"]["handler_ms"])),
            ]
            for title, answers in rows.items()
        ],
    )
    return section


def _overhead(answer: Answer) -> float:
    assert answer.status == 200, answer.body[:500]
    handler_ms: float = answer.json["result"]["handler_ms"]
    return answer.seconds - handler_ms / 1000


def _timing(answer: Answer, name: str) -> float:
    """Seconds of a phase; one that the answer does not tell took none."""
    return (answer.json["timings"].get(name) or 0.0) / 1000


def _median(answers: list[Answer], of: Callable[[Answer], float]) -> float:
    return percentile([of(answer) for answer in answers], 0.5)


def _starts(answers: list[Answer]) -> str:
    kinds = [answer.json["start"] for answer in answers]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
