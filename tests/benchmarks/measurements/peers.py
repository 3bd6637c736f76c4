"""Predict, one row of Iris, by a forest of 100 trees: this system cold, warm and reused, and other model servers."""

import random
from dataclasses import dataclass, field

from benchmarks import models
from benchmarks.bench import Bench
from benchmarks.charts import bars, ranges
from benchmarks.connection import Answer, Connection, Target
from benchmarks.figures import NOT_KNOWN, Spread, milliseconds, number, spread_cells, times
from benchmarks.load import Throughput, has_wrk, throughput
from benchmarks.peers.servers import all_running
from benchmarks.report import Picture, Section
from benchmarks.system import Copy, System, cold, reused, warm

CONNECTIONS = (1, 4, 16)
POOL = 6
REUSED_CONTAINERS = 4
SINGLE_USE = "single-use container, warm"


@dataclass(eq=False)
class Design:
    """One way to serve the model, and what was measured of it."""

    title: str
    target: Target
    wake: Target  # a page of it that says it lives; sent before each sample on the same connection, and not measured
    copy: Copy | None = None  # of ours
    start: str | None = None  # how the invocations that count were started
    seconds: list[float] = field(default_factory=list)  # the call after a quiet moment
    following: list[float] = field(default_factory=list)  # those that come at once after it
    others: int = 0  # answers that do not count, because they were started in another way
    loads: dict[int, tuple[Throughput, int]] = field(default_factory=dict)  # and what was ready before

    @property
    def is_slow(self) -> bool:
        """A container for each call: some calls a second."""
        return self.start in ("cold", "warm")

    @property
    def spread(self) -> Spread | None:
        """Of the latencies after a quiet moment."""
        return Spread.of(self.seconds)

    def sample(self, following: int) -> None:
        """One call after a quiet moment, the same for every design; then so many more, where that makes sense.

        A container for each call is not asked for more: making the next one would be in their times.
        """
        with Connection(self.target.port) as connection:
            connection.send(self.wake)
            self._count(connection.send(self.target), self.seconds)
            for _ in range(0 if self.is_slow else following):
                self._count(connection.send(self.target), self.following)

    def _count(self, answer: Answer, seconds: list[float]) -> None:
        assert answer.status == 200, f"{self.title}: {answer.status} {answer.body[:500]!r}"
        if self.start and answer.json["start"] != self.start:
            self.others += 1
        else:
            seconds.append(answer.seconds)


def measure(bench: Bench) -> Section:
    """About 20 minutes; 100 s when quick."""
    system = bench.system
    ours = [
        _of_ours(system, "cold container for each call", cold("predict"), "cold"),
        _of_ours(system, SINGLE_USE, warm("predict", POOL), "warm"),
        _of_ours(system, "reused containers", reused("predict", REUSED_CONTAINERS), "reused"),
        _of_ours(system, f"{SINGLE_USE}, scikit-learn", warm("predict-sklearn", POOL), "warm"),
        _of_ours(system, "reused containers, scikit-learn", reused("predict-sklearn", REUSED_CONTAINERS), "reused"),
    ]
    system.serve(*(design.copy for design in ours if design.copy))
    model = models.download(f"{system.url}/mlflow", bench.directory / "model")
    with all_running(bench.cache, bench.directory / "peers", model, bench.say) as running:
        theirs = [
            Design(peer.name_and_version, target, Target.get(target.port, peer.alive))
            for peer, target in running.targets.items()
        ]
        returns = {peer.name_and_version: peer.returns for peer in running.targets}
        _measure_latencies(bench, [*ours, *theirs])
        _measure_loads(bench, [*ours, *theirs])
    section = _report(ours, theirs, returns)
    for peer, reason in running.unavailable.items():
        section.text(f"{peer.name_and_version} was not measured: {reason}")
    return section


def _of_ours(system: System, title: str, copy: Copy, start: str) -> Design:
    return Design(title, system.call(copy), system.page("/health"), copy, start)


