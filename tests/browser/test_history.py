"""The history of invocations, and what the system knows of itself."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from support.client import Client


@pytest.fixture
def history(page: Page, base_url: str) -> Page:
    """The page, with at least one invocation on it."""
    Client(base_url).invoke("sleep", {"seconds": 0})
    page.goto(f"{base_url}/#/invocations")
    expect(page.get_by_role("heading", name="Invocations", level=1)).to_be_visible()
    return page


def rows(page: Page) -> Locator:
    return page.get_by_role("region", name="History").get_by_role("row")


def field(page: Page, name: str) -> Locator:
    return page.get_by_role("search", name="Filters").get_by_role("combobox", name=name, exact=True)


def test_the_newest_stands_first_and_leads_to_its_record(history: Page) -> None:
    first = rows(history).nth(1)
    expect(first).to_contain_text("Succeeded")
    first.get_by_role("link", name="sleep").click()
    expect(history.get_by_role("heading", name="sleep invocation", level=1)).to_be_visible()


def test_filters_narrow_it_and_stand_in_the_address(history: Page, client: Client) -> None:
    client.invoke("raises", {"message": "the sky fell"})
    field(history, "Function").select_option("raises")
    field(history, "Status").select_option("Failed")
    expect(history).to_have_url(re.compile("function=raises&status=failed"))
    expect(rows(history).nth(1)).to_contain_text("raises")
    expect(history.get_by_role("region", name="History")).not_to_contain_text("Succeeded")
    history.reload()
    expect(field(history, "Function")).to_have_value("raises")
    expect(rows(history).nth(1)).to_contain_text("raises")


def test_what_nothing_fits_says_how_to_go_on(history: Page) -> None:
    history.get_by_role("searchbox", name="Text").fill("nothing is called like this 4711")
    expect(history.get_by_text("Nothing fits these filters.")).to_be_visible()
    history.get_by_role("link", name="Clear filters").click()
    expect(rows(history).nth(1)).to_be_visible()
    expect(history.get_by_role("searchbox", name="Text")).to_have_value("")


def test_the_way_back_leads_to_the_same_filters(history: Page) -> None:
    field(history, "Function").select_option("sleep")
    field(history, "Start").select_option("cold start")
    rows(history).nth(1).get_by_role("link", name="sleep").click()
    expect(history.get_by_role("heading", name="sleep invocation", level=1)).to_be_visible()
    history.go_back()
    expect(field(history, "Function")).to_have_value("sleep")
    expect(field(history, "Start")).to_have_value("cold")
    history.get_by_role("link", name="Clear filters").click()
    expect(field(history, "Function")).to_have_value("")


def test_a_filter_from_a_link_is_shown_and_can_be_taken_away(
    history: Page, base_url: str, client: Client, trained: str
) -> None:
    history.goto(f"{base_url}/#/invocations?model_name=iris_model&model_version={trained}")
    expect(rows(history).nth(1)).to_contain_text(re.compile("train|predict"))  # what made it, or has used it since
    expect(history.get_by_role("region", name="History")).not_to_contain_text("sleep")
    client.invoke("sleep", {"seconds": 0})
    history.get_by_role("button", name=f"version {trained}").click()
    expect(history).to_have_url(re.compile(r"model_name=iris_model$"))
    history.get_by_role("button", name="model iris_model").click()
    expect(history).to_have_url(re.compile(r"invocations$"))
    expect(rows(history).nth(1)).to_contain_text("sleep")


def test_rows_that_are_ticked_are_compared(history: Page, client: Client) -> None:
    for text in ("one", "two"):
        client.invoke("echo", {"text": text})
    field(history, "Function").select_option("echo")
    ticks = history.get_by_role("checkbox", name=re.compile("^Compare echo"))
    ticks.nth(0).check()
    expect(history.get_by_text("Tick one more to compare.")).to_be_visible()
    ticks.nth(1).focus()
    history.keyboard.press("Space")
    history.get_by_role("link", name="Compare 2 invocations").click()
    compared = history.get_by_role("region", name="Invocations side by side")
    name = "parameters \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} text"
    text = compared.get_by_role("row").filter(has=history.get_by_role("rowheader", name=name))
    expect(text.get_by_role("cell")).to_have_text(["two", "one, differs"])


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
