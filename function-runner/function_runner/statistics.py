"""How invocations went over time: how many, how they ended, how long they took.

What has ended never changes, so it is read from the record once, in the order in which it ended, and added up in memory
by function, kind of start and stretch of time. An answer then costs the same for ten records as for a million.
Durations are kept as a histogram whose bars grow by 4 %, so every percentile is within 2 % of the exact one.
"""

import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from function_runner.invocation import Start, Status, utc_now
from function_runner.store import End, Store

KEEP_SECONDS = 2.0  # answers that are not older are given again
# What ended just now is left for the next time: with several runners, one with a lower number may still be on its way.
SETTLE_SECONDS = 1.0
CLOCKS_APART_SECONDS = 30.0  # how far the database's clock may be ahead of ours
CHUNK = 5000  # ends read at once
PATIENCE_SECONDS = 1.0  # of one caller, for the history that is read after a start
GROWTH = math.log(1.04)
SHORTEST_MS = 0.001

FAILURES = frozenset({Status.FAILED, Status.TIMED_OUT, Status.LOST})


@dataclass(frozen=True)
class Window:
    """A length of time up to now, and that of the stretches it is shown in; both in seconds."""

    length: int
    width: int


WINDOWS = {"1h": Window(3600, 60), "24h": Window(24 * 3600, 1800), "7d": Window(7 * 24 * 3600, 3 * 3600)}
LONGEST = max(window.length for window in WINDOWS.values())


class Histogram:
    """Durations, counted in bars that grow by 4 %."""

    def __init__(self) -> None:
        self._bars: Counter[int] = Counter()

    def add(self, milliseconds: float) -> None:
        """Count one duration."""
        self._bars[math.ceil(math.log(max(milliseconds, SHORTEST_MS)) / GROWTH)] += 1

    def include(self, other: "Histogram") -> None:
        """Count all of another's durations."""
        bars, others = self._bars, other._bars  # noqa: SLF001 - of the same class
        if not bars:
            bars.update(others)
            return
        for bar, number in others.items():
            bars[bar] = bars.get(bar, 0) + number

    def percentiles(self, *shares: float) -> list[float | None]:
        """For each of these shares, in ascending order, the duration that it does not exceed, within 2 %; or None."""
        number = self._bars.total()
        found: list[float | None] = []
        passed = 0
        for bar in sorted(self._bars):
            passed += self._bars[bar]
            while len(found) < len(shares) and passed >= shares[len(found)] * number:
                # Between the bar's ends, as far from both in proportion.
                found.append(round(math.exp((bar - 0.5) * GROWTH), 3))
        return found or [None for _ in shares]


@dataclass
class _Sum:
    """Invocations of one function in one stretch of time, by the kind of start."""

    statuses: Counter[Status] = field(default_factory=Counter)
    total: Histogram = field(default_factory=Histogram)
    run: Histogram = field(default_factory=Histogram)

    def add(self, end: End) -> None:
        self.statuses[end.status] += 1
        if end.total_ms is not None:
            self.total.add(end.total_ms)
        if end.run_ms is not None:
            self.run.add(end.run_ms)

    def include(self, other: "_Sum") -> None:
        self.statuses.update(other.statuses)
        self.total.include(other.total)
        self.run.include(other.run)


_Sums = dict[tuple[str, Start | None], _Sum]


class _Stretch:
    """What was asked for in one stretch of time, and how it was last shown."""

    def __init__(self) -> None:
        self._sums: _Sums = {}
        self._shown: dict[str | None, dict[str, Any]] = {}  # by function; of those that occur, as long as it is true

    def count(self, end: End) -> None:
        key = (end.function, end.start)
        if key not in self._sums:
            self._sums[key] = _Sum()
        self._sums[key].add(end)
        self._shown.clear()

    def sums(self, function: str | None) -> _Sums:
        return self._sums if function is None else {key: part for key, part in self._sums.items() if key[0] == function}

    def shown(self, function: str | None) -> dict[str, Any]:
        if function not in self._shown:
            sums = self.sums(function)
            if not sums:
                return _shown(sums)
            self._shown[function] = _shown(sums)
        return self._shown[function]


