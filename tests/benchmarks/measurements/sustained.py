"""Single-use containers in a row: the rate that lasts, against the rate that this machine can start containers at."""

import time
from dataclasses import dataclass

from benchmarks import machine
from benchmarks.bench import Bench
from benchmarks.charts import bars
from benchmarks.connection import Answer
from benchmarks.figures import Spread, milliseconds, number, percentile
from benchmarks.load import closed_loop
from benchmarks.machine import CpuMeter
from benchmarks.report import Picture, Section
from benchmarks.system import Copy, warm

CLIENTS = 8
POOL = 4


@dataclass(frozen=True)
class Finding:
    """Of one function."""

    function: str
    container_seconds: float  # CPU time that one call costs with a container of its own, the rest of the machine idle
    rate: float
    answers: list[Answer]
    cores_busy: float
    failures: int

    @property
    def limit(self) -> float:
        """Calls a second, if all cores did nothing but this."""
        return machine.cores() / self.container_seconds


def measure(bench: Bench) -> Section:
    """About 7 minutes; 50 s when quick."""
    findings = []
    for source in bench.pick(("echo", "predict", "predict-sklearn"), ("echo", "predict")):
        copy = warm(source, POOL)
        bench.system.serve(copy)
        bench.say(f"{source}: what one container costs")
        container_seconds = _container_seconds(bench, copy)
        bench.say(f"{source}: {CLIENTS} clients")
        findings.append(_sustain(bench, copy, container_seconds))
    section = Section()
    section.table(
        [
            "",
            "CPU s a call",
            "limit, calls/s",
            "sustained, calls/s",
            "of the limit",
            "cores busy",
            "n",
            "p50 ms",
            "p99 ms",
        ],
        [_row(finding) for finding in findings],
    )
    section.text(f"Failed calls: {sum(finding.failures for finding in findings)}.")
    section.picture(
        Picture(
            "sustained",
            bars(
                "Single-use containers, calls a second",
                f"{CLIENTS} clients, steady state, against cores / CPU time of one",
                [
                    row
                    for finding in findings
                    for row in (
                        (f"{finding.function}, sustained", finding.rate, True),
                        (f"{finding.function}, limit of the machine", finding.limit, False),
                    )
                ],
            ),
            "Sustained rates and limits of the table above as bars",
        )
    )
    return section


def _container_seconds(bench: Bench, copy: Copy) -> float:
    """CPU time of the whole machine for one call and the container that is made in its place: the median of some.

    What the machine does anyway is measured before each call and left out. The engine is not asked meanwhile, because
    that would be counted too.
    """
    system, samples = bench.system, []
    system.settle()
    for _ in range(bench.pick(20, 5)):
        with CpuMeter() as idle:
            time.sleep(1)
        with CpuMeter() as busy:
            system.invoke_once(copy)
            system.wait_until_full(every=0.25)
            time.sleep(0.5)  # the used container is removed
        samples.append(busy.cpu_seconds - idle.cores_busy * busy.seconds)
    return percentile(samples, 0.5)


def _sustain(bench: Bench, copy: Copy, container_seconds: float) -> Finding:
    """The first part of the run is left out: it lives on the containers that were ready, and fills the queue."""
    lead, seconds = bench.pick((20.0, 75.0), (4.0, 8.0))
    bench.system.settle()
    began = time.perf_counter()
    with CpuMeter() as meter:
        answers = closed_loop(bench.system.call(copy), clients=CLIENTS, seconds=lead + seconds)
    ends = began + lead + seconds
    steady = [answer for answer in answers if began + lead <= answer.received_at < ends]
    good = [answer for answer in steady if answer.status == 200]
    return Finding(copy.source, container_seconds, len(good) / seconds, good, meter.cores_busy, len(steady) - len(good))


def _row(finding: Finding) -> list[str]:
    spread = Spread.of(answer.seconds for answer in finding.answers)
    return [
        finding.function,
        number(finding.container_seconds),
        number(finding.limit),
        number(finding.rate),
        f"{finding.rate / finding.limit:.0%}",
        number(finding.cores_busy),
        str(len(finding.answers)),
        milliseconds(spread.p50 if spread else None),
        milliseconds(spread.p99 if spread else None),
    ]
