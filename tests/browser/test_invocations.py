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


WALKS = """
import json, time

def handler(event, context):
    for done in range(4):
        print(json.dumps({"progress": {"done": done, "total": 4, "message": "walking"}}), flush=True)
        print(f"step {done} printed", flush=True)
        time.sleep(1)
    return {"said": "arrived"}
"""
