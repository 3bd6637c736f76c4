"""The verifier: what must hold after everything that anybody did to the system, read from outside.

It looks at the database, the folder of logs, the engine and the HTTP interface, and compares them with one another and
with what clients were told (`Verifier.saw`). One method for each rule; `check` is all of them. By hand, against a
running system whose stack and folder of logs are known:

    PYTHONPATH=tests python -m support.verify smlops logs http://localhost
"""

import inspect
import json
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from support.client import Answer, Client
from support.docker_cli import containers, docker, network_ids, volume_names
from support.waiting import wait_until

TERMINAL = frozenset({"succeeded", "failed", "timed_out", "cancelled", "lost"})
WITHOUT_FILE = frozenset({"missing", "expired"})  # states of a log that say why there is none
AT_REST = ("smlops_invocations_in_flight", "smlops_queue_depth", "smlops_backlog")
REMOVAL_SECONDS = 30.0  # how long after the last end a used container may still be there
HEALTH_SECONDS = 1.0
MORE_MEMORY = 1.1, 20 * 1024 * 1024  # than at the start: so many times, and so many bytes


def dump(file: str) -> dict[str, Any]:
    """Rows and events of the database, as they are. Needs nothing but Python: it also runs inside the runner."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=60)) as database:
        database.row_factory = sqlite3.Row
        database.execute("BEGIN")
        rows = database.execute("SELECT * FROM invocations ORDER BY sequence").fetchall()
        facts = database.execute("SELECT * FROM invocation_facts").fetchall()
        events = database.execute("SELECT * FROM invocation_events ORDER BY sequence").fetchall()
    return {
        "rows": [dict(row) for row in rows],
        "facts": {row["invocation_id"]: dict(row) for row in facts},
        "events": [dict(row) for row in events],
    }


@dataclass(frozen=True)
class Snapshot:
    """The database at one moment."""

    rows: list[dict[str, Any]]
    facts: dict[str, dict[str, Any]]
    events: list[dict[str, Any]]

    @classmethod
    def of_file(cls, file: Path) -> "Snapshot":
        """Of a database that can be reached as a file."""
        return cls(**dump(str(file)))

    @classmethod
    def of_container(cls, container: str, file: str = "/data/runner.db") -> "Snapshot":
        """Of a database inside a running container that has Python."""
        imports = "import json, sqlite3, sys\nfrom contextlib import closing\nfrom typing import Any\n"
        program = f"{imports}{inspect.getsource(dump)}\nprint(json.dumps(dump(sys.argv[1])))"
        return cls(**json.loads(docker("exec", container, "python3", "-c", program, file)))

    def since(self, sequence: int) -> "Snapshot":
        """Only the rows from this number on."""
        rows = [row for row in self.rows if row["sequence"] >= sequence]
        kept = {row["id"] for row in rows}
        return Snapshot(rows, self.facts, [event for event in self.events if event["invocation_id"] in kept])

    @property
    def open(self) -> list[dict[str, Any]]:
        """The rows that have not ended."""
        return [row for row in self.rows if row["status"] not in TERMINAL]


@dataclass
class Verifier:
    """The rules about records and logs, for one database and one folder of logs."""

    read: Callable[[], Snapshot]
    logs: Path
    _told: dict[str, Any] = field(default_factory=dict)  # results that clients saw, as JSON; None: only the id
    _ended: dict[str, dict[str, Any]] = field(default_factory=dict)  # rows as they were when they had ended

    def saw(self, answer: Answer) -> Answer:
        """Note what a client was told by `POST /invoke`. Returns the answer."""
        identifier = answer.headers.get("X-Invocation-Id")
        if identifier:
            self._told.setdefault(identifier, None)
            if answer.status == 200 and answer.json.get("status") == "succeeded":
                self.saw_result(identifier, answer.json["result"])
        return answer

    def saw_result(self, invocation_id: str, result: Any) -> None:
        """Note that a client was told this result."""
        text = _canonical(result)
        before = self._told.get(invocation_id)
        assert before in (None, text), f"two clients were told different results of {invocation_id}: {before}, {text}"
        self._told[invocation_id] = text

    def check(self) -> Snapshot:
        """All rules, on one look at the database. Returns what was seen."""
        snapshot = self.read()
        self.each_has_ended_once(snapshot)
        self.each_log_is_there(snapshot)
        self.successes_are_on_record(snapshot)
        self.handed_over_within_limits(snapshot)
        return snapshot

    def each_has_ended_once(self, snapshot: Snapshot) -> None:
        """V1: one row and one end for each id that a client was told; and what has ended does not change."""
        numbers = Counter(row["id"] for row in snapshot.rows)
        for identifier in self._told:
            assert numbers[identifier] == 1, f"{identifier} was told to a client and has {numbers[identifier]} rows"
        assert not snapshot.open, f"not ended: {[_short(row) for row in snapshot.open]}"
        ends = Counter(event["invocation_id"] for event in snapshot.events if event["status"] in TERMINAL)
        for row in snapshot.rows:
            assert ends[row["id"]] == 1, f"{ends[row['id']]} ends: {_short(row)}"
            assert row["finished_at"], f"without the time of its end: {_short(row)}"
            before = self._ended.setdefault(row["id"], row)
            assert row == before, f"changed after its end: {before} became {row}"

    def each_log_is_there(self, snapshot: Snapshot) -> None:
        """V2: who had a container has a log file that ends with a REPORT line, or the record says why not."""
        for row in snapshot.rows:
            name = row["container_name"]
            if name is None:
                assert not row["delivered"] or row["status"] != "succeeded", f"ran without a container: {_short(row)}"
                continue
            state = snapshot.facts.get(row["id"], {}).get("log_state")
            assert state not in (None, "open"), f"the log is not closed: {_short(row)}"
            file = self.logs / f"{name}.log"
            if state in WITHOUT_FILE:
                continue
            assert file.resolve().parent == self.logs.resolve(), f"{file} is not in the folder of logs"
            assert file.is_file(), f"there is no {file}: {_short(row)}"
            assert not file.is_symlink(), f"{file} is a link"
            if row["delivered"]:
                is_shared = snapshot.facts[row["id"]]["log_sha256"] is None  # the container goes on with others
                self._ends_with_report(file, row, is_shared)

    def _ends_with_report(self, file: Path, row: dict[str, Any], is_shared: bool) -> None:
        """Its part of the file has one REPORT line, which is the last. What was lost may have been reported before."""
        lines = file.read_bytes().splitlines()
        own = f"REPORT RequestId: {row['id']}\t".encode()
        reports = [number for number, line in enumerate(lines) if line.startswith(own)]
        expected = len(reports) == 1 or (reports and row["status"] == "lost")
        assert expected, f"{len(reports)} REPORT lines in {file.name}: {_short(row)}"
        report = lines[reports[-1]]
        assert report.endswith(f"Status: {row['status']}".encode()), f"{report!r}: {_short(row)}"
        after = lines[reports[-1] + 1 :]
        assert not after or is_shared, f"{file.name} goes on after its REPORT: {after[:3]}"
        assert not any(line.startswith(b"END RequestId: " + row["id"].encode()) for line in after), f"{after[:3]}"

    def successes_are_on_record(self, snapshot: Snapshot) -> None:
        """V4: every success that a client saw is on record with the same result; no success is without one."""
        rows = {row["id"]: row for row in snapshot.rows}
        for identifier, told in self._told.items():
            if told is not None:
                row = rows[identifier]
                assert row["status"] == "succeeded", f"a client was told of a success: {_short(row)}"
                assert _canonical(json.loads(row["result"])) == told, f"a client was told {told}: {_short(row)}"
        for row in snapshot.rows:
            if row["status"] == "succeeded":
                assert row["result"] is not None, f"a success without a result: {_short(row)}"
                assert row["delivered"], f"a success of what nobody got: {_short(row)}"

    def handed_over_within_limits(self, snapshot: Snapshot) -> None:
        """V5: handed over at most once when somebody waited for it, and else at most as often as allowed."""
        starts = Counter(event["invocation_id"] for event in snapshot.events if event["status"] == "running")
        for row in snapshot.rows:
            most = 1 if row["mode"] == "sync" else row["max_attempts"]
            assert row["delivered"] <= most, f"handed over {row['delivered']} times: {_short(row)}"
            assert starts[row["id"]] == row["delivered"], f"{starts[row['id']]} times running: {_short(row)}"


@dataclass(frozen=True)
class Use:
    """What the runner's processes need."""

    memory: int  # bytes, resident
    files: int  # open ones
    threads: int


