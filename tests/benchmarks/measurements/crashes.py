"""Many invocations in the background while the function runner is killed again and again: what becomes of them?"""

import random
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import requests

from benchmarks.bench import Bench
from benchmarks.figures import milliseconds, number, percentile
from benchmarks.report import Section
from benchmarks.system import Copy, System, reused, warm
from support.client import Answer
from support.docker_cli import docker
from support.verify import KILL_WORKER, TERMINAL, Snapshot, StackVerifier
from support.waiting import wait_until

SUBJECTS = (warm("echo", 2), reused("echo", 2))
CLIENTS = 4
CALLS_A_SECOND = 10.0  # more than can be run, so that there is a backlog at each crash
ACCEPTED = 202
TRY_AGAIN = (429, 502, 503, 504)
PLATFORM_LINE = re.compile(r"^(?:START|END|REPORT) RequestId: .*\n", re.MULTILINE)
PRINTED_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
WHOLE_LINE = re.compile(rf"^echo ({PRINTED_ID.pattern})$", re.MULTILINE)


@dataclass
class Told:
    """What the clients saw."""

    ids: dict[int, str] = field(default_factory=dict)  # by the number of the call
    seconds: list[float] = field(default_factory=list)  # of answers that came at the first try
    repeated: int = 0  # tries beyond the first
    lock: threading.Lock = field(default_factory=threading.Lock)


def measure(bench: Bench) -> Section:
    """About 8 minutes; 2 when quick."""
    system = bench.system
    calls, crashes = bench.pick((1000, 10), (100, 2))
    system.serve(*SUBJECTS)
    system.restart_with(RETRY_PAUSE="1")
    verifier = StackVerifier(system, system.name, system.logs_path, echo=SUBJECTS[0].name)
    began, told = time.monotonic(), Told()
    numbers = count()
    clients = [
        threading.Thread(target=_call, args=(system, verifier, told, numbers, calls, began)) for _ in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    downtimes = [_crash(bench, verifier, number, calls * number // (crashes + 1)) for number in range(1, crashes + 1)]
    for client in clients:
        client.join()
    bench.say("waiting for the rest")
    snapshot = verifier.check(within=600)
    seconds = time.monotonic() - began
    system.restart_with(RETRY_PAUSE="")
    return _report(told, snapshot, system, downtimes, seconds)


def _call(system: System, verifier: StackVerifier, told: Told, numbers: "count[int]", calls: int, began: float) -> None:
    """One client: call after call, each with a key, and repeated for as long as nobody has accepted it."""
    while (number := next(numbers)) < calls:
        time.sleep(max(0.0, began + number / CALLS_A_SECOND - time.monotonic()))
        answer, tries = _until_accepted(system, SUBJECTS[number % len(SUBJECTS)], number)
        with told.lock:
            verifier.saw(answer)
            told.ids[number] = answer.json["invocation_id"]
            told.repeated += tries - 1
            if tries == 1:
                told.seconds.append(answer.seconds)


def _until_accepted(system: System, copy: Copy, number: int) -> tuple[Answer, int]:
    headers = {"Prefer": "respond-async", "Idempotency-Key": f"call-{number}"}
    for tries in count(1):
        try:
            answer = system.invoke(copy.name, {"number": number}, headers=headers, timeout=60)
        except requests.RequestException:
            answer = None
        if answer is not None and answer.status not in TRY_AGAIN:
            # A repetition of what has ended meanwhile is answered with its result.
            assert answer.status in (200, ACCEPTED), answer.text
            return answer, tries
        time.sleep(0.2)
    raise AssertionError("unreachable")


def _crash(bench: Bench, verifier: StackVerifier, number: int, ended: int) -> float:
    """Kill the runner once so many have ended: its process in the container, or all of the container, in turns."""
    system = bench.system

    def are_ended() -> bool:
        return sum(row["status"] in TERMINAL for row in verifier.read().rows) >= ended

    wait_until(are_ended, seconds=600, every=0.5, what=f"{ended} have ended")
    time.sleep(random.random())
    runner = system.container_id("runner")
    began = time.monotonic()
    if number % 2:
        docker("exec", runner, "python3", "-c", KILL_WORKER)
        time.sleep(0.2)
    else:
        docker("kill", "--signal", "KILL", runner)
        docker("start", runner)
    system.wait_until_ready()
    seconds = time.monotonic() - began
    bench.say(f"crash {number} after {ended}; ready again after {seconds:.1f} s")
    return seconds


def _report(told: Told, snapshot: Snapshot, system: System, downtimes: list[float], seconds: float) -> Section:
    rows = {row["id"]: row for row in snapshot.rows}
    ours = [rows[identifier] for identifier in told.ids.values()]
    ends = Counter(event["invocation_id"] for event in snapshot.events if event["status"] in TERMINAL)
    logs = {row["container_name"]: system.logs_path / f"{row['container_name']}.log" for row in ours}
    runs, whole = _printed(system.logs_path)
    results = sum(row["status"] == "succeeded" for row in ours)
    section = Section()
    section.table(
        ["", "number"],
        [
            ["invocations accepted (202)", str(len(told.ids))],
            ["kills of the runner meanwhile", str(len(downtimes))],
            ["records", str(len({row["id"] for row in ours}))],
            ["records with exactly one end", str(sum(ends[row["id"]] == 1 for row in ours))],
            ["of these, succeeded", str(results)],
            ["handed over more than once", str(sum(row["delivered"] > 1 for row in ours))],
            ["handler run more than once", str(sum(runs[row["id"]] > 1 for row in ours))],
            ["what the handler printed is not in a log", str(sum(runs[row["id"]] == 0 for row in ours))],
            ["lines of handlers that are cut in two", str(sum(runs[row["id"]] - whole[row["id"]] for row in ours))],
            ["log files that are missing", str(sum(not file.is_file() for file in logs.values()))],
            ["requests that clients had to repeat", str(told.repeated)],
            ["202 after, p50 ms", milliseconds(percentile(told.seconds, 0.5))],
            ["202 after, p99 ms", milliseconds(percentile(told.seconds, 0.99))],
            ["ready again after a kill, p50 s", number(percentile(downtimes, 0.5))],
            ["seconds in all", number(seconds)],
        ],
    )
    return section


def _printed(logs: Path) -> tuple[Counter[str], Counter[str]]:
    """How often each invocation's handler has printed its id into a log, and how often in a line that is whole."""
    runs: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for file in logs.glob("*.log"):
        content = PLATFORM_LINE.sub("", file.read_text(encoding="utf-8", errors="replace"))
        runs.update(PRINTED_ID.findall(content))
        whole.update(WHOLE_LINE.findall(content))
    return runs, whole
