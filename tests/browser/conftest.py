"""Fixtures of the browser tests: Debian's Chromium, a page that tolerates no error, and the address of the dashboard.

The system under test is the fixture ``stack``; with SMLOPS_URL set, the one that answers there. Things are
found by role and by the words people read, never by the page's structure.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect

from support.client import Client
from support.stack import LIMITS, Stack
from support.waiting import wait_until

# Generous: on a busy machine a cold start takes seconds, and the first call of a function builds its image.
PATIENCE = 60_000
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# A container's network interface makes Chromium drop connections that are just being made; the dashboard tries again.
NOT_OURS = "net::ERR_NETWORK_CHANGED"
REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`content policy violation: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`));
"""


@pytest.fixture(scope="session")
def base_url(request: pytest.FixtureRequest) -> str:
    """Where the dashboard is. Without SMLOPS_URL that is this run's stack, which decides whether tests are skipped."""
    address = os.environ.get("SMLOPS_URL")
    return address.rstrip("/") if address else request.getfixturevalue("stack").url


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, object]:
    """Playwright's own browser cannot be downloaded everywhere; the distribution's can be installed."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "no Chromium found; on Debian: apt-get install chromium"
    return {"executable_path": found, "args": FLAGS, "headless": True}


@pytest.fixture(scope="session")
def browser_context_args() -> dict[str, object]:
    return {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light", "locale": "en-GB"}


@pytest.fixture
def expected_failures() -> list[str]:
    """Chromium reports failed requests on the console; a test that provokes one adds a word of it, such as "422"."""
    return []


@pytest.fixture
def page(context: BrowserContext, base_url: str, expected_failures: list[str]) -> Iterator[Page]:
    """An empty page, on which until the test ends no script may fail and nothing may violate the content policy."""
    expect.set_options(timeout=PATIENCE)
    context.set_default_timeout(PATIENCE)
    reports: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            reports.append(f"{message.type}: {message.text}")

    context.add_init_script(REPORT_VIOLATIONS)
    page = context.new_page()
    page.on("console", listen)
    page.on("pageerror", lambda error: reports.append(f"uncaught: {error}"))
    yield page
    unexpected = [
        report
        for report in reports
        if not (
            "Failed to load resource" in report and any(words in report for words in (NOT_OURS, *expected_failures))
        )
    ]
    assert not unexpected, "\n".join(unexpected)


@pytest.fixture
def client(base_url: str) -> Client:
    """The HTTP interface of the same system, for what a test needs beforehand."""
    return Client(base_url)


@pytest.fixture(scope="session")
def trained(base_url: str) -> str:
    """The version of ``iris_model`` that a training registered in this session."""
    version: str = Client(base_url).invoke("train", {"n_estimators": 10}).result["model_version"]
    return version


@pytest.fixture
def open_function(page: Page, base_url: str) -> Callable[[str], Page]:
    """Open the page of a function by its address."""

    def open_page(name: str) -> Page:
        page.goto(f"{base_url}/#/functions/{name}")
        expect(page.get_by_role("heading", name=name, exact=True, level=1)).to_be_visible()
        return page

    return open_page


@pytest.fixture
def drop_function(stack: Stack) -> Iterator[Callable[[str, str], Path]]:
    """Drop a copy of a function's folder into the running system, under another name; it is taken away afterwards."""
    dropped: list[Path] = []

    def drop(source: str, name: str) -> Path:
        made = stack.directory / f"new-{name}"
        shutil.copytree(stack.functions_path / source, made)
        folder = stack.functions_path / name
        made.rename(folder)  # at once, as a person would move it there
        dropped.append(folder)
        return folder

    yield drop
    for folder in dropped:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def drop_broken_function(drop_function: Callable[[str, str], Path], stack: Stack) -> Callable[[str], None]:
    """Drop a function whose containers are to be kept ready and never come up; returns when the pool knows."""

    def drop(name: str) -> None:
        manifest = drop_function("init-exits", name) / "function.yaml"
        manifest.write_text(f"{manifest.read_text()}warm: 1\n")
        wait_until(
            lambda: stack.get(f"/functions/{name}").json["pool"]["state"] == "broken",
            seconds=90,
            what="the pool has noticed",
        )

    return drop


@pytest.fixture
def run(page: Page) -> Callable[[str], None]:
    """Press a function's run button and wait until the call has ended."""

    def press(name: str) -> None:
        page.get_by_role("button", name=f"Run {name}", exact=True).click()
        # The button says at once that it is busy; its words change only when the call takes long.
        button = page.get_by_role("button", name=re.compile(rf"^(Run {re.escape(name)}$|Running)"))
        expect(button).to_have_attribute("aria-disabled", "false")

    return press


@pytest.fixture
def fill_the_house(stack: Stack) -> Iterator[Callable[[float], None]]:
    """Occupy every place there is for some seconds; returns when all are taken."""
    places = int(LIMITS["MAX_CONCURRENCY"])

    def fill(seconds: float) -> None:
        for _ in range(places):
            calls.submit(stack.invoke, "sleep", {"seconds": seconds})
        wait_until(
            lambda: stack.get("/functions/sleep").json["pool"]["busy"] == places,
            seconds=60,
            what="every place is taken",
        )

    with ThreadPoolExecutor(max_workers=places) as calls:
        yield fill


@pytest.fixture(autouse=True)
def nothing_stays(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test the containers it caused are gone; one that stays is a failure."""
    if os.environ.get("SMLOPS_URL"):
        yield
        return
    stack: Stack = request.getfixturevalue("stack")
    yield
    wait_until(lambda: not stack.used_containers(), seconds=60, what="the containers of this test are removed")
