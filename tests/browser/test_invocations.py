"""The list of recent invocations, and the page of one."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from playwright.sync_api import Page, expect

from support.client import Client
from support.waiting import wait_until


def test_a_call_appears_in_the_list(open_function: Callable[[str], Page], run: Callable[[str], None]) -> None:
    page = open_function("sleep")
    page.get_by_role("spinbutton", name="seconds").fill("0")
    run("sleep")
    first = page.get_by_role("region", name="Recent invocations").get_by_role("link").first
    expect(first).to_have_accessible_name(re.compile("^Succeeded sleep .*(cold|warm) start"))


def test_one_that_waits_says_at_which_place(
    open_function: Callable[[str], Page], fill_the_house: Callable[[float], None]
) -> None:
    fill_the_house(12)
    page = open_function("sleep")
    page.get_by_role("spinbutton", name="seconds").fill("0")
    page.get_by_role("button", name="Run sleep").click()
    result = page.get_by_role("region", name="Result")
    expect(result).to_contain_text("In the queue: 1 call waiting")
    expect(result.get_by_role("timer")).to_have_text(re.compile(r"^\d+\.\d s$"))
    waiting = page.get_by_role("region", name="Recent invocations").get_by_role(
        "link", name=re.compile("^Queued sleep")
    )
    expect(waiting).to_have_accessible_name(re.compile("place 1"))
    waiting.click()
    expect(page.get_by_role("region", name="Result")).to_contain_text("In the queue, place 1")
    expect(page.get_by_role("region", name="Log text")).to_have_text("Nothing has been printed yet.")
    expect(page.get_by_role("region", name="Result")).to_contain_text("Slept")


def test_a_call_from_elsewhere_appears_by_itself(open_function: Callable[[str], Page], client: Client) -> None:
    page = open_function("train")
    listed = page.get_by_role("region", name="Recent invocations")
    expect(listed).not_to_have_attribute("aria-busy", "true")
    client.invoke("raises", {"message": "from elsewhere"})
    expect(listed.get_by_role("link").first).to_have_accessible_name(re.compile("^Failed raises"))


def test_one_click_leads_to_parameters_result_timings_and_log(
    open_function: Callable[[str], Page], client: Client
) -> None:
    client.invoke("echo", {"text": "<b>not bold</b>"})
    page = open_function("echo")
    page.get_by_role("region", name="Recent invocations").get_by_role("link", name=re.compile("echo")).first.click()
    expect(page.get_by_role("heading", name="echo invocation", level=1)).to_be_focused()
    expect(page.get_by_role("region", name="Result")).to_contain_text("<b>not bold</b>")
    expect(page.get_by_role("region", name="Parameters", exact=True)).to_contain_text('"text": "<b>not bold</b>"')
    facts = page.get_by_role("region", name="Facts")
    expect(facts).to_contain_text("No container was ready; one was made for this call.")
    times = facts.get_by_role("table", name="Where the time went")
    expect(times.get_by_role("rowheader", name="Starting the process")).to_be_visible()
    expect(page.get_by_role("region", name="Log text")).to_contain_text("START RequestId:")


def test_a_failed_one_shows_its_error(page: Page, base_url: str, client: Client) -> None:
    problem = client.invoke("raises", {"message": "seen later"}).problem(500, "handler_error")
    page.goto(f"{base_url}/#/invocations/{problem['invocation_id']}")
    expect(page.get_by_role("heading", name="raises invocation", level=1)).to_be_visible()
    expect(page.get_by_role("region", name="Result")).to_contain_text("seen later")


def test_an_unknown_one_says_so(page: Page, base_url: str, expected_failures: list[str]) -> None:
    expected_failures.append("404")
    page.goto(f"{base_url}/#/invocations/00000000-0000-4000-8000-000000000000")
    expect(page.get_by_text("There is no such invocation.")).to_be_visible()


def test_a_running_one_shows_its_progress_and_its_log_as_they_come(
    page: Page, base_url: str, client: Client, drop_function: Callable[[str, str], Path]
) -> None:
    handler = drop_function("echo", "walks") / "handler.py"
    handler.write_text(WALKS)
    with ThreadPoolExecutor() as calls:
        calls.submit(client.invoke, "walks", {})
        found = wait_until(
            lambda: client.get("/invocations?function=walks").json["invocations"], what="the call is recorded"
        )
        page.goto(f"{base_url}/#/invocations/{found[0]['invocation_id']}")
        log = page.get_by_role("region", name="Log text")
        expect(log).to_contain_text("step 1 printed", timeout=60_000)
        expect(page.get_by_role("progressbar", name="Progress")).to_be_visible()
        expect(page.get_by_role("region", name="Result")).to_contain_text(re.compile(r"\d of 4 · walking"))
        expect(page.get_by_role("region", name="Result")).to_contain_text("arrived")
        expect(log).to_contain_text("REPORT RequestId:")
        assert (log.text_content() or "").count("step 1 printed") == 1


def test_it_tells_its_states_and_what_it_ran_with(page: Page, base_url: str, client: Client) -> None:
    invoked = client.invoke("echo", {"text": "it's me"}).json["invocation_id"]
    page.goto(f"{base_url}/#/invocations/{invoked}")
    states = page.get_by_role("region", name="Facts").get_by_role("listitem")
    expect(states).to_have_text([re.compile(rf"{word}\s+after \d") for word in STATES])
    origin = page.get_by_role("region", name="Origin")
    expect(origin.get_by_role("definition").filter(has_text="function-echo:")).to_be_visible()
    expect(origin).to_contain_text("waited for the result")
    page.get_by_text("As curl or Python").click()
    command = page.get_by_role("region", name="curl call")
    expect(command).to_contain_text(f"curl -X POST '{base_url}/invoke'")
    expect(command).to_contain_text("""it'\\''s me""")


