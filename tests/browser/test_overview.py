"""The first page: how the system is, and what it does right now."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Page, Route, expect

from support.client import Client
from support.waiting import wait_until

API = re.compile(r"/(ready|debug|statistics|functions|invocations|models|compare)(/|\?|$)")

HAS_COLOURS_OF_THEME = """canvas => {
  const colour = getComputedStyle(canvas).getPropertyValue("--text-quiet").trim();
  return globalThis.Chart?.getChart(canvas)?.scales.x.options.ticks.color === colour;
}"""


@pytest.fixture
def overview(page: Page, base_url: str, client: Client) -> Page:
    """The page, with at least one invocation on it."""
    client.invoke("echo", {"text": "seen"})
    page.goto(base_url)
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    return page


def test_it_says_how_the_system_is_and_what_was_called(overview: Page) -> None:
    expect(overview).to_have_title("Overview · Serverless MLOps")
    main = overview.get_by_role("main")
    expect(main).to_contain_text(re.compile(r"Docker \d.* · MLflow \d.* ready"))
    expect(main.get_by_role("img", name=re.compile(r"^Bar chart: \d+ invocations"))).to_be_visible()
    functions = main.get_by_role("region", name="Functions")
    expect(functions.get_by_role("row", name=re.compile(r"^echo [1-9]"))).to_be_visible()
    functions.get_by_role("link", name="echo", exact=True).click()
    expect(overview.get_by_role("heading", name="echo", exact=True, level=1)).to_be_focused()


def test_the_time_that_is_shown_stands_in_the_address(overview: Page) -> None:
    week = overview.get_by_role("button", name="Last 7 days")
    week.click()
    expect(week).to_have_attribute("aria-pressed", "true")
    expect(overview).to_have_url(re.compile("window=7d"))
    overview.reload()
    expect(week).to_have_attribute("aria-pressed", "true")
    overview.get_by_text("The same as a table").click()
    expect(overview.get_by_role("group", name="Invocations over time").get_by_role("row").nth(1)).to_be_visible()


def test_the_chart_takes_the_colours_of_the_theme(overview: Page) -> None:
    chart = overview.get_by_role("img", name=re.compile("^Bar chart: "))
    for scheme in ("light", "dark"):
        overview.emulate_media(color_scheme=scheme)
        wait_until(lambda: chart.evaluate(HAS_COLOURS_OF_THEME), what=f"the chart is {scheme}")


def test_without_the_library_for_charts_there_is_the_table(
    page: Page, base_url: str, client: Client, expected_failures: list[str]
) -> None:
    expected_failures.append("net::ERR_FAILED")
    client.invoke("echo", {"text": "counted"})
    page.route(re.compile("/vendor/chart"), lambda route: route.abort())
    page.goto(base_url)
    expect(page.get_by_role("group", name="Invocations over time").get_by_role("row").nth(1)).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Bar chart: "))).to_have_count(0)


def test_what_failed_says_why_and_leads_to_its_record(overview: Page, client: Client) -> None:
    client.invoke("raises", {"message": "the roof leaks"}).problem(500, "handler_error")
    failures = overview.get_by_role("region", name="Last failures")
    expect(failures).to_contain_text(re.compile("raised ValueError: the roof leaks.*Look at handler.py"))
    failures.get_by_role("link", name=re.compile("raises")).first.click()
    expect(overview.get_by_role("heading", name="raises invocation", level=1)).to_be_visible()
    overview.go_back()
    overview.get_by_role("link", name=re.compile("to look at$")).click()
    expect(overview).to_have_url(re.compile("status=failed%2Ctimed_out%2Clost"))
    rows = overview.get_by_role("region", name="History").get_by_role("row")
    expect(rows.nth(1)).to_contain_text("the roof leaks")


def test_what_runs_appears_by_itself_and_goes(overview: Page, client: Client) -> None:
    running = overview.get_by_role("region", name="Running now")
    expect(running).to_contain_text("Nothing runs.")
    with ThreadPoolExecutor() as calls:
        calls.submit(client.invoke, "sleep", {"seconds": 4})
        expect(running.get_by_role("link", name=re.compile("Running sleep"))).to_be_visible()
    expect(running).to_contain_text("Nothing runs.")


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    "address", ["/#/", "/#/invocations", "/#/models", "/#/models/iris_model", "/#/compare?ids=a,b", "/#/system"]
)
def test_each_page_says_that_nothing_answers_and_goes_on_by_itself(
    page: Page, base_url: str, expected_failures: list[str], address: str
) -> None:
    expected_failures += ["net::ERR_FAILED", "404"]

    def refuse(route: Route) -> None:
        route.abort()

    page.route(API, refuse)
    page.goto(base_url + address)
    main = page.get_by_role("main")
    expect(main).to_contain_text(re.compile("cannot be"))
    expect(main).to_contain_text("The server does not answer")
    expect(page.get_by_role("alert").filter(has_text="does not answer")).to_be_visible()
    page.unroute(API, refuse)
    expect(main).not_to_contain_text("The server does not answer")
