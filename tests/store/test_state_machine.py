"""Whatever runners do, in any order, with crashes in between: the record does what this small model says."""

import contextlib
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from function_runner.errors import IdempotencyKeyReused
from function_runner.invocation import (
    HandOver,
    IdempotencyKey,
    Invocation,
    Mode,
    Start,
    Status,
    Timings,
    new_invocation_id,
    utc_now,
)
from function_runner.store import Repeated, Store, digest

ENDS = [status for status in Status if status.is_terminal]
RANK = {Status.QUEUED: 0, Status.STARTING: 1, Status.RUNNING: 2} | dict.fromkeys(ENDS, 3)


@dataclass
class Expected:
    """What the model knows of one invocation."""

    mode: Mode = Mode.SYNC
    status: Status = Status.QUEUED
    attempt: int = 1
    delivered: int = 0
    container_name: str | None = None
    owner: str | None = None  # who claimed it
    is_to_be_cancelled: bool = False
    last: Invocation | None = None  # as it was read when it had ended

    @property
    def is_waiting(self) -> bool:
        """Anybody may claim it."""
        return (
            self.mode is Mode.ASYNC
            and self.status is Status.QUEUED
            and self.owner is None
            and not self.is_to_be_cancelled
        )


class TheRecord(RuleBasedStateMachine):
    """Two runners on one file, and somebody with a shell."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.file = Path(self.folder.name) / "runner.db"
        shutil.copy(self.template, self.file)
        self.runners = [Store(f"sqlite:///{self.file}", owner=f"runner-{number}") for number in range(2)]
        self.expected: dict[str, Expected] = {}
        self.keys: dict[str, tuple[str, int]] = {}  # the invocation that it stands for, and what was asked

    invocations = Bundle("invocations")
    runner = st.integers(0, 1)
    container = st.sampled_from(["echo-1", "echo-2", "echo-3"])

    @initialize(target=invocations)
    def first(self):
        return self.accept(0)

    @rule(target=invocations, runner=runner)
    def accept(self, runner):
        return self._accept(runner, Mode.SYNC)

    @rule(target=invocations, runner=runner)
    def submit(self, runner):
        return self._accept(runner, Mode.ASYNC)

    @rule(target=invocations, runner=runner, mode=st.sampled_from(Mode), key=st.sampled_from("ab"), n=st.integers(1, 2))
    def accept_with_key(self, runner, mode, key, n):
        """The same key means the same invocation, unless that ended before anybody got it."""
        earlier = self.keys.get(key)
        if earlier is not None:
            meant, asked = earlier
            was = self.expected[meant]
            if not was.status.is_terminal or was.delivered:
                with pytest.raises(Repeated if asked == n else IdempotencyKeyReused) as caught:
                    self._accept(runner, mode, key=key, n=n)
                if asked == n:
                    assert caught.value.invocation_id == meant
                return multiple()
        accepted = self._accept(runner, mode, key=key, n=n)
        self.keys[key] = accepted, n
        return accepted

    def _accept(self, runner, mode, *, key=None, n=1):
        invocation = Invocation(
            new_invocation_id(), "echo", {"a": n}, Status.QUEUED, utc_now(), 1.0, mode=mode, max_attempts=3
        )
        remembered = IdempotencyKey(key, digest({"a": n}), utc_now() + timedelta(hours=1)) if key else None
        self.runners[runner].start(invocation, key=remembered)
        owner = self.runners[runner].owner if mode is Mode.SYNC else None
        self.expected[invocation.id] = Expected(mode, owner=owner)
        return invocation.id

    @rule(runner=runner, limit=st.integers(1, 3))
    def claim(self, runner, limit):
        """The oldest of those that wait; each belongs to one runner."""
        room = iter(range(limit))
        claimed = self.runners[runner].claim(limit, lambda _: next(room, None) is not None)
        waiting = [one for one, expected in self.expected.items() if expected.is_waiting][:limit]
        assert [one.id for one in claimed] == waiting
        for one in waiting:
            self.expected[one].owner = self.runners[runner].owner

    @rule(runner=runner, invocation_id=invocations)
    def put_back(self, runner, invocation_id):
        expected = self.expected[invocation_id]
        allowed = expected.mode is Mode.ASYNC and not expected.status.is_terminal and not expected.is_to_be_cancelled
        assert self.runners[runner].put_back(invocation_id, error={"code": "lost"}) == allowed
        if allowed:
            if expected.status is not Status.QUEUED:
                expected.attempt += 1
            expected.status, expected.owner, expected.container_name = Status.QUEUED, None, None

    @rule(runner=runner, invocation_id=invocations)
    def request_cancel(self, runner, invocation_id):
        expected = self.expected[invocation_id]
        allowed = not expected.status.is_terminal
        assert self.runners[runner].request_cancel(invocation_id) == allowed
        if allowed:
            expected.is_to_be_cancelled = True

    @rule(runner=runner, invocation_id=invocations, container=container)
    def mark_starting(self, runner, invocation_id, container):
        expected = self.expected[invocation_id]
        allowed = RANK[expected.status] < RANK[Status.RUNNING]
        assert self.runners[runner].mark_starting(invocation_id, container_name=container) == allowed
        if allowed:
            if expected.container_name not in (None, container):
                expected.attempt += 1
            expected.status, expected.container_name = Status.STARTING, container
            expected.owner = self.runners[runner].owner

    @rule(runner=runner, invocation_id=invocations, container=container, start=st.sampled_from(Start))
    def mark_running(self, runner, invocation_id, container, start):
        expected = self.expected[invocation_id]
        allowed = RANK[expected.status] < RANK[Status.RUNNING]
        assert allowed == self.runners[runner].mark_running(
            invocation_id,
            HandOver(
                container_name=container,
                start=start,
                source_hash=None,
                image_tag=None,
                image_id=None,
                base_image_id=None,
                memory_limit_mb=None,
                started_at=utc_now(),
            ),
        )
        if allowed:
            expected.status, expected.container_name = Status.RUNNING, container
            expected.owner, expected.delivered = self.runners[runner].owner, expected.delivered + 1

    @rule(runner=runner, invocation_id=invocations, end=st.sampled_from(ENDS), result=st.none() | st.integers())
    def finish(self, runner, invocation_id, end, result):
        expected = self.expected[invocation_id]
        allowed = expected.status == Status.RUNNING or (not expected.status.is_terminal and end != Status.SUCCEEDED)
        assert allowed == self.runners[runner].finish(
            invocation_id, status=end, finished_at=utc_now(), timings=Timings(total_ms=1.0), result=result
        )
        if allowed:
            expected.status = end
            expected.last = self.runners[runner].get(invocation_id)

    @rule(runner=runner)
    def crash(self, runner):
        """The process is gone; another takes its place."""
        self.runners[runner].close()
        self.runners[runner] = Store(f"sqlite:///{self.file}", owner=f"runner-{runner}")

    @rule(
        invocation_id=invocations,
        change=st.sampled_from(
            [
                "UPDATE invocations SET result = '\"forged\"' WHERE id = ?",
                "UPDATE invocations SET status = 'queued' WHERE id = ?",
                "UPDATE invocations SET status = 'queued', attempt = attempt + 1 WHERE id = ?",
                "UPDATE invocations SET status = 'lost' WHERE id = ?",
                "UPDATE invocations SET parameters = '{}' WHERE id = ?",
                "REPLACE INTO invocations SELECT * FROM invocations WHERE id = ?",
            ]
        ),
    )
    def rewrite_history(self, invocation_id, change):
        """By hand, on something that has ended."""
        if self.expected[invocation_id].status.is_terminal:
            with contextlib.closing(sqlite3.connect(self.file)) as connection, pytest.raises(sqlite3.IntegrityError):
                connection.execute(change, (invocation_id,))

    @invariant()
    def the_record_is_as_expected(self):
        reader = self.runners[0]
        found = {invocation.id: invocation for invocation in reader.search(limit=1000)[0]}
        assert found.keys() == self.expected.keys()
        for invocation_id, expected in self.expected.items():
            stored = found[invocation_id]
            assert (stored.status, stored.attempt) == (expected.status, expected.attempt)
            assert (stored.container_name, stored.owner) == (expected.container_name, expected.owner)
            assert (stored.mode, stored.delivered) == (expected.mode, expected.delivered)
            assert stored.delivered <= stored.attempt
            assert (stored.cancel_requested_at is not None) == expected.is_to_be_cancelled
            if expected.last is not None:
                assert stored == expected.last
        still_open = {one for one, expected in self.expected.items() if not expected.status.is_terminal}
        assert {invocation.id for invocation in reader.open_invocations()} == still_open
        # What somebody must look after: it is in somebody's hands, or is to end. All else that is open waits.
        attended = {one for one in still_open if not self.expected[one].is_waiting}
        assert {invocation.id for invocation in reader.claimed()} == attended
        assert reader.backlog()[0] == len(still_open - attended)

    @invariant()
    def the_history_fits_the_record(self):
        with contextlib.closing(sqlite3.connect(self.file)) as connection:
            rows = connection.execute(
                "SELECT invocation_id, attempt, status FROM invocation_events ORDER BY sequence"
            ).fetchall()
        for invocation_id, expected in self.expected.items():
            history = [(attempt, Status(status)) for one, attempt, status in rows if one == invocation_id]
            assert history[0] == (1, Status.QUEUED)
            assert history[-1] == (expected.attempt, expected.status)
            order = [(attempt, RANK[status]) for attempt, status in history]
            assert order == sorted(set(order))

    def teardown(self):
        for runner in self.runners:
            runner.close()
        self.folder.cleanup()


def test_the_record_does_what_the_model_says(migrated):
    class Here(TheRecord):
        template = migrated

    Here.TestCase.settings = settings(
        max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    Here.TestCase().runTest()
