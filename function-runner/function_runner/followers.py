"""Those who follow invocations live: each gets what is new of the status, the progress and the log, until the end.

A follower looks in a thread of its own, its caller's. It is woken when something is added to the log, and looks twice a
second for everything else. What comes close together is sent together, and followers of one invocation share what is
read of its record: a hundred of them slow down neither the copying of the output nor the rest of the house.
"""

import contextlib
import re
import threading
import time
from codecs import getincrementaldecoder
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from function_runner.errors import Draining, InvalidRequest, NotFound, StoreUnavailable, TooManyFollowers
from function_runner.invocation import Invocation, LogState, Start, Status
from function_runner.logs import LogPart, LogStore
from function_runner.pool import Pool
from function_runner.settings import MAX_FOLLOWERS
from function_runner.store import Store

LOOK_SECONDS = 0.5
GATHER_SECONDS = 0.1
# Between two pieces of a long log, for each who follows: all together read 60 MB a second at most, which leaves the
# interpreter to others for most of the time.
BREATH_SECONDS = 0.001
KEEP_ALIVE_SECONDS = 15.0  # of silence; also how soon a client that hung up is noticed
# How long after an invocation's end its log may take to be closed. Then what there is has been sent.
SETTLE_SECONDS = 30.0

_WITHOUT_CONTAINER = (Status.QUEUED, Status.STARTING)


@dataclass(frozen=True)
class Position:
    """How far a follower is: a byte of the log file of one attempt."""

    offset: int = 0
    attempt: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """What `__str__` has written.

        Raises:
            InvalidRequest: that is not what was written.
        """
        found = re.fullmatch(r"(?:([1-9][0-9]{0,5}):)?([0-9]{1,15})", text, re.ASCII)
        if found is None:
            raise InvalidRequest("The position in the log is not understood: send the id of an event, as it was sent.")
        return cls(int(found[2]), int(found[1] or 1))

    def __str__(self) -> str:
        """The number of the byte; from the second attempt on, with the attempt's before it."""
        return str(self.offset) if self.attempt == 1 else f"{self.attempt}:{self.offset}"


@dataclass(frozen=True)
class Event:
    """Something that a follower is told."""

    kind: Literal["status", "progress", "log", "end"]
    position: Position  # where to go on after it
    data: Mapping[str, Any]


class Followers:
    """All who follow. Owns how many there may be, and what they share."""

    def __init__(self, store: Store, logs: LogStore, pool: Pool, *, most: int = MAX_FOLLOWERS) -> None:
        self._store = store
        self._logs = logs
        self._pool = pool
        self._most = most
        self._places = threading.BoundedSemaphore(most)
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._records: dict[str, _SharedRecord] = {}  # of the invocations that are followed; guarded by the lock

    def follow(
        self, invocation: Invocation, *, after: Position | None = None, tail_lines: int | None = None
    ) -> "Follower":
        """One more who follows this invocation. Must be closed.

        Args:
            after: what it has seen of the log already.
            tail_lines: without ``after``, only so many lines of what is there now.

        Raises:
            TooManyFollowers: there are as many as there may be.
            Draining: `close` was called.
        """
        if self._closed.is_set():
            raise Draining("The function runner is shutting down; follow again in a moment.")
        if not self._places.acquire(blocking=False):
            raise TooManyFollowers(
                f"{self._most} logs are being followed, which is all there may be. Try again in a moment, or read the "
                "log without following it."
            )
        with self._lock:
            shared = self._records.setdefault(invocation.id, _SharedRecord(invocation.id))
            shared.invocation, shared.read_at = invocation, time.monotonic()
            shared.followers += 1
        return Follower(self, self._logs, shared, after=after, tail_lines=tail_lines)

    def close(self) -> None:
        """Let nobody in any more; who is there gets what is there, and is sent away within a second."""
        self._closed.set()

    @property
    def is_closed(self) -> bool:
        """True once `close` was called."""
        return self._closed.is_set()

    @property
    def count(self) -> int:
        """How many follow right now."""
        with self._lock:
            return sum(shared.followers for shared in self._records.values())

    def pause(self, seconds: float) -> None:
        """Do nothing for so long, or until `close`."""
        self._closed.wait(seconds)

    def breathe(self) -> None:
        """Let the others have their turn."""
        self.pause(self.count * BREATH_SECONDS)

    def look_at(self, shared: "_SharedRecord", *, within: float) -> Invocation | None:
        """The record as it was at most ``within`` seconds ago, or None when it has been removed."""
        with self._lock:
            is_old = time.monotonic() - shared.read_at >= within
            if is_old:
                shared.read_at = time.monotonic()  # the others go on with the old one meanwhile
        if is_old:
            with contextlib.suppress(StoreUnavailable):  # the database will be back
                shared.invocation = self._store.get(shared.id)
        return with_progress(shared.invocation, self._pool) if shared.invocation else None

    def leave(self, shared: "_SharedRecord") -> None:
        """One who followed does not any more."""
        with self._lock:
            shared.followers -= 1
            if shared.followers == 0:
                del self._records[shared.id]
        self._places.release()


class _SharedRecord:
    """The record of an invocation that somebody follows."""

    def __init__(self, invocation_id: str) -> None:
        self.id = invocation_id
        self.invocation: Invocation | None = None
        self.read_at = 0.0
        self.followers = 0


