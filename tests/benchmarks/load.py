"""Many requests: one after the other from several clients, all at once, or as many as wrk can."""

import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.connection import Answer, Connection, Target
from benchmarks.figures import percentile

T = TypeVar("T")

OK = 200


@dataclass(frozen=True)
class Throughput:
    """What a server does with a number of connections that are always busy."""

    seconds: float
    answers: int
    failures: int
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Good answers in a second."""
        return (self.answers - self.failures) / self.seconds


def repeat(target: Target, *, times: int, within: float) -> list[Answer]:
    """Call after call on one connection, after one that does not count; fewer when the seconds are over before."""
    answers: list[Answer] = []
    with Connection(target.port) as connection:
        connection.send(target)
        ends_at = time.perf_counter() + within
        while len(answers) < times and time.perf_counter() < ends_at:
            answers.append(connection.send(target))
    return answers


def closed_loop(target: Target, *, clients: int, seconds: float) -> list[Answer]:
    """Each client sends again as soon as it has its answer, until the time is over. Answers in order of arrival."""
    ends_at = time.perf_counter() + seconds

    def client(_: int) -> list[Answer]:
        answers = []
        with Connection(target.port) as connection:
            while time.perf_counter() < ends_at:
                answers.append(connection.send(target))
        return answers

    with ThreadPoolExecutor(clients) as threads:
        answers = [answer for several in threads.map(client, range(clients)) for answer in several]
    return sorted(answers, key=lambda answer: answer.received_at)


def at_once(calls: int, target: Target, call: Callable[[Connection, Target], T], *, apart: float = 0) -> list[T]:
    """Open so many connections, then make the call on all of them in the same moment, or so many seconds apart."""
    gate = threading.Barrier(calls)

    def one(index: int) -> T:
        with Connection(target.port) as connection:
            gate.wait(timeout=60)
            time.sleep(index * apart)
            return call(connection, target)

    with ThreadPoolExecutor(calls) as threads:
        return list(threads.map(one, range(calls)))


def has_wrk() -> bool:
    """True when throughput is measured by wrk."""
    return shutil.which("wrk") is not None


def throughput(target: Target, *, connections: int, seconds: float) -> Throughput:
    """With wrk where it is installed, else with threads of our own."""
    if has_wrk():
        return _wrk(target, connections, seconds)
    began = time.perf_counter()
    answers = [
        answer
        for answer in closed_loop(target, clients=connections, seconds=seconds)
        if answer.received_at < began + seconds
    ]
    times = [answer.seconds for answer in answers] or [seconds]
    failures = sum(answer.status != OK for answer in answers)
    return Throughput(seconds, len(answers), failures, percentile(times, 0.5), percentile(times, 0.99))


# wrk tells microseconds; status errors are those above 399.
WRK_SCRIPT = """
wrk.method = "{method}"
wrk.body = [=[{body}]=]
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Host"] = "localhost:{port}"
done = function(summary, latency, requests)
  local failed = summary.errors
  io.write(string.format("RESULT %f %d %d %f %f\\n", summary.duration / 1e6, summary.requests,
    failed.status + failed.connect + failed.read + failed.write,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
"""


def _wrk(target: Target, connections: int, seconds: float) -> Throughput:
    threads = min(2, connections)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK_SCRIPT.format(method=target.method, body=target.body.decode(), port=target.port))
        script.flush()
        done = subprocess.run(
            [
                *("wrk", f"--threads={threads}", f"--connections={connections}", f"--duration={seconds:.0f}s"),
                *("--timeout=300s", f"--script={Path(script.name)}"),
                f"http://127.0.0.1:{target.port}{target.path}",
            ],
            capture_output=True,
            text=True,
            timeout=seconds + 60,
            check=True,
        )
    result = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    _, duration, requests, failures, p50, p99 = result.split()
    return Throughput(float(duration), int(requests), int(failures), float(p50), float(p99))
