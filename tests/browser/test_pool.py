"""What the dashboard says about the containers that a function keeps ready."""

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, Route, expect


def test_it_says_how_many_are_ready(open_function: Callable[[str], Page]) -> None:
    page = open_function("predict")
    expect(page.get_by_text(re.compile(r"^\d+ (of \d+ )?containers? ready"))).to_be_visible()


def test_a_call_that_finds_one_ready_says_so(open_function: Callable[[str], Page], run: Callable[[str], None]) -> None:
    page = open_function("train")
    expect(page.get_by_text(re.compile(r"^[1-9]\d* (of \d+ )?containers? ready"))).to_be_visible()
    page.get_by_role("spinbutton", name="n_estimators").fill("10")
    run("train")
    result = page.get_by_role("region", name="Result")
    expect(result).to_contain_text("A container was ready and waiting for this call.")
    expect(result.get_by_role("rowheader", name="Making the container")).to_have_count(0)
    first = page.get_by_role("region", name="Recent invocations").get_by_role("link").first
    expect(first).to_have_accessible_name(re.compile("^Succeeded train .*warm start"))


def test_a_function_without_any_says_so(open_function: Callable[[str], Page]) -> None:
    page = open_function("echo")
    expect(page.get_by_text("Each call gets a container made for it")).to_be_visible()


def test_containers_that_do_not_start_are_shown_with_their_last_words(
    page: Page, base_url: str, drop_broken_function: Callable[[str], None]
) -> None:
    drop_broken_function("broken-start")
    page.goto(f"{base_url}/#/functions/broken-start")
    expect(page.get_by_text("Containers fail before they are used")).to_be_visible()
    expect(page.get_by_text(re.compile("ended its own process .*exit code 7"))).to_be_visible()
    functions = page.get_by_role("navigation", name="Functions")
    expect(functions.get_by_role("link", name="broken-start")).to_contain_text("does not start")
    page.get_by_text("Its last log lines").click()
    expect(page.get_by_role("region", name="Last log lines")).to_contain_text("leaving before the first invocation")


def test_a_lack_of_memory_is_named(page: Page, base_url: str) -> None:
    def short_of_memory(route: Route) -> None:
        answer = route.fetch()
        functions: dict[str, Any] = answer.json()
        for one in functions["functions"]:
            one["pool"] |= {
                "target": 2,
                "ready": 1,
                "busy": 0,
                "starting": 0,
                "state": "no_memory",
                "problem": "Too small.",
            }
        route.fulfill(response=answer, json=functions)

    page.route(re.compile("/functions$"), short_of_memory)
    page.goto(f"{base_url}/#/functions/predict")
    expect(page.get_by_text("Not enough memory (POOL_MEMORY); 1 of 2 containers ready")).to_be_visible()
    expect(page.get_by_text("Too small.")).to_be_visible()