class Follower:
    """One who follows an invocation. For one thread."""

    def __init__(
        self,
        followers: Followers,
        logs: LogStore,
        record: _SharedRecord,
        *,
        after: Position | None,
        tail_lines: int | None,
    ) -> None:
        self._followers = followers
        self._logs = logs
        self._record = record
        self._position = after or Position()
        self._tail_lines = tail_lines if after is None else None
        self._part: LogPart | None = None
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._told: dict[str, Mapping[str, Any]] = {}  # the last that was told of each kind
        self._ended_at: float | None = None  # when the end was first seen
        self._is_closed = False

    def close(self) -> None:
        """Follow no more. Doing it again changes nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._followers.leave(self._record)

    def events(self) -> Iterator[Event | None]:
        """What happens, as it happens; None is a sign of life after some silence.

        Ends after the event ``end``; or without it, when the house closes or the record is removed.
        """
        spoke_at = time.monotonic()
        while True:
            is_last = self._followers.is_closed  # asked before looking: the end may be there now
            invocation = self._followers.look_at(self._record, within=0 if is_last else self._pace)
            if invocation is None:
                return
            is_settled = self._is_settled(invocation)  # asked before reading: then the log is complete
            is_silent = True
            for event in self._news(invocation, is_settled):
                is_silent = False
                yield event
            if is_settled:
                yield self._end(invocation)
                return
            if is_last:
                return
            now = time.monotonic()
            if not is_silent:
                spoke_at = now
            elif now - spoke_at >= KEEP_ALIVE_SECONDS:
                spoke_at = now
                yield None
            self._wait(is_silent)

    @property
    def _pace(self) -> float:
        return LOOK_SECONDS if self._ended_at is None else GATHER_SECONDS

    def _wait(self, is_silent: bool) -> None:
        if not is_silent or self._ended_at is not None:
            self._followers.pause(GATHER_SECONDS)
        elif self._part is None or self._part.is_over:
            self._followers.pause(LOOK_SECONDS)
        else:
            self._logs.wait_beyond(self._part.container_name, self._part.seen, LOOK_SECONDS)

    def _news(self, invocation: Invocation, is_settled: bool) -> Iterator[Event]:
        self._turn_to(invocation)
        status = {
            "status": invocation.status,
            "attempt": invocation.attempt,
            "container_name": invocation.container_name,
        }
        yield from self._changed("status", status)
        if invocation.progress is not None:
            yield from self._changed("progress", vars(invocation.progress))
        yield from self._output(is_settled)

    def _changed(self, kind: Literal["status", "progress"], data: Mapping[str, Any]) -> Iterator[Event]:
        if self._told.get(kind) != data:
            self._told[kind] = data
            yield Event(kind, self._position, data)

    def _turn_to(self, invocation: Invocation) -> None:
        """Find the log. Until the invocation was handed over, its container may become another one."""
        name = invocation.container_name
        if name is None or invocation.status in _WITHOUT_CONTAINER:
            return
        if self._part is not None and self._part.container_name == name:
            return
        is_same_attempt = self._part is None and self._position.attempt == invocation.attempt
        self._position = Position(self._position.offset if is_same_attempt else 0, invocation.attempt)
        is_reused = invocation.start is Start.REUSED
        self._part = self._logs.part(name, invocation.id, is_reused=is_reused, offset=self._position.offset)
        self._decoder.reset()
        if self._tail_lines is not None:
            self._skip_to_tail(self._part, self._tail_lines)
            self._tail_lines = None

    def _skip_to_tail(self, part: LogPart, lines: int) -> None:
        with contextlib.suppress(NotFound):
            part.skip_to_tail(lines)
        self._position = replace(self._position, offset=part.offset)

    def _output(self, is_all: bool) -> Iterator[Event]:
        part = self._part
        if part is None:
            return
        while True:
            try:
                piece = part.read(is_all=is_all)
            except NotFound:
                return  # not there yet, or not any more
            # A character that is cut in two waits for its rest; the position is before it.
            text = self._decoder.decode(piece, final=is_all and not piece)
            self._position = replace(self._position, offset=part.offset - len(self._decoder.getstate()[0]))
            if text:
                yield Event("log", self._position, {"text": text})
            if not piece:
                return
            self._followers.breathe()

    def _is_settled(self, invocation: Invocation) -> bool:
        """Nothing more will come: the invocation has ended and its log is closed, or takes too long to be."""
        if not invocation.status.is_terminal:
            return False
        if invocation.log_state is not LogState.OPEN:
            return True
        if self._ended_at is None:
            self._ended_at = time.monotonic()
        return time.monotonic() - self._ended_at >= SETTLE_SECONDS

    def _end(self, invocation: Invocation) -> Event:
        return Event("end", self._position, {"status": invocation.status, "log_state": invocation.log_state})


def with_progress(invocation: Invocation, pool: Pool) -> Invocation:
    """The record with what a container that runs here has said last: the stored progress is a moment older."""
    if invocation.status in _WITHOUT_CONTAINER:
        return replace(invocation, progress=None) if invocation.progress else invocation
    if invocation.log_state is not LogState.OPEN:
        return invocation
    progress = pool.progress(invocation.id)
    return replace(invocation, progress=progress) if progress else invocation