class Statistics:
    """Adds up what has ended. Safe to use from any thread."""

    def __init__(self, store: Store) -> None:
        """Nothing is read before somebody asks."""
        self._store = store
        self._lock = threading.Lock()
        # Guarded by the lock:
        self._position: int | None = None  # of the last end that is counted
        self._is_complete = False
        self._is_reading = False
        self._read_at = -math.inf
        self._stretches: dict[str, dict[int, _Stretch]] = {name: {} for name in WINDOWS}  # by number since the epoch
        self._answers: dict[tuple[str, str | None], dict[str, Any]] = {}  # since the last reading

    def of(self, window: str, function: str | None = None) -> dict[str, Any]:
        """The figures of one of `WINDOWS`, of one function or of all, not older than about `KEEP_SECONDS`.

        Raises:
            StoreUnavailable: the record cannot be read.
        """
        self._catch_up()
        with self._lock:
            answer = self._answers.get((window, function))
        if answer is None:
            answer = {"open": self._store.count_open(function)}
            with self._lock:
                answer |= self._figures(window, function)
                self._answers[(window, function)] = answer
        return answer

    def _catch_up(self) -> None:
        with self._lock:
            if self._is_reading or time.monotonic() - self._read_at < KEEP_SECONDS:
                return
            self._is_reading = True
        try:
            self._read(gives_up_at=time.monotonic() + PATIENCE_SECONDS)
        finally:
            with self._lock:
                self._is_reading = False

    def _read(self, *, gives_up_at: float) -> None:
        """Only one thread is in here; the lock is for those who meanwhile want an answer."""
        position = self._position
        if position is None:
            first = self._store.first_event_since(utc_now() - timedelta(seconds=LONGEST))
            if first is None:
                self._end_reading(is_complete=True)
                return
            position = first - 1
        while True:
            now = utc_now()
            ends = self._store.ends(after=position, limit=CHUNK)
            settled = next((index for index, end in enumerate(ends) if _is_young(end, now)), len(ends))
            if settled:
                position = ends[settled - 1].position
            with self._lock:
                self._position = position
                for end in ends[:settled]:
                    self._count(end)
            if settled < CHUNK or time.monotonic() > gives_up_at:
                self._end_reading(is_complete=settled < CHUNK)
                return

    def _end_reading(self, *, is_complete: bool) -> None:
        now = utc_now()
        with self._lock:
            self._is_complete = is_complete
            self._read_at = time.monotonic() if is_complete else -math.inf
            self._answers.clear()
            for name, stretches in self._stretches.items():
                oldest = _numbers(WINDOWS[name], now)[0]
                for number in [number for number in stretches if number < oldest]:
                    del stretches[number]

    def _count(self, end: End) -> None:
        moment = end.created_at.timestamp()
        age = time.time() - moment
        for name, window in WINDOWS.items():
            if age < window.length:
                stretches, number = self._stretches[name], int(moment // window.width)
                if number not in stretches:
                    stretches[number] = _Stretch()
                stretches[number].count(end)

    def _figures(self, window: str, function: str | None) -> dict[str, Any]:
        width, now = WINDOWS[window].width, utc_now()
        numbers = _numbers(WINDOWS[window], now)
        stretches = self._stretches[window]
        buckets = []
        whole: _Sums = defaultdict(_Sum)
        nothing = _Stretch()
        for number in numbers:
            stretch = stretches.get(number, nothing)
            buckets.append({"begins_at": _moment(number * width), **stretch.shown(function)})
            for key, part in stretch.sums(function).items():
                whole[key].include(part)
        return {
            "window": window,
            "function": function,
            "begins_at": _moment(numbers[0] * width),
            "ends_at": now,
            "bucket_seconds": width,
            "is_complete": self._is_complete,
            "buckets": buckets,
            "total": _shown(whole),
            "functions": [
                {"function": name, **_shown({key: part for key, part in whole.items() if key[0] == name})}
                for name in sorted({key[0] for key in whole})
            ],
        }


def _is_young(end: End, now: datetime) -> bool:
    """Whether it may still be overtaken. One from far ahead is not: the clock was set back since, and nobody waits."""
    return timedelta(seconds=-CLOCKS_APART_SECONDS) < now - end.at < timedelta(seconds=SETTLE_SECONDS)


def _numbers(window: Window, now: datetime) -> range:
    """The stretches of a window; the last one is the present one, which has only begun."""
    last = int(now.timestamp() // window.width)
    return range(last - window.length // window.width + 1, last + 1)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _shown(sums: Mapping[tuple[str, Start | None], _Sum]) -> dict[str, Any]:
    starts: dict[Start | None, _Sum] = defaultdict(_Sum)
    for (_, start), part in sums.items():
        starts[start].include(part)
    everything = _Sum()
    for part in starts.values():
        everything.include(part)
    return {
        **_numbers_of(everything),
        "statuses": {status: everything.statuses[status] for status in Status if status in everything.statuses},
        "starts": {start: _numbers_of(starts[start]) for start in Start if start in starts},
    }


def _numbers_of(part: _Sum) -> dict[str, Any]:
    return {
        "count": part.statuses.total(),
        "failures": sum(part.statuses[status] for status in FAILURES),
        "total_ms": _percentiles_of(part.total),
        "run_ms": _percentiles_of(part.run),
    }


def _percentiles_of(histogram: Histogram) -> dict[str, float | None]:
    p50, p95 = histogram.percentiles(0.5, 0.95)
    return {"p50": p50, "p95": p95}
