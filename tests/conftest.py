"""Fixtures of all tests, and the order of the run: what costs least comes first.

Tests below ``integration`` and ``browser``, and the Docker half of ``contract``, use the fixture ``stack``: one system,
started when the first of them needs it and kept through the session. ``tests/run.sh`` prepares the machine for it and
sets TEST_STACK; without that these tests are skipped, so that a plain ``pytest`` needs no container engine.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support.stack import Stack, leftovers, remove

TESTS = Path(__file__).parent
ORDER = ("static", "unit", "api", "store", "docs", "scripts", "contract", "integration", "browser", "benchmarks")
STACK = pytest.StashKey[Stack]()
SHOWN = pytest.StashKey[int]()
SHOW_CONTAINERS_FOR_FAILURES = 5

# How long an example takes says more of what else the machine is doing than of what is tested. The examples are the
# same each time, so that a run tells of what was changed; "explore" has other ones.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("any machine", settings.get_profile("explore"), derandomize=True)
settings.load_profile("any machine")

if os.environ.get("TESTS_PREPARED"):
    # tests/run.sh passes every signal on as this one; tear down and print the summary, as for Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each folder is a marker, and the folders run in the order of their cost."""
    for item in items:
        item.add_marker(_folder(item))
    items.sort(key=lambda item: ORDER.index(_folder(item)))


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The system under test, running: engine, runner, MLflow, NGINX."""
    name = os.environ.get("TEST_STACK")
    if not name:
        pytest.skip("needs the whole system: tests/run.sh starts one")
    say = _terminal(request)
    system = Stack(name, Path(os.environ["TEST_DIRECTORY"]))
    system.prepare_folders()
    request.config.stash[STACK] = system
    started = time.monotonic()
    try:
        say("")
        system.start(say=say)
        say(f"the system under test is up at {system.url} after {time.monotonic() - started:.0f} s")
        yield system
    finally:
        if not os.environ.get("KEEP"):
            say("")
            status, output = system.run_start_script("--stop")
            left = leftovers(name)["container"]
            remove(name, system.directory)
            assert status == 0, output[-3000:]
            assert not left, f"start.sh --stop left containers: {left}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A test that failed on the running system shows the containers' states and logs."""
    report = yield
    system = item.config.stash.get(STACK, None)
    shown = item.config.stash.get(SHOWN, 0)
    if (
        report.failed
        and system
        and "stack" in getattr(item, "fixturenames", ())
        and shown < SHOW_CONTAINERS_FOR_FAILURES
    ):
        item.config.stash[SHOWN] = shown + 1
        report.sections.append(("containers", system.describe()))
    return report


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


def _terminal(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints past pytest's capture: starting takes minutes, and silence would look like a hang."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(line, flush=True)

    return say
