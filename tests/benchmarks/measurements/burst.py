"""Many calls in one moment on a small pool: how long they wait, in which order they start, and a queue that is full."""

import time
from dataclasses import dataclass
from datetime import datetime

from benchmarks.bench import Bench
from benchmarks.charts import points
from benchmarks.connection import Answer, Connection, Target, send_once
from benchmarks.figures import Spread, number, percentile
from benchmarks.load import at_once
from benchmarks.report import Picture, Section
from benchmarks.system import Copy, warm

POOL = 4
QUEUE_LIMIT = 8
GIVES_UP_SECONDS = 300.0
APART_SECONDS = 0.01


@dataclass(frozen=True)
class Patient:
    """A caller who does what Retry-After says until it is let in."""

    first_sent_at: float
    promises: list[float]  # seconds, one for each refusal
    answer: Answer | None  # None: it gave up

    @property
    def waited(self) -> float:
        """From the first try to the answer."""
        assert self.answer is not None
        return self.answer.received_at - self.first_sent_at


def measure(bench: Bench) -> Section:
    """About 5 minutes; 60 s when quick."""
    system, calls = bench.system, bench.pick(50, 20)
    copies = [warm(source, POOL) for source in bench.pick(("echo", "predict"), ("echo",))]
    section = Section()
    rows, series = [], []
    for copy in copies:
        system.serve(copy)
        bench.say(f"{calls} calls of {copy.source} at once")
        answers = at_once(calls, system.call(copy), Connection.send)
        rows.append(_burst_row(bench, copy, answers))
        series.append((copy.source, sorted(answer.seconds for answer in answers), copy is copies[0]))
    section.text(f"{calls} calls at once, {POOL} containers ready, each used once:")
    section.table(["", "answered", "in so many containers", "warm", "p50 s", "last s", "a second"], rows)
    section.picture(
        Picture(
            "burst",
            points(f"{calls} calls at once, {POOL} containers ready", "seconds until the answer, in order", series),
            "Seconds until each answer, from the first to the last, as points",
        )
    )
    _order(bench, copies[0], calls, section)
    _full_queue(bench, copies[0], calls, section)
    return section


def _burst_row(bench: Bench, copy: Copy, answers: list[Answer]) -> list[str]:
    good = [answer for answer in answers if answer.status == 200]
    recorded = {record["invocation_id"]: record["status"] for record in bench.system.records_of(copy, len(answers))}
    lost = [answer for answer in good if recorded.get(answer.json["invocation_id"]) != "succeeded"]
    assert not lost, f"answered and not recorded: {lost}"
    spread = Spread.of(answer.seconds for answer in answers)
    assert spread is not None
    return [
        copy.source,
        f"{len(good)} of {len(answers)}",
        str(len({answer.json["container_name"] for answer in good})),
        str(sum(answer.json["start"] == "warm" for answer in good)),
        number(spread.p50),
        number(spread.last),
        number(len(good) / spread.last),
    ]


def _order(bench: Bench, copy: Copy, calls: int, section: Section) -> None:
    """Of calls in one and the same moment nobody can say which one was first, so these are a little apart."""
    system = bench.system
    system.serve(copy)
    bench.say(f"{calls} calls of {copy.source}, {APART_SECONDS * 1000:.0f} ms apart")
    answers = at_once(calls, system.call(copy), Connection.send, apart=APART_SECONDS)
    started = {record["invocation_id"]: record["started_at"] for record in system.records_of(copy, calls)}
    starts = [
        datetime.fromisoformat(started[answer.json["invocation_id"]]) for answer in answers if answer.status == 200
    ]
    late = [
        (start - min(starts[index:])).total_seconds()
        for index, start in enumerate(starts)
        if start > min(starts[index:])
    ]
    section.text(
        f"The same calls of {copy.source}, {APART_SECONDS * 1000:.0f} ms apart: {len(late)} of {len(starts)} were "
        f"handed to a container after a call that had come later, by at most {number(max(late, default=0.0))} s."
    )


def _full_queue(bench: Bench, copy: Copy, calls: int, section: Section) -> None:
    """Twice: a runner that has just started can only guess how long a call takes, later it has seen some."""
    system = bench.system
    bench.say(f"the same with QUEUE_LIMIT={QUEUE_LIMIT}, twice")
    system.restart_with(QUEUE_LIMIT=str(QUEUE_LIMIT))
    try:
        columns = []
        for _ in range(2):
            system.serve(copy)
            columns.append(_refusals(at_once(calls, system.call(copy), _persist)))
        system.settle()
    finally:
        system.restart_with(QUEUE_LIMIT="")
    section.text(
        f"The same {calls} calls of {copy.source} with `QUEUE_LIMIT={QUEUE_LIMIT}`, so that some get 429. "
        "Who was refused waits for as long as `Retry-After` says and tries again, until it is let in:"
    )
    section.table(
        ["", "right after a start", "again"], [[title, *(column[title] for column in columns)] for title in columns[0]]
    )


def _refusals(callers: list[Patient]) -> dict[str, str]:
    refused = [caller for caller in callers if caller.promises]
    let_in = [caller for caller in callers if not caller.promises]
    answered = [caller for caller in refused if caller.answer]
    promises = [caller.promises[0] for caller in refused]
    return {
        "let in at once": str(len(let_in)),
        "refused at first": str(len(refused)),
        "`Retry-After` of the first refusal, seconds, smallest": number(min(promises, default=None)),
        "… median": number(percentile(promises, 0.5) if promises else None),
        "… largest": number(max(promises, default=None)),
        "seconds that the last of those let in at once had to wait": number(max(caller.waited for caller in let_in)),
        "of the refused, let in at the second try": str(sum(len(caller.promises) == 1 for caller in answered)),
        "most refusals for one caller": str(max((len(caller.promises) for caller in refused), default=0)),
        "seconds until the last of the refused had its answer": number(
            max((caller.waited for caller in answered), default=None)
        ),
        f"gave up after {GIVES_UP_SECONDS:.0f} s": str(len(refused) - len(answered)),
    }


def _persist(connection: Connection, target: Target) -> Patient:
    first_sent_at = time.perf_counter()
    promises: list[float] = []
    while time.perf_counter() < first_sent_at + GIVES_UP_SECONDS:
        # While it waited, the server may have closed the connection.
        answer = send_once(target) if promises else connection.send(target)
        if answer.status == 200:
            return Patient(first_sent_at, promises, answer)
        assert answer.status == 429, answer.body[:500]
        promises.append(float(answer.headers["retry-after"]))
        time.sleep(promises[-1])
    return Patient(first_sent_at, promises, None)
