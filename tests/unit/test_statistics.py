"""Figures over time: counts that are exact, percentiles within 2 %, nothing counted twice."""

import random
import statistics as exact
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from function_runner import statistics as statistics_module
from function_runner.errors import StoreUnavailable
from function_runner.invocation import Start, Status, utc_now
from function_runner.statistics import WINDOWS, Histogram, Statistics
from function_runner.store import End


class Record:
    """The part of a store that statistics use."""

    def __init__(self):
        self.ended = []
        self.error = None
        self.reads = 0
        self.open = {"queued": 0, "starting": 0, "running": 0}

    def add(self, function="echo", status=Status.SUCCEEDED, *, start=Start.WARM, ago=0.0, ended=60.0, total=10.0):
        at = utc_now() - timedelta(seconds=ended)
        created_at = utc_now() - timedelta(seconds=ago)
        run = total / 2 if total is not None and start is not None else None
        self.ended.append(End(3 * len(self.ended) + 3, at, function, status, start, created_at, total, run))

    def first_event_since(self, moment):
        return 1 if self.ended else None

    def ends(self, *, after, limit):
        self.reads += 1
        if self.error is not None:
            raise self.error
        return [end for end in self.ended if end.position > after][:limit]

    def count_open(self, function=None):
        return self.open


@pytest.fixture
def record():
    return Record()


@pytest.fixture
def statistics(record, monkeypatch):
    monkeypatch.setattr(statistics_module, "KEEP_SECONDS", 0.0)
    return Statistics(record)


def test_it_works(record, statistics):
    record.add("echo", total=10)
    record.add("echo", Status.FAILED, total=20, start=Start.COLD)
    record.add("train", Status.TIMED_OUT, total=1000)
    record.add("train", Status.CANCELLED, total=None, start=None)
    found = statistics.of("1h")
    total = found["total"]
    assert (total["count"], total["failures"]) == (4, 2)
    assert total["statuses"] == {"succeeded": 1, "failed": 1, "timed_out": 1, "cancelled": 1}
    assert {start: part["count"] for start, part in total["starts"].items()} == {"warm": 2, "cold": 1}
    assert total["total_ms"]["p95"] == pytest.approx(1000, rel=0.02)
    assert total["run_ms"]["p95"] == pytest.approx(500, rel=0.02)
    assert total["starts"]["cold"]["total_ms"]["p50"] == pytest.approx(20, rel=0.02)
    assert [(part["function"], part["count"], part["failures"]) for part in found["functions"]] == [
        ("echo", 2, 1),
        ("train", 2, 1),
    ]
    assert found["is_complete"]


def test_one_function_alone(record, statistics):
    record.add("echo")
    record.add("train", total=1000)
    found = statistics.of("1h", "train")
    assert found["total"]["count"] == 1
    assert sum(bucket["count"] for bucket in found["buckets"]) == 1
    assert [part["function"] for part in found["functions"]] == ["train"]
    assert statistics.of("1h", "nobody")["total"]["count"] == 0


@pytest.mark.parametrize("window", WINDOWS)
def test_buckets_have_no_gaps_and_end_now(statistics, window):
    found = statistics.of(window)
    width = timedelta(seconds=found["bucket_seconds"])
    begins = [bucket["begins_at"] for bucket in found["buckets"]]
    assert 45 <= len(begins) <= 60
    assert len(begins) * width == timedelta(seconds=WINDOWS[window].length)
    assert all(after - before == width for before, after in pairwise(begins))
    assert begins[-1] <= found["ends_at"] < begins[-1] + width
    assert found["begins_at"] == begins[0]
    assert found["total"]["total_ms"] == {"p50": None, "p95": None}


def test_a_bucket_that_was_shown_shows_what_came_later(record, statistics):
    for number in (1, 2):
        record.add("echo", total=10)
        record.add("train", total=20)
        for function, expected in ((None, 2 * number), ("echo", number), ("nobody", 0)):
            buckets = statistics.of("24h", function)["buckets"]
            assert sum(bucket["count"] for bucket in buckets) == expected


