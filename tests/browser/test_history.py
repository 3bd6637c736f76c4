"""The history of invocations, and what the system knows of itself."""

import re

import pytest
from playwright.sync_api import Page, expect

from support.client import Client


@pytest.fixture
def history(page: Page, base_url: str) -> Page:
    """The page, with at least one invocation on it."""
    Client(base_url).invoke("sleep", {"seconds": 0})
    page.goto(f"{base_url}/#/invocations")
    expect(page.get_by_role("heading", name="Invocations", level=1)).to_be_visible()
    return page


def rows(page: Page):
    return page.get_by_role("region", name="History").get_by_role("row")


def test_the_newest_stands_first_and_leads_to_its_record(history: Page) -> None:
    first = rows(history).nth(1)
    expect(first).to_contain_text("Succeeded")
    first.get_by_role("link", name="sleep").click()
    expect(history.get_by_role("heading", name="sleep invocation", level=1)).to_be_visible()


def test_filters_narrow_it_and_stand_in_the_address(history: Page, client: Client) -> None:
    client.post("/invoke", {"function": "raises", "parameters": {"message": "the sky fell"}})
    history.get_by_label("Function").select_option("raises")
    history.get_by_label("Status").select_option("Failed")
    expect(history).to_have_url(re.compile("function=raises&status=failed"))
    expect(rows(history).nth(1)).to_contain_text("raises")
    expect(history.get_by_role("region", name="History")).not_to_contain_text("Succeeded")
    history.reload()
    expect(history.get_by_label("Function")).to_have_value("raises")
    expect(rows(history).nth(1)).to_contain_text("raises")


def test_what_nothing_fits_says_how_to_go_on(history: Page) -> None:
    history.get_by_label("Text").fill("nothing is called like this 4711")
    expect(history.get_by_text("Nothing fits these filters.")).to_be_visible()
    history.get_by_role("link", name="Clear filters").click()
    expect(rows(history).nth(1)).to_be_visible()


def test_a_call_made_elsewhere_appears_by_itself(history: Page, client: Client) -> None:
    before = history.get_by_role("region", name="History").inner_text()
    invoked = client.invoke("sleep", {"seconds": 0}).json["invocation_id"]
    expect(history.locator(f"a[href$='{invoked}']").first).to_be_visible()
    assert history.get_by_role("region", name="History").inner_text() != before


def test_the_system_page_says_what_runs_here(page: Page, base_url: str) -> None:
    page.goto(base_url)
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="System").click()
    expect(page.get_by_role("heading", name="System", level=1)).to_be_focused()
    main = page.get_by_role("main")
    expect(main).to_contain_text("Docker")
    expect(main.get_by_role("region", name="Images")).to_contain_text("function-train")
    main.get_by_text(re.compile(r"\d+ settings")).click()
    expect(main.get_by_role("region", name="Settings")).to_contain_text("MAX_CONCURRENCY")
    disk = main.get_by_role("region", name="Disk")
    expect(disk.get_by_role("row", name=re.compile(r"^Images [1-9]\d* \("))).to_be_visible()
    expect(disk).to_contain_text(re.compile("Last looked at|removed a moment after the start"))
