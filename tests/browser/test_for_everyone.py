"""The dashboard by keyboard, for screen readers, on small screens and in the dark."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from support.accessibility import violations
from support.client import Client
from support.waiting import wait_until

NARROW = {"width": 360, "height": 740}
WIDE = {"width": 3840, "height": 2160}


def width_is_kept(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def press_until_focused(page: Page, role: str, name: str) -> None:
    target = page.get_by_role(role, name=name, exact=True)
    for _ in range(60):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{role} {name!r} was not reached with Tab")


@pytest.mark.usefixtures("trained")
def test_a_prediction_needs_only_the_keyboard(open_function: Callable[[str], Page]) -> None:
    page = open_function("predict")
    features = page.get_by_role("textbox", name="features")
    expect(features).to_be_visible()
    for _ in range(60):
        page.keyboard.press("Tab")
        if features.evaluate("element => element === document.activeElement"):
            break
    page.keyboard.type("5.1, 3.5, 1.4, 0.2")
    press_until_focused(page, "button", "Run predict")
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Result")).to_contain_text("setosa")
    expect(page.get_by_role("status").filter(has_text="predict succeeded")).to_have_count(1)
    expect(page.get_by_role("button", name="Run predict")).to_be_focused()


def test_enter_in_a_field_runs_the_function(open_function: Callable[[str], Page]) -> None:
    page = open_function("sleep")
    page.get_by_role("spinbutton", name="seconds").fill("0")
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Result")).to_contain_text("Slept")


def test_the_skip_link_leads_to_the_content(open_function: Callable[[str], Page]) -> None:
    page = open_function("train")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    expect(page.get_by_role("heading", name="train", exact=True)).to_be_visible()


def test_opening_another_function_moves_the_focus_to_its_heading_and_keeps_the_form(
    open_function: Callable[[str], Page],
) -> None:
    page = open_function("train")
    page.get_by_role("spinbutton", name="n_estimators").fill("31")
    functions = page.get_by_role("navigation", name="Functions")
    functions.get_by_role("link", name="sleep", exact=True).click()
    expect(page.get_by_role("heading", name="sleep", exact=True)).to_be_focused()
    functions.get_by_role("link", name="train", exact=True).click()
    expect(page.get_by_role("spinbutton", name="n_estimators")).to_have_value("31")


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["train", "predict"])
def test_axe_finds_nothing_serious_in_a_result(
    open_function: Callable[[str], Page], run: Callable[[str], None], name: str, scheme: str
) -> None:
    page = open_function(name)
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    if name == "predict":
        page.get_by_role("textbox", name="features").fill("5.1, 3.5, 1.4, 0.2")
    else:
        page.get_by_text("More options").click()
    run(name)
    page.get_by_text("Raw JSON").click()
    expect(page.get_by_role("region", name="Raw JSON")).to_be_visible()
    assert not violations(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_a_problem(
    open_function: Callable[[str], Page],
    run: Callable[[str], None],
    expected_failures: list[str],
    scheme: str,
) -> None:
    expected_failures.append("422")
    page = open_function("refuses")
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    run("refuses")
    expect(page.get_by_role("region", name="Log text")).to_be_visible()
    assert not violations(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_an_invocation(page: Page, base_url: str, client: Client, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    problem = client.invoke("raises", {}).problem(500, "handler_error")
    page.goto(f"{base_url}/#/invocations/{problem['invocation_id']}")
    expect(page.get_by_role("region", name="Log text")).to_contain_text("about to raise")
    assert not violations(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_a_function_that_does_not_start(
    page: Page, base_url: str, drop_broken_function: Callable[[str], None], scheme: str
) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    drop_broken_function(f"never-starts-{scheme}")
    page.goto(f"{base_url}/#/functions/never-starts-{scheme}")
    page.get_by_text("Its last log lines").click()
    expect(page.get_by_role("region", name="Last log lines")).to_be_visible()
    assert not violations(page)


PAGES = ["/#/", "/#/functions", "/#/invocations", "/#/models", "/#/models/iris_model?version={}", "/#/system"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("address", PAGES)
def test_axe_finds_nothing_serious_and_nothing_scrolls_sideways_on_each_page(
    page: Page, base_url: str, trained: str, address: str, scheme: str
) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.goto(base_url + address.format(trained))
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_role("main").get_by_text("Loading", exact=True)).to_have_count(0)
    page.wait_for_load_state("networkidle")
    assert not violations(page)
    for size in (NARROW, WIDE):
        page.set_viewport_size(size)
        assert width_is_kept(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_a_comparison(page: Page, base_url: str, client: Client, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    ids = [client.invoke("echo", {"text": text}).json["invocation_id"] for text in ("one", "two")]
    page.goto(f"{base_url}/#/compare?ids={','.join(ids)}")
    expect(page.get_by_role("region", name="Invocations side by side")).to_be_visible()
    assert not violations(page)
    page.set_viewport_size(NARROW)
    assert width_is_kept(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_json_and_in_a_call_under_way(
    open_function: Callable[[str], Page], scheme: str
) -> None:
    page = open_function("sleep")
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.get_by_text("As curl or Python").click()
    expect(page.get_by_role("region", name="curl call")).to_be_visible()
    page.get_by_role("button", name="JSON", exact=True).click()
    page.get_by_role("textbox", name="Parameters as JSON").fill('{"seconds": 40}')
    page.get_by_role("button", name="Run sleep").click()
    expect(page.get_by_role("region", name="Log text")).to_contain_text("START RequestId:")
    assert not violations(page)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("region", name="Result")).to_contain_text("cancelled")
    page.get_by_role("textbox", name="Parameters as JSON").fill("{")
    assert not violations(page)


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["360 px", "4K"])
def test_nothing_scrolls_sideways(
    open_function: Callable[[str], Page], run: Callable[[str], None], size: dict[str, int]
) -> None:
    page = open_function("train")
    page.set_viewport_size(size)
    assert width_is_kept(page)
    page.get_by_text("More options").click()
    run("train")
    assert width_is_kept(page)
    page.get_by_role("region", name="Recent invocations").get_by_role("link").first.click()
    expect(page.get_by_role("region", name="Log text")).to_be_visible()
    assert width_is_kept(page)
    open_function("predict")
    page.get_by_role("textbox", name="features").fill("5.1, 3.5, 1.4, 0.2")
    run("predict")
    expect(page.get_by_role("img")).to_be_visible()
    assert width_is_kept(page)


def test_dark_is_taken_from_the_system_and_the_choice_is_remembered(open_function: Callable[[str], Page]) -> None:
    page = open_function("train")

    def ground() -> list[int]:
        colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return [int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]

    assert min(ground()) > 200
    page.emulate_media(color_scheme="dark")
    wait_until(lambda: max(ground()) < 60, what="the page is dark")
    page.get_by_role("button", name="Colours: as the system").click()
    wait_until(lambda: min(ground()) > 200, what="the page is light, as chosen")
    page.reload()
    expect(page.get_by_role("button", name="Colours: light")).to_be_visible()
    assert min(ground()) > 200, "light is remembered"


def test_the_address_of_a_function_can_be_shared(browser: Browser, base_url: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{base_url}/#/functions/predict")
        expect(page.get_by_role("heading", name="predict", exact=True)).to_be_visible()
        expect(page).to_have_title("predict · Serverless MLOps")


def test_mlflow_is_one_click_away(open_function: Callable[[str], Page]) -> None:
    page = open_function("train")
    expect(page.get_by_role("link", name="MLflow", exact=True)).to_have_attribute("href", "/mlflow/")
    expect(page.get_by_text("Ready").first).to_be_visible()