def test_each_is_in_the_bucket_in_which_it_was_asked_for(record, statistics, monkeypatch):
    now = utc_now().replace(second=30)  # so that no minute begins meanwhile
    monkeypatch.setitem(globals(), "utc_now", lambda: now)
    monkeypatch.setattr(statistics_module, "utc_now", lambda: now)
    for minutes in (0, 5, 5, 30, 90):
        record.add(ago=minutes * 60)
    found = statistics.of("1h")
    last = found["buckets"][-1]["begins_at"]
    counted = {round((last - bucket["begins_at"]).total_seconds() / 60): bucket["count"] for bucket in found["buckets"]}
    assert {minutes: number for minutes, number in counted.items() if number} == {0: 1, 5: 2, 30: 1}
    assert statistics.of("24h")["total"]["count"] == 5


def test_nothing_is_counted_twice_and_nothing_missed(record, statistics, monkeypatch):
    monkeypatch.setattr(statistics_module, "CHUNK", 7)
    for number in range(1, 40):
        record.add()
        assert statistics.of("7d")["total"]["count"] == number


def test_what_ended_just_now_waits_for_those_before_it(record, statistics, monkeypatch):
    monkeypatch.setattr(statistics_module, "SETTLE_SECONDS", 30.0)
    record.add()
    record.add(ended=0)
    record.add()  # its number is higher, its clock behind
    assert statistics.of("1h")["total"]["count"] == 1
    record.ended[1] = replace(record.ended[1], at=record.ended[0].at)
    assert statistics.of("1h")["total"]["count"] == 3


def test_a_clock_that_was_set_back_stops_nothing(record, statistics):
    record.add(ended=-3600)
    record.add()
    assert statistics.of("1h")["total"]["count"] == 2


def test_a_database_whose_clock_is_ahead_is_waited_for(record, statistics):
    record.add(ended=-5)
    assert statistics.of("1h")["total"]["count"] == 0


def test_a_long_history_is_read_in_parts_and_says_so(record, statistics, monkeypatch):
    monkeypatch.setattr(statistics_module, "CHUNK", 10)
    monkeypatch.setattr(statistics_module, "PATIENCE_SECONDS", -1.0)
    for _ in range(25):
        record.add()
    found = [(answer["is_complete"], answer["total"]["count"]) for answer in (statistics.of("1h") for _ in range(3))]
    assert found == [(False, 10), (False, 20), (True, 25)]


def test_answers_are_kept_for_a_moment(record, monkeypatch):
    monkeypatch.setattr(statistics_module, "KEEP_SECONDS", 60.0)
    statistics = Statistics(record)
    record.add()
    first = statistics.of("1h")
    record.add()
    assert statistics.of("1h") is first
    assert record.reads == 1
    assert statistics.of("24h")["total"]["count"] == 1


def test_what_has_left_the_window_is_forgotten(record, statistics, monkeypatch):
    record.add()
    assert statistics.of("1h")["total"]["count"] == 1
    later = utc_now() + timedelta(hours=2)
    monkeypatch.setattr(statistics_module, "utc_now", lambda: later)
    assert statistics.of("1h")["total"]["count"] == 0
    assert statistics._stretches["1h"] == {}
    assert statistics.of("24h")["total"]["count"] == 1


def test_after_a_failure_it_goes_on(record, statistics):
    record.add()
    record.error = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        statistics.of("1h")
    record.error = None
    assert statistics.of("1h")["total"]["count"] == 1


def test_percentiles_are_within_two_percent():
    random.seed(7)
    durations = [random.lognormvariate(2, 1.5) for _ in range(20_000)]
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    cuts = exact.quantiles(durations, n=100)
    p50, p95 = histogram.percentiles(0.5, 0.95)
    assert p50 == pytest.approx(cuts[49], rel=0.025)
    assert p95 == pytest.approx(cuts[94], rel=0.025)


@pytest.mark.parametrize("duration", [0.0, 0.0001, 1.0, 900_000.0])
def test_any_duration_can_be_counted(duration):
    histogram = Histogram()
    histogram.add(duration)
    assert histogram.percentiles(0.5, 0.95) == [pytest.approx(max(duration, 0.001), rel=0.02, abs=0.001)] * 2


def test_the_whole_is_the_sum_of_its_parts():
    one, other, both = Histogram(), Histogram(), Histogram()
    for duration in (1.0, 5.0, 9.0):
        one.add(duration)
        both.add(duration)
    for duration in (2.0, 50.0):
        other.add(duration)
        both.add(duration)
    one.include(other)
    assert one.percentiles(0.25, 0.5, 0.95) == both.percentiles(0.25, 0.5, 0.95)
