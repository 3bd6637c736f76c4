"""Decides who is served, and what is to be made or given up. No waiting, no I/O, no lock of its own."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from function_runner.docker_engine import Image
from function_runner.docker_spec import new_container_name
from function_runner.errors import RunnerError
from function_runner.execution_environment import EnvironmentState, ExecutionEnvironment
from function_runner.function import Function
from function_runner.invocation import Start
from function_runner.pool.place import Begun, Place, Served
from function_runner.pool.shelf import Shelf
from function_runner.settings import Settings

MAX_RETRY_AFTER_SECONDS = 300
# A container that serves many takes the next caller in a moment; only who waits longer is worth another container.
REUSE_PATIENCE_SECONDS = 0.1
MAX_READY = 64  # each has a thread that copies its output (see MAX_CALLER_THREADS)


@dataclass(frozen=True)
class Plan:
    """What is to be done outside of the lock."""

    builds: tuple[Function, ...] = ()
    starts: tuple["Making", ...] = ()
    retired: tuple[tuple[ExecutionEnvironment, str], ...] = ()  # with the reason


@dataclass(frozen=True)
class Making:
    """One environment to make."""

    name: str  # of its container
    function: Function
    image: Image
    in_advance: bool  # nobody waits for it yet


class Planner:
    """Who is where: the queue, who runs, what is ready and what is being made. Does nothing but decide.

    It has no lock: whoever calls it, or reads what it knows, holds the pool's.
    """

    def __init__(self, settings: Settings, *, host_cpus: int, look_soon: Callable[[], None]) -> None:
        """``look_soon``: told when a caller is left waiting for a container that may not come free."""
        self._settings = settings
        self._host_cpus = host_cpus
        self._look_soon = look_soon
        self.queue: deque[Place] = deque()
        self.running: Counter[str] = Counter()  # places in use, by function
        self.running_long = 0  # of them, those of functions that may take long
        self.shelves: dict[str, Shelf] = {}
        self.environments: dict[str, ExecutionEnvironment] = {}  # by token; until their containers are removed
        # By token, those that have served one invocation and have not asked for the next one yet: nobody has them.
        self.between: dict[str, ExecutionEnvironment] = {}
        self.makings: dict[str, Making] = {}  # under way, by container name
        self.is_closed = False
        self.starts_nothing = False

    def shelf(self, function: Function) -> Shelf:
        """What is known of the function; a new one begins with nothing."""
        shelf = self.shelves.get(function.key)
        if shelf is None:
            shelf = self.shelves[function.key] = Shelf(function, time.monotonic())
        return shelf

    def serve(self) -> None:
        """Give what is ready to those who have waited longest.

        A function at its own limit, or without a ready environment, is passed over; it keeps its turn.
        """
        for place in list(self.queue):
            if self.free_places() <= 0:
                return
            if not self._may_run(place.function):
                continue
            environment = self.shelf(place.function).take_ready()
            if environment is None:
                continue
            self.queue.remove(place)
            self.count(place, +1)
            place.environment = environment
            place.start = self._start_of(environment, place)
            self._note_end_of_wait(place)
            place.messages.put(Served())

    @staticmethod
    def _start_of(environment: ExecutionEnvironment, place: Place) -> Start:
        if environment.served:
            return Start.REUSED
        return Start.WARM if (environment.milestones.ready or 0) <= place.entered_at else Start.COLD

    def free_places(self) -> int:
        """How many more invocations may run."""
        return self._settings.max_concurrency - self.running.total()

    def _may_run(self, function: Function, *, beside: int = 0, long_beside: int = 0) -> bool:
        """Whether the function's own limits allow one more (``beside`` those that are about to run).

        Functions that may take minutes leave one place to the others, where there is more than one.
        """
        limit = function.max_concurrency
        if limit is not None and self.running[function.key] + beside >= limit:
            return False
        if not function.is_long:
            return True
        return self.running_long + long_beside < max(1, self._settings.max_concurrency - 1)

    def count(self, place: Place, change: int) -> None:
        """The place is among those who run from now on (+1), or not any more (-1)."""
        place.is_running = change > 0
        self.running[place.function.key] += change
        if place.function.is_long:
            self.running_long += change

    def expected_wait(self, function: Function) -> int:
        """Whole seconds until a caller who comes now would be served, by what has been measured lately."""
        ahead = Counter(place.function.key for place in self.queue)
        ahead[function.key] += 1
        self.shelf(function)
        seconds = sum(self._seconds_each(self.shelves[name]) * count for name, count in ahead.items() if count)
        return max(1, min(MAX_RETRY_AFTER_SECONDS, round(seconds)))

    def _seconds_each(self, shelf: Shelf) -> float:
        """By how much one more invocation of this function puts off those behind it."""
        running = shelf.demand.busy_seconds / self._settings.max_concurrency
        if shelf.function.is_reused:
            return running
        return max(running, shelf.demand.start_seconds / self._host_cpus)

    def memory(self) -> int:
        """MB of all containers, counted by their limits."""
        made = sum(
            environment.function.memory_mb
            for environment in self.environments.values()
            if environment.state is not EnvironmentState.GONE  # its process is being killed, which takes a moment
        )
        named = {environment.name for environment in self.environments.values()}
        return made + sum(start.function.memory_mb for name, start in self.makings.items() if name not in named)

    def ready_memory(self) -> int:
        """MB of those that nobody uses, and of those that are being made in advance."""
        ready = sum(shelf.function.memory_mb * len(shelf.ready) for shelf in self.shelves.values())
        return ready + sum(start.function.memory_mb for start in self.makings.values() if start.in_advance)

    def plan(self) -> Plan:
        """What must be made now: first for those who wait, in their order, then to keep enough ready."""
        builds: list[Function] = []
        starts: list[Making] = []
        retired: list[tuple[ExecutionEnvironment, str]] = []
        if self.starts_nothing:
            return Plan()
        spare = {name: shelf.starting for name, shelf in self.shelves.items()}  # starts that nobody counts on yet
        for shelf in self._wanted_by_callers(spare):
            if not self._plan_one(shelf, False, builds, starts, retired):
                # Room that comes free is for this caller, not for those behind it or for what nobody waits for.
                return Plan(tuple(builds), tuple(starts), tuple(retired))
        if not self.is_closed:
            for shelf in self._wanted_in_advance(spare):
                self._plan_one(shelf, True, builds, starts, retired)
        return Plan(tuple(builds), tuple(starts), tuple(retired))

    def _wanted_by_callers(self, spare: dict[str, int]) -> Iterator[Shelf]:
        """A shelf for each waiting caller for whom nothing is being made yet, though there is a place for it."""
        places = self.free_places()
        about_to_run: Counter[str] = Counter()
        long_about_to_run = 0
        now = time.monotonic()
        for place in self.queue:
            name = place.function.key
            if places <= 0:
                return
            if not self._may_run(place.function, beside=about_to_run[name], long_beside=long_about_to_run):
                continue
            about_to_run[name] += 1
            long_about_to_run += place.function.is_long
            places -= 1
            shelf = self.shelf(place.function)
            if spare.get(name, 0) > 0:
                spare[name] -= 1
            elif shelf.function.is_reused and self._another_will_do(shelf, now - place.entered_at):
                self._look_soon()
            else:
                yield shelf

    def _another_will_do(self, shelf: Shelf, waited: float) -> bool:
        """A container that serves others now will be free for this caller soon, or there may not be another one."""
        living = self._living(shelf)
        most = shelf.function.warm_max if shelf.function.warm > 0 else self._settings.max_concurrency
        return living > 0 and (waited < REUSE_PATIENCE_SECONDS or living >= max(1, most))

    def _living(self, shelf: Shelf) -> int:
        """Containers of the function that have invocations left: ready, busy, or on their way from one to the other."""
        return sum(
            environment.function.key == shelf.function.key
            and environment.state in (EnvironmentState.READY, EnvironmentState.BUSY)
            and environment.served < shelf.function.invocations_per_container
            for environment in self.environments.values()
        )

    def _wanted_in_advance(self, spare: dict[str, int]) -> Iterator[Shelf]:
        """A shelf for each environment that is missing, the emptiest shelf first: nobody is starved by a busy one."""
        now = time.monotonic()

        def missing(shelf: Shelf) -> int:
            have = self._living(shelf) if shelf.function.is_reused else len(shelf.ready)
            return shelf.demand.target(shelf.function, now) - have - spare.get(shelf.function.key, 0)

        without_room: set[str] = set()
        while len(self.makings) < self._host_cpus and self._ready_and_coming() < MAX_READY:
            candidates = [
                shelf
                for shelf in self.shelves.values()
                if shelf.may_be_made_in_advance(now) and shelf.function.key not in without_room and missing(shelf) > 0
            ]
            if not candidates:
                return
            shelf = max(candidates, key=lambda shelf: missing(shelf) / max(1, shelf.demand.target(shelf.function, now)))
            before = shelf.starting
            yield shelf
            if shelf.starting > before:
                spare[shelf.function.key] = spare.get(shelf.function.key, 0) + 1
            else:
                without_room.add(shelf.function.key)

    def _ready_and_coming(self) -> int:
        return sum(len(shelf.ready) for shelf in self.shelves.values()) + len(self.makings)

    def _plan_one(
        self,
        shelf: Shelf,
        in_advance: bool,
        builds: list[Function],
        starts: list[Making],
        retired: list[tuple[ExecutionEnvironment, str]],
    ) -> bool:
        """Plan one more environment, or its image first. False when there is no room for it."""
        if shelf.image is None:
            if not shelf.is_building:
                shelf.is_building = True
                builds.append(shelf.function)
            if not in_advance:
                self._cover_with_image(shelf)
            return True
        if len(self.makings) >= self._host_cpus:
            return True
        while not self._has_room(shelf, in_advance):
            victim = None if in_advance else self._least_missed(shelf)
            if victim is None:
                return False
            retired.append((victim, "memory"))
        start = Making(new_container_name(shelf.function.name), shelf.function, shelf.image, in_advance)
        shelf.starting += 1
        self.makings[start.name] = start
        starts.append(start)
        if not in_advance:
            self._cover_with_container(shelf, start.name)
        return True

    def _has_room(self, shelf: Shelf, in_advance: bool) -> bool:
        needed, used = shelf.function.memory_mb, self.memory()
        if in_advance:
            fits = self.ready_memory() + needed <= self._settings.pool_memory
            fits = fits and used + needed <= self._settings.functions_memory
            shelf.is_short_of_memory = not fits
            return fits
        # The largest function runs as well, alone.
        return used + needed <= self._settings.functions_memory or used == 0

    def _least_missed(self, shelf: Shelf) -> ExecutionEnvironment | None:
        """A ready environment to give up, so that somebody who waits has room: taken off its shelf."""
        others = [other for other in self.shelves.values() if other is not shelf and other.ready]
        if not others:
            return None
        idlest = min(others, key=lambda other: other.demand.at)
        victim = idlest.ready.popleft()
        victim.give_up()
        return victim

    def _cover_with_image(self, shelf: Shelf) -> None:
        """Tell all who wait that the image they need is being made."""
        for place in self.queue:
            if place.function.key == shelf.function.key and place.covered_by == "nothing":
                place.covered_by = "image"
                place.messages.put(Begun(None))

    def _cover_with_container(self, shelf: Shelf, name: str) -> None:
        """Tell who waits longest that a container is being made for it."""
        for place in self.queue:
            if place.function.key == shelf.function.key and place.covered_by != "container":
                place.covered_by = "container"
                place.messages.put(Begun(name))
                return

    def fail(self, place: Place, error: RunnerError, environment: ExecutionEnvironment | None) -> None:
        """What was made for the caller did not come about."""
        self.queue.remove(place)
        place.environment = environment
        self._note_end_of_wait(place)
        place.start = Start.COLD
        place.messages.put(error)

    def _note_end_of_wait(self, place: Place) -> None:
        place.served_at = time.monotonic()
        place.build = self.shelf(place.function).build

    def has_ended(self, start: Making, shelf: Shelf) -> None:
        """It is made, or is not going to be."""
        if self.makings.pop(start.name, None) is not None:
            shelf.starting -= 1
