"""What the dashboard says when something does not go well."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, Route, expect

API = re.compile(r"/(ready|debug|functions|invocations|invoke|models|compare|statistics)(/|\?|$)")


def test_the_schema_s_error_appears_at_its_field(
    open_function: Callable[[str], Page], run: Callable[[str], None], expected_failures: list[str]
) -> None:
    expected_failures.append("422")
    page = open_function("train")
    page.get_by_text("More options").click()
    name = page.get_by_role("textbox", name="model_name")
    name.fill("not a name")
    run("train")
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(name).to_have_accessible_description(re.compile("."))
    expect(name).to_be_focused()
    expect(page.get_by_role("region", name="Result")).to_contain_text("parameters_invalid")


def test_a_folded_field_with_an_error_is_unfolded(open_function: Callable[[str], Page]) -> None:
    page = open_function("train")
    page.get_by_text("More options").click()
    trials = page.get_by_role("spinbutton", name="n_trials")
    trials.fill("0")
    page.get_by_text("More options").click()
    expect(trials).to_be_hidden()
    page.get_by_role("button", name="Run train").click()
    expect(trials).to_be_focused()
    expect(trials).to_have_accessible_description("Must be between 1 and 200.")


def test_errors_of_several_fields_each_appear_at_their_own(
    open_function: Callable[[str], Page], run: Callable[[str], None], expected_failures: list[str]
) -> None:
    expected_failures.append("422")
    page = open_function("refuses")
    run("refuses")
    expect(page.get_by_role("combobox", name="kind")).to_have_accessible_description("Is not to my taste.")
    expect(page.get_by_role("textbox", name="lines")).to_have_accessible_description(
        re.compile("Item 1: neither is this")
    )


def test_a_failing_function_shows_its_error_and_its_log(
    open_function: Callable[[str], Page], run: Callable[[str], None], expected_failures: list[str]
) -> None:
    expected_failures.append("500")
    page = open_function("raises")
    run("raises")
    result = page.get_by_role("region", name="Result")
    expect(result.get_by_text(re.compile("raised ValueError: this went wrong"))).to_be_visible()
    expect(result.get_by_text(re.compile("^What to do: Look at handler.py, line"))).to_be_visible()
    expect(result.get_by_role("region", name="What shows it")).to_contain_text("ValueError: this went wrong")
    error = result.get_by_text("Function 'raises' raised: ValueError: this went wrong", exact=True)
    expect(error).to_be_hidden()
    result.get_by_text("The error itself").click()
    expect(error).to_be_visible()
    expect(result).to_contain_text("handler_error")
    expect(result.get_by_role("region", name="Log text")).to_contain_text("about to raise")
    expect(result.get_by_text(re.compile("^raises-[0-9a-f]{12}$"))).to_be_visible()
    result.get_by_text("Stack trace").click()
    expect(result.get_by_role("region", name="Stack trace")).to_contain_text("handler.py")


def test_a_function_that_cannot_be_used_says_why(open_function: Callable[[str], Page]) -> None:
    page = open_function("broken-manifest")
    problem = page.get_by_role("group", name="Problem")
    expect(problem).to_contain_text("function.yaml")
    expect(page.get_by_role("button", name=re.compile("^Run"))).to_have_count(0)


def test_a_running_call_shows_the_time_and_cannot_be_sent_twice(open_function: Callable[[str], Page]) -> None:
    page = open_function("sleep")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.url.endswith("/invoke") else None)
    page.get_by_role("spinbutton", name="seconds").fill("3")
    button = page.get_by_role("button", name=re.compile("^(Run sleep|Running)"))
    button.click()
    expect(button).to_have_attribute("aria-disabled", "true")
    expect(page.get_by_role("timer").last).to_have_text(re.compile(r"^[1-9]\d*(\.\d)? s$"))
    button.click(force=True)
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Result")).to_contain_text("Slept")
    assert len(sent) == 1


def test_it_says_that_the_runner_is_gone_and_goes_on_when_it_is_back(
    open_function: Callable[[str], Page], expected_failures: list[str]
) -> None:
    expected_failures.append("net::ERR_FAILED")
    page = open_function("train")
    page.get_by_role("spinbutton", name="n_estimators").fill("77")

    def refuse(route: Route) -> None:
        route.abort()

    page.route(API, refuse)
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    expect(page.get_by_text("Not reachable")).to_be_visible()
    page.unroute(API, refuse)
    expect(page.get_by_role("alert")).to_contain_text("is back")
    expect(page.get_by_role("spinbutton", name="n_estimators")).to_have_value("77")


def test_a_first_visit_without_runner_says_so(page: Page, base_url: str, expected_failures: list[str]) -> None:
    expected_failures.append("net::ERR_FAILED")

    def refuse(route: Route) -> None:
        route.abort()

    page.route(API, refuse)
    page.goto(f"{base_url}/#/functions")
    expect(page.get_by_role("heading", name="The functions cannot be loaded.")).to_be_visible()
    page.unroute(API, refuse)
    page.get_by_role("button", name="Try now").click()
    expect(page.get_by_role("heading", name="train", exact=True)).to_be_visible()
