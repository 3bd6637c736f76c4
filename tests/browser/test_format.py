"""How values are put into words: format.js, run where it runs."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

IDLE = {"target": 2, "ready": 2, "starting": 0, "busy": 0, "waiting": 0}

CASES = [
    ("duration", [None], "\N{EN DASH}"),
    ("duration", [0], "0 ms"),
    ("duration", [0.04], "< 0.1 ms"),
    ("duration", [0.44], "0.4 ms"),
    ("duration", [9.97], "10 ms"),
    ("duration", [12.3], "12 ms"),
    ("duration", [999.6], "1.0 s"),
    ("duration", [1876], "1.9 s"),
    ("duration", [59_960], "1 min 00 s"),
    ("bytes", [None], "\N{EN DASH}"),
    ("bytes", [0], "0 B"),
    ("bytes", [999], "999 B"),
    ("bytes", [4200], "4.2 kB"),
    ("bytes", [725_970_043], "726 MB"),
    ("bytes", [75_464_990_720], "75.5 GB"),
    ("startKind", ["reused"], "reused"),
    ("progressWords", [{"done": 3, "total": 8}], "3 of 8"),
    ("progressWords", [{"done": 0.5, "total": None}], "0.5"),
    ("startWords", ["warm", {}], "A container was ready and waiting for this call."),
    ("startWords", ["reused", {}], "A container that was used before took this call."),
    ("startWords", ["cold", {"create_ms": 12}], "No container was ready; one was made for this call."),
    ("startWords", ["cold", {"create_ms": 0}], "No container was ready; this call waited for one that was being made."),
    ("startWords", [None, {}], ""),
    ("poolWords", [IDLE], "2 of 2 containers ready"),
    ("poolWords", [IDLE | {"ready": 3}], "3 containers ready"),
    ("poolWords", [IDLE | {"target": 0, "ready": 0}], ""),
    (
        "poolWords",
        [IDLE | {"ready": 0, "starting": 1, "busy": 1, "waiting": 2}],
        "0 of 2 containers ready, 1 starting, 1 busy, 2 calls waiting",
    ),
    ("waitingWords", [IDLE | {"busy": 1}], "A container is running this call."),
    ("waitingWords", [IDLE], "Waiting for the answer."),
    (
        "waitingWords",
        [IDLE | {"waiting": 1, "starting": 1, "ready": 0}],
        "In the queue: 1 call waiting, 1 container starting.",
    ),
    ("waitingWords", [IDLE | {"waiting": 3}], "In the queue: 3 calls waiting, 2 containers ready."),
]


@pytest.fixture(scope="module")
def module_page(browser: Browser, base_url: str) -> Iterator[Page]:
    """One page for all: nothing here changes it."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(base_url)
        yield page


@pytest.mark.parametrize(("function", "arguments", "expected"), CASES)
def test_it_works(module_page: Page, function: str, arguments: list[Any], expected: str) -> None:
    words = module_page.evaluate(
        "async ([name, values]) => (await import('/js/format.js'))[name](...values)", [function, arguments]
    )
    assert words == expected
