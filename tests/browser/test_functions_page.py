"""All functions at a glance, and what a function's own page says beside its form."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page, Route, expect

from support.client import Client


def card(page: Page, name: str) -> Locator:
    cards = page.get_by_role("main").get_by_role("listitem")
    return cards.filter(has=page.get_by_role("heading", name=name, exact=True))


def test_every_function_leads_to_its_page(page: Page, base_url: str, client: Client) -> None:
    invoked = client.invoke("sleep", {"seconds": 0}).json["invocation_id"]
    page.goto(base_url)
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Functions").click()
    expect(page.get_by_role("heading", name="Functions", level=1)).to_be_focused()
    sleep = card(page, "sleep")
    expect(sleep).to_contain_text("Sleeps, then returns.")
    expect(sleep).to_contain_text("Ready")
    expect(sleep).to_contain_text(re.compile(r"Latency\s*\d.*95 % within \d"))
    expect(sleep.locator(f"a[href$='{invoked}']")).to_be_visible()
    expect(card(page, "broken-manifest")).to_contain_text("Cannot be used")
    expect(card(page, "broken-manifest")).to_contain_text("function.yaml")
    sleep.get_by_role("link", name="sleep", exact=True).click()
    expect(page.get_by_role("heading", name="sleep", exact=True, level=1)).to_be_focused()
    expect(page.get_by_role("main").get_by_role("listitem")).to_have_count(0)


def test_its_page_shows_its_last_invocations(open_function: Callable[[str], Page], client: Client) -> None:
    invoked = client.invoke("echo", {"text": "x"}).json["invocation_id"]
    page = open_function("echo")
    calls = page.get_by_role("region", name="Last invocations of echo")
    expect(calls.locator(f"a[href$='{invoked}']")).to_be_visible()
    expect(calls.get_by_role("row").nth(1)).to_contain_text(re.compile("Succeeded"))
    calls.get_by_role("link", name="All of echo").click()
    expect(page).to_have_url(re.compile(r"#/invocations\?function=echo$"))


def test_an_image_is_built_on_request(
    open_function: Callable[[str], Page], drop_function: Callable[[str, str], Path]
) -> None:
    drop_function("echo", "built-by-hand")
    page = open_function("built-by-hand")
    expect(page.get_by_role("main").get_by_text("Built at the first call")).to_be_visible()
    image = page.get_by_role("region", name="Image of built-by-hand")
    image.get_by_role("button", name="Build now").click()
    expect(image.get_by_role("status")).to_have_text(re.compile(r"^Built in \d+ s\.$"))
    expect(page.get_by_role("main").get_by_text("Ready", exact=True)).to_be_visible()
    expect(image).to_contain_text("function-built-by-hand:")
    image.get_by_role("button", name="Build now").click()
    expect(image.get_by_role("status")).to_have_text("Nothing to do: the image of these files is there.")


def test_a_build_that_fails_says_why(open_function: Callable[[str], Page], expected_failures: list[str]) -> None:
    expected_failures.append("500")
    expected_failures.append("422")
    page = open_function("broken-build")
    image = page.get_by_role("region", name="Image of broken-build")
    image.get_by_role("button", name=re.compile("^Build")).click()
    expect(image).to_contain_text("build_failed")
    expect(image).to_contain_text("What to do:")


def test_schedules_are_shown(page: Page, base_url: str) -> None:
    def with_schedule(route: Route) -> None:
        answer = route.fetch()
        functions = answer.json()
        for one in functions["functions"]:
            one["schedules"] = [
                {
                    "name": "nightly",
                    "cron": "0 3 * * *",
                    "timezone": "Europe/Berlin",
                    "next_at": "2030-01-01T02:00:00.000Z",
                    "last_at": None,
                    "last_invocation_id": None,
                    "skipped": 2,
                }
            ]
        route.fulfill(response=answer, json=functions)

    page.route(re.compile("/functions$"), with_schedule)
    page.goto(f"{base_url}/#/functions/echo")
    schedules = page.get_by_role("region", name="Schedules")
    expect(schedules.get_by_role("row", name=re.compile("^nightly"))).to_contain_text("0 3 * * *")
    expect(schedules).to_contain_text("2 left out")


# --- JSON beside the form ---


def test_form_and_json_stay_in_step(open_function: Callable[[str], Page], run: Callable[[str], None]) -> None:
    page = open_function("sleep")
    page.get_by_role("spinbutton", name="seconds").fill("0.25")
    page.get_by_role("button", name="JSON", exact=True).click()
    editor = page.get_by_role("textbox", name="Parameters as JSON")
    assert json.loads(editor.input_value()) == {"seconds": 0.25}
    editor.fill('{"seconds": 0}')
    page.get_by_role("button", name="Form", exact=True).click()
    expect(page.get_by_role("spinbutton", name="seconds")).to_have_value("0")
    run("sleep")
    expect(page.get_by_role("region", name="Result")).to_contain_text("Slept")


def test_json_that_is_wrong_is_said_at_once_and_loses_nothing(open_function: Callable[[str], Page]) -> None:
    page = open_function("sleep")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.url.endswith("/invoke") else None)
    page.get_by_role("spinbutton", name="seconds").fill("2")
    page.get_by_role("button", name="JSON", exact=True).click()
    editor = page.get_by_role("textbox", name="Parameters as JSON")
    editor.fill('{"seconds": }')
    expect(editor).to_have_attribute("aria-invalid", "true")
    expect(editor).to_have_accessible_description(re.compile("^This is not valid JSON: "))
    page.get_by_role("button", name="Run sleep").click()
    expect(editor).to_be_focused()
    assert not sent
    page.get_by_role("button", name="Form", exact=True).click()
    expect(page.get_by_role("spinbutton", name="seconds")).to_have_value("2")
    page.get_by_role("button", name="Correct it").click()
    expect(editor).to_have_value('{"seconds": }')
    editor.fill("[1]")
    expect(editor).to_have_accessible_description(re.compile("^Must be a JSON object"))


def test_what_has_no_field_is_not_lost_and_can_be_left_out(open_function: Callable[[str], Page]) -> None:
    page = open_function("sleep")
    page.get_by_role("button", name="JSON", exact=True).click()
    editor = page.get_by_role("textbox", name="Parameters as JSON")
    editor.fill('{"seconds": 3, "beyond": [1, 2]}')
    page.get_by_role("button", name="Form", exact=True).click()
    expect(page.get_by_text("Also sent, from the JSON: beyond")).to_be_visible()
    page.get_by_role("spinbutton", name="seconds").fill("4")
    page.get_by_role("button", name="JSON", exact=True).click()
    assert json.loads(editor.input_value()) == {"seconds": 4, "beyond": [1, 2]}
    page.get_by_role("button", name="Form", exact=True).click()
    page.get_by_role("button", name="Leave out").click()
    page.get_by_role("button", name="JSON", exact=True).click()
    assert json.loads(editor.input_value()) == {"seconds": 4}


def test_in_json_the_server_s_refusal_is_shown_in_the_result(
    open_function: Callable[[str], Page], expected_failures: list[str]
) -> None:
    expected_failures.append("422")
    page = open_function("sleep")
    page.get_by_role("button", name="JSON", exact=True).click()
    page.get_by_role("textbox", name="Parameters as JSON").fill('{"seconds": "soon"}')
    page.get_by_role("button", name="Run sleep").click()
    result = page.get_by_role("region", name="Result")
    expect(result).to_contain_text("parameters_invalid")
    expect(result.get_by_role("listitem")).to_contain_text("/seconds")


def test_what_was_typed_wrongly_is_kept_in_the_json(open_function: Callable[[str], Page]) -> None:
    page = open_function("predict")
    page.get_by_role("textbox", name="features").fill("5.1, three")
    page.get_by_role("button", name="JSON", exact=True).click()
    editor = page.get_by_role("textbox", name="Parameters as JSON")
    expect(editor).to_have_value(re.compile('"features": "5.1, three"'))
    editor.fill('{"model_version": "1", "features": "5.1, three"}')
    page.get_by_role("button", name="Form", exact=True).click()
    expect(page.get_by_role("textbox", name="features")).to_have_value("5.1, three")


def test_the_call_is_written_out(open_function: Callable[[str], Page], base_url: str) -> None:
    page = open_function("sleep")
    page.get_by_role("spinbutton", name="seconds").fill("1.5")
    page.get_by_text("As curl or Python").click()
    call = page.get_by_role("region", name="curl call")
    expect(call).to_contain_text(f"curl -X POST '{base_url}/invoke'")
    expect(call).to_contain_text('{"function":"sleep","parameters":{"seconds":1.5}}')
    page.get_by_role("checkbox", name="In the background").check()
    expect(call).to_contain_text("Prefer: respond-async")
    page.get_by_role("button", name="Python", exact=True).click()
    expect(page.get_by_role("region", name="Python call")).to_contain_text('"parameters": {"seconds": 1.5}')
    expect(page.get_by_role("button", name="Copy Python call")).to_be_visible()
    page.get_by_role("spinbutton", name="seconds").fill("-1")
    expect(page.get_by_text("Something above is not right yet")).to_be_visible()


# --- while it runs ---


def test_a_call_that_takes_long_is_followed_and_can_be_cancelled(open_function: Callable[[str], Page]) -> None:
    page = open_function("sleep")
    page.get_by_role("spinbutton", name="seconds").fill("50")
    page.get_by_role("button", name="Run sleep").click()
    result = page.get_by_role("region", name="Result")
    expect(result.get_by_role("region", name="Log text")).to_contain_text("START RequestId:")
    page.get_by_role("button", name="Cancel").click()
    expect(result).to_contain_text("The invocation was cancelled")
    expect(result).to_contain_text("cancelled")
    expect(page.get_by_role("button", name="Run sleep")).to_be_focused()
    expect(page.get_by_role("status").filter(has_text="sleep cancelled")).to_have_count(1)


def test_in_the_background_other_calls_go_on(open_function: Callable[[str], Page], client: Client) -> None:
    page = open_function("sleep")
    page.get_by_role("spinbutton", name="seconds").fill("30")
    page.get_by_role("button", name="Run in background").click()
    result = page.get_by_role("region", name="Result")
    address = result.get_by_role("link", name="its own page").get_attribute("href")
    assert address
    record = client.get(address.removeprefix("#")).json
    assert record["mode"] == "async"
    expect(page.get_by_role("button", name="Run sleep")).to_have_attribute("aria-disabled", "false")
    page.get_by_role("spinbutton", name="seconds").fill("0")
    page.get_by_role("button", name="Run sleep").click()
    expect(result).to_contain_text("Slept")
    client.post(f"{address.removeprefix('#')}/cancel")


def test_the_progress_and_the_trials_of_a_search_are_shown_as_they_come(open_function: Callable[[str], Page]) -> None:
    page = open_function("train")
    page.get_by_role("button", name="JSON", exact=True).click()
    page.get_by_role("textbox", name="Parameters as JSON").fill(
        '{"tune": true, "n_trials": 6, "cv": 3, "search_space": {"n_estimators": [20, 30, 200, 210, 220, 230]}}'
    )
    page.get_by_role("button", name="Run train").click()
    result = page.get_by_role("region", name="Result")
    expect(result.get_by_role("progressbar", name="Progress")).to_be_visible()
    expect(result).to_contain_text(re.compile(r"\d+ of 11 · "))
    expect(result.get_by_role("group", name="Trials")).to_be_visible()
    expect(result.get_by_role("heading", name="Confusion matrix")).to_be_visible()
    trials = result.get_by_role("group", name="Trials").get_by_role("row")
    expect(trials).to_have_count(7)
    expect(trials.filter(has_text="best")).to_have_count(1)
    expect(trials.filter(has_text="best")).to_contain_text("0.9")