def test_a_running_one_can_be_cancelled_after_a_question(page: Page, base_url: str, client: Client) -> None:
    accepted = client.invoke("sleep", {"seconds": 50}, headers={"Prefer": "respond-async"}).json
    page.goto(f"{base_url}/#/invocations/{accepted['invocation_id']}")
    cancel = page.get_by_role("button", name="Cancel", exact=True)
    cancel.click()
    question = page.get_by_role("dialog")
    question.get_by_role("button", name="Let it run").click()
    expect(question).to_have_count(0)
    expect(cancel).to_be_focused()
    cancel.click()
    question.get_by_role("button", name="Cancel it").click()
    expect(page.get_by_role("main").get_by_text("Cancelled", exact=True).first).to_be_visible()
    expect(cancel).to_have_count(0)
    assert client.record(accepted["invocation_id"])["status"] == "cancelled"


def test_it_can_be_run_again_and_both_results_are_shown(page: Page, base_url: str, client: Client) -> None:
    first = client.invoke("echo", {"text": "again"}).json["invocation_id"]
    page.goto(f"{base_url}/#/invocations/{first}")
    panel = page.get_by_role("region", name="Run it again")
    panel.get_by_role("button", name="As it was then").click()
    expect(panel).to_contain_text("The same result.")
    expect(panel.get_by_role("region", name="Result of then")).to_contain_text("again")
    expect(panel.get_by_role("region", name="Result of the replay")).to_contain_text("again")
    panel.get_by_role("link", name="Compare both").click()
    expect(page.get_by_role("region", name="Invocations side by side")).to_contain_text(
        "timings \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} total_ms"
    )
    page.go_back()
    replays = [one for one in client.get("/invocations?function=echo").json["invocations"] if one["replay_of"] == first]
    page.goto(f"{base_url}/#/invocations/{replays[0]['invocation_id']}")
    expect(page.get_by_role("region", name="Origin").get_by_role("link", name="Compare both")).to_be_visible()


