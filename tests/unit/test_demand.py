"""How many ready environments the calls of a function ask for."""

from pathlib import Path

import pytest

from function_runner.demand import FALL_SECONDS, Demand
from function_runner.function import Function


def function(*, warm=2, warm_max=8):
    return Function(
        name="echo",
        folder=Path("echo"),
        source_hash="0" * 64,
        description="",
        timeout=60,
        memory_mb=128,
        cpus=1,
        warm=warm,
        warm_max=warm_max,
        warm_max_age=3600,
        max_concurrency=None,
        invocations_per_container=1,
        max_idle=300,
        schema=None,
    )


def called(rate, *, seconds, start_seconds=1.0, until=0.0):
    """A demand after so many seconds of calls at an even rate, the last of them at ``until``."""
    demand = Demand()
    demand.note_start(start_seconds)
    for number in range(int(rate * seconds)):
        demand.note_call(until - seconds + (number + 1) / rate)
    return demand


def test_it_works():
    assert Demand().target(function(), 0.0) == 2


def test_zero_is_off_whatever_comes():
    assert called(50, seconds=10).target(function(warm=0, warm_max=8), 0.0) == 0


@pytest.mark.parametrize("rate", [1, 2, 4, 8])
def test_the_rate_is_the_calls_per_second(rate):
    assert called(rate, seconds=300).rate(0.0) == pytest.approx(rate, rel=0.25)


def test_it_grows_with_the_rate_and_with_the_time_a_start_takes():
    slow = called(2, seconds=60, start_seconds=0.5).target(function(), 0.0)
    fast = called(2, seconds=60, start_seconds=2.0).target(function(), 0.0)
    assert slow == 2
    assert 5 <= fast <= 8


def test_it_never_grows_beyond_the_most():
    assert called(50, seconds=30).target(function(warm_max=5), 0.0) == 5


def test_a_burst_raises_it_at_once():
    demand = Demand()
    for _ in range(20):
        demand.note_call(0.0)
    assert demand.target(function(), 0.0) == 8


def test_it_shrinks_when_nobody_calls_but_not_at_once():
    demand = called(4, seconds=120)
    assert demand.target(function(), 5.0) > 2
    assert demand.target(function(), 10 * FALL_SECONDS) == 2
