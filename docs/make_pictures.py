# ruff: noqa: INP001 - a script, not a package
"""Makes the pictures of the dashboard in docs/pictures/ from a running system.

    .venv-tests/bin/python docs/make_pictures.py [http://localhost]

Trains and predicts, and shows what is there then; calls of the last hour are seen as well. Needs Chromium and the test
tools, which tests/run.sh installs.
"""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright

PICTURES = Path(__file__).with_name("pictures")
SIZE = {"width": 1180, "height": 980}
PATIENCE = 60_000  # milliseconds
FLOWERS = ([5.1, 3.5, 1.4, 0.2], [5.9, 3.0, 4.8, 1.7], [6.7, 3.1, 5.6, 2.4])
FORESTS = ({"n_estimators": 3, "max_depth": 1}, {"n_estimators": 20}, {"n_estimators": 100, "max_depth": 4})


def main(address: str) -> None:
    """Make calls, then open each page and take its picture."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light", locale="en-GB")

        trained = [invoke(page, address, "train", parameters) for parameters in FORESTS]
        for features in FLOWERS:
            invoke(page, address, "predict", {"features": features})
        invoke(page, address, "predict", {"features": FLOWERS[0], "model_version": "99"})  # how a failure looks
        newest = trained[-1]
        model = newest["result"]["model_name"]
        version = newest["result"]["model_version"]

        page.goto(f"{address}/#/")
        # The figures are a moment behind the list of failures.
        expect(page.get_by_role("img", name=re.compile("^Bar chart: .*, [1-9][0-9]* of them failed"))).to_be_visible()
        expect(page.get_by_text("3 containers ready")).to_be_visible()
        expect(page.get_by_role("region", name="Last failures").get_by_role("link", name="predict")).not_to_have_count(
            0
        )
        take(page, "dashboard")

        page.goto(f"{address}/#/functions/predict")
        predict(page)
        take(page, "function")

        page.goto(f"{address}/#/invocations/{newest['invocation_id']}")
        expect(page.get_by_role("region", name="Log text")).to_contain_text("REPORT RequestId:")
        take(page, "invocation")

        page.goto(f"{address}/#/models/{model}?version={version}")
        expect(page.get_by_role("region", name=f"Version {version}").get_by_text("Made by")).to_be_visible()
        take(page, "model")
        browser.close()


def invoke(page: Page, address: str, function: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The answer of one call, also when it is a problem."""
    body = {"function": function, "parameters": parameters}
    answer: dict[str, Any] = page.request.post(f"{address}/invoke", data=body, timeout=5 * PATIENCE).json()
    return answer


def predict(page: Page) -> None:
    """Fill in the form of predict and run it, twice: the first call after a start is not what people see later."""
    page.get_by_role("textbox", name="features").fill("5.9, 3.0, 4.8, 1.7", timeout=PATIENCE)
    pool_is_full = page.get_by_text(re.compile(r"^(\d+) of \1 containers ready$"))
    for _ in range(2):
        expect(pool_is_full).to_be_visible()
        page.get_by_role("button", name="Run predict", exact=True).click()
        expect(page.get_by_role("img", name=re.compile("^Bar chart of class probabilities"))).to_be_visible()
        expect(pool_is_full).to_have_count(0)
    expect(pool_is_full).to_be_visible()


def take(page: Page, name: str) -> None:
    """The upper part of the page, as one sees it first."""
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.wait_for_timeout(500)  # the charts are drawn
    page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://localhost")
