"""What is done again and again, until it is stopped."""

import logging
import threading
import time

import pytest

from function_runner.errors import RunnerError
from function_runner.rounds import Rounds

LONG = 3600.0


@pytest.fixture
def rounds():
    """A function that makes rounds of this work; they are stopped at the end."""
    made = []

    def make(work, **options):
        found = Rounds("tidying", work, **{"pause": lambda: 0.001, "failure": "tidying_failed", **options})
        made.append(found)
        return found

    yield make
    for found in made:
        found.stop()


class Work:
    """Counts its rounds, and raises what it is told to."""

    def __init__(self, error=None):
        self.done = 0
        self.error = error
        self._changed = threading.Condition()

    def __call__(self):
        with self._changed:
            self.done += 1
            self._changed.notify_all()
        if self.error is not None:
            raise self.error

    def wait_for(self, number):
        with self._changed:
            assert self._changed.wait_for(lambda: self.done >= number, timeout=10)


def test_it_works(rounds):
    work = Work()
    found = rounds(work)
    assert not found.is_stopped
    found.start()
    work.wait_for(5)
    found.stop()
    assert found.is_stopped
    done = work.done
    time.sleep(0.02)
    assert work.done == done


@pytest.mark.parametrize(
    ("error", "level"), [(RunnerError("the disk is away"), logging.WARNING), (ValueError("a bug"), logging.ERROR)]
)
def test_a_round_that_fails_is_told_and_not_the_last(rounds, caplog, error, level):
    work = Work(error)
    rounds(work).start()
    work.wait_for(3)
    # Threads that an earlier test has left behind may have something to say as well.
    first = next(entry for entry in caplog.records if getattr(entry, "action", None) == "tidying_failed")
    assert first.levelno == level
    assert "tidying failed" in first.message


def test_the_first_one_comes_after_a_pause_of_its_own(rounds):
    work = Work()
    rounds(work, pause=lambda: LONG, first_pause=0).start()
    work.wait_for(1)


def test_the_first_one_comes_after_a_pause(rounds):
    work = Work()
    found = rounds(work, pause=lambda: LONG)
    found.start()
    found.stop()
    assert work.done == 0


def test_a_pause_can_be_cut_short(rounds):
    work = Work()
    found = rounds(work, pause=lambda: LONG, first_pause=0)
    found.start()
    for number in range(1, 4):
        work.wait_for(number)
        found.wake()
    work.wait_for(4)


def test_somebody_elses_event_cuts_it_short(rounds):
    work = Work()
    has_work = threading.Event()
    rounds(work, pause=lambda: LONG, woken=has_work).start()
    has_work.set()
    work.wait_for(1)


def test_what_is_asked_for_during_a_round_is_done_in_the_next(rounds):
    begun, go_on = threading.Event(), threading.Event()
    done = []

    def work():
        done.append(time.monotonic())
        begun.set()
        assert go_on.wait(10)

    found = rounds(work, pause=lambda: LONG, first_pause=0)
    found.start()
    assert begun.wait(10)
    begun.clear()
    found.wake()
    go_on.set()
    assert begun.wait(10)
    assert len(done) == 2


def test_a_rest_within_a_round_ends_with_the_work(rounds):
    begun = threading.Event()
    told = []

    def work():
        begun.set()
        told.append(found.rest(LONG))

    found = rounds(work, first_pause=0)
    found.start()
    assert begun.wait(10)
    found.stop()
    assert told == [True]


def test_one_that_was_never_started_can_be_stopped(rounds):
    rounds(Work()).stop()
