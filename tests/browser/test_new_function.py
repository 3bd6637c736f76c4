"""A function that is dropped into the running system."""

import shutil
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect


def test_it_appears_by_itself_with_a_form_and_can_be_run(
    page: Page, base_url: str, drop_function: Callable[[str, str], Path], run: Callable[[str], None]
) -> None:
    page.goto(f"{base_url}/#/functions/train")
    functions = page.get_by_role("navigation", name="Functions")
    expect(functions.get_by_role("link", name="train")).to_be_visible()
    drop_function("sleep", "newcomer")
    functions.get_by_role("link", name="newcomer").click()
    page.get_by_role("spinbutton", name="seconds").fill("0")
    run("newcomer")
    expect(page.get_by_role("region", name="Result")).to_contain_text("Slept")


def test_one_without_a_manifest_takes_its_parameters_as_json(
    page: Page, base_url: str, drop_function: Callable[[str, str], Path], run: Callable[[str], None]
) -> None:
    drop_function("no-manifest", "plain-newcomer")
    page.goto(f"{base_url}/#/functions/train")
    page.get_by_role("navigation", name="Functions").get_by_role("link", name="plain-newcomer").click()
    page.get_by_role("textbox", name="Parameters as JSON").fill('{"greeting": "hello"}')
    run("plain-newcomer")
    expect(page.get_by_role("region", name="Result")).to_contain_text("hello")


def test_it_disappears_with_its_folder(page: Page, base_url: str, drop_function: Callable[[str, str], Path]) -> None:
    folder = drop_function("echo", "short-lived")
    page.goto(f"{base_url}/#/functions/train")
    link = page.get_by_role("navigation", name="Functions").get_by_role("link", name="short-lived")
    expect(link).to_be_visible()
    shutil.rmtree(folder)
    expect(link).to_have_count(0)
    expect(page.get_by_role("heading", name="train", exact=True)).to_be_visible()