def test_a_replay_that_fails_says_so(page: Page, base_url: str, client: Client) -> None:
    problem = client.invoke("raises", {"message": "as before"}).problem(500, "handler_error")
    page.goto(f"{base_url}/#/invocations/{problem['invocation_id']}")
    panel = page.get_by_role("region", name="Run it again")
    panel.get_by_role("button", name="As it is today").click()
    expect(panel).to_contain_text("It fails in the same way.")


def test_the_log_has_colours_and_can_be_searched(
    page: Page, base_url: str, client: Client, drop_function: Callable[[str, str], Path]
) -> None:
    (drop_function("echo", "paints") / "handler.py").write_text(PAINTS)
    invoked = client.invoke("paints", {}).json["invocation_id"]
    page.goto(f"{base_url}/#/invocations/{invoked}")
    log = page.get_by_role("region", name="Log text")
    expect(log.get_by_text("red words", exact=True)).to_have_css("color", "rgb(255, 138, 128)")
    expect(log).to_contain_text("<b>not bold</b>")
    expect(log).not_to_contain_text("\x1b")
    page.get_by_role("button", name="To the end").click()
    wait_until(lambda: log.evaluate(IS_AT_END), what="the end is shown")
    search = page.get_by_role("searchbox", name="Search in the log")
    search.fill("LINE 29")
    found = page.get_by_role("search", name="In the log").get_by_role("status")
    expect(found).to_have_text("1 of 111")
    search.press("Enter")
    expect(found).to_have_text("2 of 111")
    search.press("Shift+Enter")
    search.press("Shift+Enter")
    expect(found).to_have_text("111 of 111")
    log.scroll_into_view_if_needed()
    expect(log.locator("mark[data-current]")).to_be_in_viewport()
    search.fill("nobody wrote this")
    expect(found).to_have_text("not found")
    search.press("Escape")
    expect(search).to_have_value("")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the log").click()
    assert download.value.suggested_filename.endswith(".log")


def test_a_log_that_grows_is_followed_until_somebody_scrolls_up(
    page: Page, base_url: str, client: Client, drop_function: Callable[[str, str], Path]
) -> None:
    (drop_function("echo", "chatters") / "handler.py").write_text(CHATTERS)
    accepted = client.invoke("chatters", {}, headers={"Prefer": "respond-async"}).json
    page.goto(f"{base_url}/#/invocations/{accepted['invocation_id']}")
    log = page.get_by_role("region", name="Log text")
    expect(log).to_contain_text("second 2 line 49")
    wait_until(lambda: log.evaluate(IS_AT_END), what="the log is followed")
    log.hover()
    page.mouse.wheel(0, -1500)
    go_on = page.get_by_role("button", name="Follow to the end")
    expect(go_on).to_be_visible()
    before = log.evaluate("log => log.scrollTop")
    expect(log).to_contain_text("second 5 line 49")
    assert log.evaluate("log => log.scrollTop") == before, "who reads is left alone"
    go_on.click()
    expect(log).to_contain_text("second 7 line 49")
    wait_until(lambda: log.evaluate(IS_AT_END), what="the log is followed again")


IS_AT_END = "log => log.scrollHeight - log.scrollTop - log.clientHeight < 30"
STATES = ("Queued", "Starting", "Running", "Succeeded")

PAINTS = """
def handler(event, context):
    print("\\x1b[31mred words\\x1b[0m <b>not bold</b>")
    for number in range(3000):
        print("line", number)
    return {}
"""

CHATTERS = """
import time

def handler(event, context):
    for second in range(8):
        for line in range(50):
            print("second", second, "line", line, flush=line == 49)
        time.sleep(1)
    return {}
"""

WALKS = """
import json, time

def handler(event, context):
    for done in range(4):
        print(json.dumps({"progress": {"done": done, "total": 4, "message": "walking"}}), flush=True)
        print(f"step {done} printed", flush=True)
        time.sleep(1)
    return {"said": "arrived"}
"""