class StackVerifier(Verifier):
    """All rules, for a running system."""

    def __init__(
        self, client: Client, stack: str, logs: Path, *, echo: str | None = "echo", is_all: bool = False
    ) -> None:
        """Of what happens from now on.

        Args:
            echo: a function that returns at once, for the last rule; None: there is none to call.
            is_all: what happened before counts as well.
        """
        super().__init__(lambda: Snapshot.of_container(f"{stack}-runner").since(self._first), logs)
        self._first = 0
        if not is_all:
            self._first = max((row["sequence"] for row in self.read().rows), default=0) + 1
        self._client = client
        self._stack = stack
        self._echo = echo
        self._volumes, self._networks = self._others()
        self._use: Use | None = None

    def note_use(self) -> Use:
        """What the runner needs now is what later checks compare with."""
        self._use = self._measure()
        return self._use

    def check(self, *, within: float = 60) -> Snapshot:
        """All rules, once everything has ended (`within` so many seconds)."""
        self.wait_until_ended(seconds=within)
        self.no_stray_container()
        self.wait_until_logs_are_closed()
        snapshot = super().check()
        self.at_rest()
        self.still_serves()
        return snapshot

    def wait_until_ended(self, *, seconds: float) -> None:
        """Until no row is open."""
        wait_until(
            lambda: not self._open_records(), seconds=seconds, every=0.5, what=f"all ended: {self._open_records()}"
        )

    def wait_until_logs_are_closed(self) -> None:
        """What is learned of a container comes a moment after the end."""

        def are_closed() -> bool:
            page = self._client.get("/invocations?limit=200").json["invocations"]
            return all(record["log_state"] != "open" for record in page)

        wait_until(are_closed, seconds=REMOVAL_SECONDS, what="all logs are closed")

    def no_stray_container(self) -> None:
        """V3: half a minute after the last end, every container of ours is one that the pool keeps ready."""

        def strays() -> list[str]:
            ready = self._ready()
            found = containers(f"smlops.stack={self._stack}", "smlops.environment")
            by_function = Counter(container["Config"]["Labels"]["smlops.function"] for container in found)
            return [f"{name}: {number}, of which {ready.get(name, 0)} are ready" for name, number in by_function.items()
                    if number > ready.get(name, 0)]  # fmt: skip

        wait_until(lambda: not strays(), seconds=REMOVAL_SECONDS + 5, every=0.5, what="no stray containers")

    def at_rest(self) -> None:
        """V6: nothing is in flight, and the runner needs about as much as in the beginning."""

        def moving() -> list[str]:
            lines = self._client.get("/metrics").text.splitlines()
            return [line for line in lines if line.startswith(AT_REST) and float(line.split()[-1]) != 0]

        wait_until(lambda: not moving(), seconds=10, what="the gauges are 0")
        volumes, networks = self._others()
        assert volumes <= self._volumes, f"new volumes: {volumes - self._volumes}"
        assert networks <= self._networks, f"new networks: {networks - self._networks}"
        if self._use is None:
            return
        use, before = self._measure(), self._use
        times, bytes_more = MORE_MEMORY
        assert use.memory <= before.memory * times + bytes_more, f"memory grew: {before} to {use}"
        assert use.files <= before.files * times + 20, f"open files grew: {before} to {use}"
        assert use.threads <= before.threads * times + 20, f"threads grew: {before} to {use}"

    def still_serves(self) -> None:
        """V7: it is healthy within a second, and runs a function."""
        health = self._client.get("/health", timeout=10)
        assert health.status == 200, health.text
        assert health.seconds < HEALTH_SECONDS, f"/health took {health.seconds} s"
        if self._echo is not None:
            answer = self.saw(self._client.invoke(self._echo, {}))
            assert answer.status == 200, answer.text

    def _open_records(self) -> list[str]:
        return [
            record["invocation_id"]
            for status in ("queued", "starting", "running")
            for record in self._client.get(f"/invocations?status={status}&limit=200").json["invocations"]
        ]

    def _ready(self) -> dict[str, int]:
        functions = self._client.get("/functions").json["functions"]
        return {found["name"]: found["pool"]["ready"] + found["pool"]["starting"] for found in functions}

    def _others(self) -> tuple[Collection[str], Collection[str]]:
        label = f"smlops.stack={self._stack}"
        return frozenset(volume_names(label)), frozenset(network_ids(label))

    def _measure(self) -> Use:
        numbers = json.loads(docker("exec", f"{self._stack}-runner", "python3", "-c", MEASURE))
        return Use(**numbers)


