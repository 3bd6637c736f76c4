"""Who is served, and what is made or given up: decided from what is known, without containers, threads or waiting."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from function_runner.docker_engine import Image
from function_runner.errors import BuildFailed
from function_runner.execution_environment import EnvironmentState
from function_runner.function import Function
from function_runner.invocation import Start, utc_now
from function_runner.pool.place import Begun, Place, Served
from function_runner.pool.planner import Planner
from function_runner.settings import Settings

MB = 100  # of every function here


def function(name="echo", **said):
    values = {
        "description": "",
        "timeout": 10,
        "cpus": 1,
        "warm": 0,
        "warm_max": 8,
        "warm_max_age": 3600,
        "max_concurrency": None,
        "invocations_per_container": 1,
        "max_idle": 300,
        "schema": None,
        "memory_mb": MB,
    }
    return Function(name=name, folder=Path(name), source_hash="0" * 64, **values | said)


class House:
    """A planner, and short words for what happens to it."""

    def __init__(self, *, host_cpus=2, **settings):
        values = {"max_concurrency": 4, "functions_memory": 10 * MB, "pool_memory": 5 * MB, **settings}
        self.looks = 0
        self.planner = Planner(Settings(**values), host_cpus=host_cpus, look_soon=self.look)

    def look(self):
        self.looks += 1

    def knows(self, *functions):
        """Their images are there, and their files have not changed for a while."""
        for one in functions:
            shelf = self.planner.shelf(one)
            shelf.image = Image("tag", "id", None, 1, utc_now())
            shelf.seen_at -= 60

    def comes(self, one, waited=0.0):
        place = Place(lambda _: None, one, "an id")
        place.entered_at -= waited
        self.planner.queue.append(place)
        return place

    def has(self, one, state=EnvironmentState.READY, served=0, ready=0.0):
        """An environment of the function; on its shelf when it is ready."""
        made = SimpleNamespace(
            name=f"{one.name}-{len(self.planner.environments)}",
            function=one,
            state=state,
            served=served,
            milestones=SimpleNamespace(ready=ready),
            idle_since=ready,
        )
        made.give_up = lambda: setattr(made, "state", EnvironmentState.GONE)
        self.planner.environments[made.name] = made
        if state is EnvironmentState.READY:
            self.planner.shelf(one).ready.append(made)
        return made

    def runs(self, one):
        place = Place(lambda _: None, one, "an id")
        self.planner.count(place, +1)
        return place

    def made(self, plan):
        return [making.function.name for making in plan.starts]


@pytest.fixture
def house():
    return House()


class TestServing:
    def test_who_has_waited_longest_is_first(self, house):
        echo = function()
        first, second = house.comes(echo), house.comes(echo)
        environment = house.has(echo)
        house.planner.serve()
        assert (first.environment, second.environment) == (environment, None)
        assert isinstance(first.messages.get_nowait(), Served)
        assert list(house.planner.queue) == [second]

    def test_one_whose_function_has_nothing_ready_is_passed_over_and_keeps_its_turn(self, house):
        echo, other = function(), function("other")
        first, second = house.comes(echo), house.comes(other)
        house.has(other)
        house.planner.serve()
        assert second.environment is not None
        assert list(house.planner.queue) == [first]

    def test_what_has_ended_while_it_waited_is_given_to_nobody(self, house):
        echo = function()
        house.has(echo).state = EnvironmentState.GONE
        place, environment = house.comes(echo), house.has(echo)
        house.planner.serve()
        assert place.environment is environment

    def test_no_more_than_may_run_at_once(self):
        house = House(max_concurrency=2)
        echo = function()
        for _ in range(3):
            house.comes(echo)
            house.has(echo)
        house.planner.serve()
        assert len(house.planner.queue) == 1
        assert house.planner.free_places() == 0

    def test_nor_than_the_function_says(self, house):
        echo = function(max_concurrency=1)
        house.runs(echo)
        place = house.comes(echo)
        house.has(echo)
        house.planner.serve()
        assert place.environment is None

    def test_long_ones_leave_a_place(self):
        house = House(max_concurrency=2)
        train, echo = function("train", timeout=300), function()
        house.runs(train)
        long, short = house.comes(train), house.comes(echo)
        house.has(train)
        house.has(echo)
        house.planner.serve()
        assert (long.environment, short.environment is not None) == (None, True)

    def test_where_there_is_one_place_it_is_for_all(self):
        house = House(max_concurrency=1)
        train = function("train", timeout=300)
        place = house.comes(train)
        house.has(train)
        house.planner.serve()
        assert place.environment is not None

    @pytest.mark.parametrize(
        ("served", "ready", "start"), [(0, 0.0, Start.WARM), (0, 2**40, Start.COLD), (1, 0.0, Start.REUSED)]
    )
    def test_how_it_started(self, house, served, ready, start):
        echo = function()
        place = house.comes(echo)
        house.has(echo, served=served, ready=ready)
        house.planner.serve()
        assert place.start is start


class TestMaking:
    def test_one_for_each_who_waits_as_many_as_there_are_cores(self, house):
        echo = function()
        house.knows(echo)
        waiting = [house.comes(echo) for _ in range(3)]
        plan = house.planner.plan()
        assert house.made(plan) == ["echo", "echo"]
        told = [place.messages.get_nowait() for place in waiting[:2]]
        assert told == [Begun(making.name) for making in plan.starts]
        assert waiting[2].messages.empty()
        assert house.made(house.planner.plan()) == []

    def test_the_image_first_and_once(self, house):
        echo = function()
        places = [house.comes(echo), house.comes(echo)]
        plan = house.planner.plan()
        assert (plan.builds, plan.starts) == ((echo,), ())
        assert [place.messages.get_nowait() for place in places] == [Begun(None)] * 2
        assert house.planner.plan().builds == ()

    def test_what_is_being_made_counts_for_who_waits(self, house):
        echo = function()
        house.knows(echo)
        house.comes(echo)
        (making,) = house.planner.plan().starts
        house.planner.has_ended(making, house.planner.shelf(echo))
        house.planner.queue.clear()
        assert house.made(house.planner.plan()) == []
        assert (house.planner.makings, house.planner.shelf(echo).starting) == ({}, 0)

    def test_nothing_for_those_beyond_the_free_places(self):
        house = House(max_concurrency=1)
        echo = function()
        house.knows(echo)
        house.runs(echo)
        house.comes(echo)
        assert house.made(house.planner.plan()) == []

    def test_room_is_made_by_giving_up_what_was_not_asked_for_for_longest(self, house):
        old, recent, echo = function("old"), function("recent"), function(memory_mb=9 * MB)
        house.knows(old, recent, echo)
        house.planner.shelf(recent).demand.note_call(100.0)
        victim, spared = house.has(old), house.has(recent)
        house.comes(echo)
        plan = house.planner.plan()
        assert plan.retired == ((victim, "memory"),)
        assert (victim.state, spared.state) == (EnvironmentState.GONE, EnvironmentState.READY)

    def test_room_that_comes_free_is_for_who_waits_first(self, house):
        large, small = function("large", memory_mb=6 * MB), function("small")
        house.knows(large, small)
        house.has(large, EnvironmentState.BUSY)
        house.comes(large)
        house.comes(small)
        assert house.made(house.planner.plan()) == []

    def test_the_largest_runs_alone(self, house):
        huge = function(memory_mb=100 * MB)
        house.knows(huge)
        house.comes(huge)
        assert house.made(house.planner.plan()) == ["echo"]

    def test_nothing_any_more_when_all_are_killed(self, house):
        echo = function(warm=1)
        house.knows(echo)
        house.comes(echo)
        house.planner.starts_nothing = True
        assert house.made(house.planner.plan()) == []


class TestMakingInAdvance:
    def test_the_emptiest_first(self):
        house = House(host_cpus=3)
        one, many = function("one", warm=1), function("many", warm=3)
        house.knows(one, many)
        house.has(many)
        assert house.made(house.planner.plan()) == ["one", "many", "many"]

    def test_not_beyond_its_memory(self):
        house = House(host_cpus=8, pool_memory=2 * MB)
        echo = function(warm=4)
        house.knows(echo)
        assert house.made(house.planner.plan()) == ["echo", "echo"]
        assert house.planner.shelf(echo).is_short_of_memory

    def test_one_that_does_not_fit_does_not_keep_others_from_it(self):
        house = House(host_cpus=8, pool_memory=2 * MB)
        large, small = function("large", warm=1, memory_mb=3 * MB), function("small", warm=2)
        house.knows(large, small)
        assert house.made(house.planner.plan()) == ["small", "small"]

    def test_who_waits_is_first(self, house):
        echo, other = function(warm=2), function("other")
        house.knows(echo, other)
        for _ in range(2):
            house.comes(other)
        assert house.made(house.planner.plan()) == ["other", "other"]

    def test_not_for_a_while_after_it_failed(self, house):
        echo = function(warm=1)
        house.knows(echo)
        shelf = house.planner.shelf(echo)
        shelf.note_trouble(BuildFailed(), ())
        assert house.made(house.planner.plan()) == []
        shelf.trouble.retry_at = 0.0
        assert house.made(house.planner.plan()) == ["echo"]

    def test_not_from_files_that_somebody_is_still_saving(self, house):
        echo = function(warm=1)
        house.planner.shelf(echo)
        assert house.planner.plan().builds == ()

    def test_not_when_nobody_is_let_in_any_more(self, house):
        echo = function(warm=1)
        house.knows(echo)
        house.planner.is_closed = True
        assert house.made(house.planner.plan()) == []


class TestReuse:
    def test_who_has_just_come_waits_for_one_that_serves_others(self, house):
        echo = function(invocations_per_container=5)
        house.knows(echo)
        house.has(echo, EnvironmentState.BUSY)
        house.comes(echo)
        assert house.made(house.planner.plan()) == []
        assert house.looks == 1

    def test_who_waits_longer_is_worth_another(self, house):
        echo = function(invocations_per_container=5)
        house.knows(echo)
        house.has(echo, EnvironmentState.BUSY)
        house.comes(echo, waited=1.0)
        assert house.made(house.planner.plan()) == ["echo"]

    def test_up_to_as_many_as_may_run(self):
        house = House(max_concurrency=2)
        echo = function(invocations_per_container=5)
        house.knows(echo)
        for _ in range(2):
            house.has(echo, EnvironmentState.BUSY)
        house.comes(echo, waited=1.0)
        assert house.made(house.planner.plan()) == []

    def test_one_that_has_served_all_it_may_is_no_hope(self, house):
        echo = function(invocations_per_container=5)
        house.knows(echo)
        house.has(echo, EnvironmentState.BUSY, served=5)
        house.comes(echo)
        assert house.made(house.planner.plan()) == ["echo"]


class TestExpectedWait:
    def test_it_grows_with_those_who_are_ahead(self, house):
        echo = function()
        house.planner.shelf(echo).demand.note_run(20.0)
        alone = house.planner.expected_wait(echo)
        for _ in range(4):
            house.comes(echo)
        assert (alone, house.planner.expected_wait(echo)) == (5, 25)

    def test_it_is_a_second_at_least_and_five_minutes_at_most(self, house):
        echo = function()
        shelf = house.planner.shelf(echo)
        shelf.demand.note_run(0.001)
        shelf.demand.note_start(0.001)
        assert house.planner.expected_wait(echo) == 1
        shelf.demand.note_run(1e6)
        assert house.planner.expected_wait(echo) == 300


def test_memory_is_counted_once_for_what_is_being_made(house):
    echo = function()
    house.knows(echo)
    house.comes(echo)
    (making,) = house.planner.plan().starts
    assert house.planner.memory() == MB
    house.has(echo, EnvironmentState.STARTING).name = making.name
    assert house.planner.memory() == MB
    house.has(echo, EnvironmentState.GONE)
    assert house.planner.memory() == MB