def _measure_latencies(bench: Bench, designs: list[Design]) -> None:
    """Rounds, each with every design in another order, each call on a machine that is otherwise quiet."""
    order = random.Random(1)
    for number_of_round in range(bench.pick(100, 5)):
        if number_of_round % 10 == 0:
            bench.say(f"round {number_of_round + 1}")
        order.shuffle(designs)
        for design in designs:
            bench.system.settle()
            design.sample(following=9)


def _measure_loads(bench: Bench, designs: list[Design]) -> None:
    for connections in bench.pick(CONNECTIONS, CONNECTIONS[1:2]):
        for design in designs:
            bench.say(f"{connections} connections, {design.title}")
            bench.system.settle()
            ready = bench.system.ready(design.copy) if design.copy and design.is_slow else 0
            seconds = bench.pick(40, 6) if design.is_slow else bench.pick(10, 2)
            design.loads[connections] = throughput(design.target, connections=connections, seconds=seconds), ready


def _report(ours: list[Design], theirs: list[Design], returns: dict[str, str]) -> Section:
    section = Section()
    section.text("One call after a quiet moment, milliseconds:")
    single_use = next(design.spread for design in ours if design.title == SINGLE_USE)
    section.table(
        ["", "answers with", "n", "p50", "p95", "p99", "p50 against single-use"],
        [
            [
                design.title,
                returns.get(design.title, "class, probabilities"),
                *spread_cells(spread),
                times(spread.p50 / single_use.p50) if spread and single_use else NOT_KNOWN,
            ]
            for design in (*ours, *theirs)
            for spread in (design.spread,)
        ],
    )
    section.text("Call after call: the nine that follow at once on the same connection, milliseconds:")
    section.table(
        ["", "n", "p50", "p95", "p99"],
        [
            [design.title, *spread_cells(Spread.of(design.following))]
            for design in (*ours, *theirs)
            if not design.is_slow
        ],
    )
    for design in ours:
        if design.others:
            section.text(f"{design.others} calls of “{design.title}” were not started that way and do not count.")
    section.picture(
        Picture(
            "peers",
            ranges(
                "One prediction after a quiet moment",
                "milliseconds, logarithmic; dot: median, line: to the highest percentile of the table",
                [
                    (
                        design.title,
                        spread.p50 * 1000,
                        (spread.p99 or spread.p95 or spread.p50) * 1000,
                        design in ours,
                    )
                    for design in (*ours, *theirs)
                    if (spread := design.spread)
                ],
            ),
            "Medians and high percentiles of the first table as a picture",
        )
    )
    tool = "wrk" if has_wrk() else "a client in Python"
    section.text(f"Connections that are always busy ({tool}), answers a second (and the median in milliseconds):")
    section.table(
        ["connections", *map(str, ours[0].loads)],
        [[design.title, *(_load_cell(design, load) for load in design.loads)] for design in (*ours, *theirs)],
    )
    failures = [
        f"{design.title} {count}"
        for design in (*ours, *theirs)
        if (count := sum(load.failures for load, _ in design.loads.values()))
    ]
    section.text(f"Answers that were errors: {', '.join(failures) or 'none'}.")
    most = max(ours[0].loads)
    section.picture(
        Picture(
            "throughput",
            bars(
                f"Predictions a second with {most} connections",
                "",
                [(design.title, _rate(design, most), design in ours) for design in (*ours, *theirs)],
            ),
            f"Answers a second with {most} connections as bars",
        )
    )
    return section


def _rate(design: Design, connections: int) -> float:
    """Answers a second; what a pool had ready at the beginning was made before and is left out."""
    load, ready = design.loads[connections]
    return max(0.0, load.answers - load.failures - ready) / load.seconds


def _load_cell(design: Design, connections: int) -> str:
    return f"{number(_rate(design, connections))} ({milliseconds(design.loads[connections][0].p50)})"