# Of all processes of the runner's user but this one itself and its parents' init.
MEASURE = """
import json, os, pathlib
found = {"memory": 0, "files": 0, "threads": 0}
for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        if b"gunicorn" not in (process / "cmdline").read_bytes():
            continue
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        found["memory"] += int(status["VmRSS"].split()[0]) * 1024
        found["threads"] += int(status["Threads"])
        found["files"] += len(os.listdir(process / "fd"))
    except (OSError, KeyError):
        pass
print(json.dumps(found))
"""

# Gunicorn's worker, which is all of the function runner; its parent only starts it again. That one's own parent is the
# container's first process, which has the same words in its command line.
KILL_WORKER = """
import os, pathlib, signal
for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
        if b"gunicorn" in (process / "cmdline").read_bytes() and parent not in ("0", "1"):
            os.kill(int(process.name), signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):  # it has just ended, as those of health checks do
        pass
"""


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _short(row: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "function", "mode", "status", "attempt", "delivered", "container_name", "error")
    return {name: row[name] for name in names}


def main() -> int:
    """Check a running system from the command line."""
    stack, logs, url = sys.argv[1:]
    began = time.monotonic()
    try:
        snapshot = StackVerifier(Client(url), stack, Path(logs), echo=None, is_all=True).check()
    except (AssertionError, requests.RequestException) as problem:
        print(f"NOT TRUE: {problem}", file=sys.stderr)
        return 1
    print(f"All rules hold for {len(snapshot.rows)} invocations ({time.monotonic() - began:.1f} s).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
