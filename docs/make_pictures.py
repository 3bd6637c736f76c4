# ruff: noqa: INP001 - a script, not a package
"""Makes docs/pictures/dashboard.png from the dashboard of a running system.

    .venv-tests/bin/python docs/make_pictures.py [http://localhost]

Runs predictions through the form, as a person would. Needs Chromium and the test tools, which tests/run.sh installs.
"""

import re
import shutil
import sys
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

PICTURES = Path(__file__).with_name("pictures")
SIZE = {"width": 1180, "height": 980}
PATIENCE = 60_000  # milliseconds


def main(address: str) -> None:
    """Open the form of predict, fill it in, run it, and take the picture."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light", locale="en-GB")
        expect.set_options(timeout=PATIENCE)
        page.goto(f"{address}/#/functions/predict")
        page.get_by_role("textbox", name="features").fill("5.9, 3.0, 4.8, 1.7", timeout=PATIENCE)
        pool_is_full = page.get_by_text(re.compile(r"^(\d+) of \1 containers ready$"))
        chart = page.get_by_role("img", name=re.compile("^Bar chart of class probabilities"))
        for _ in range(2):  # the first call after a start is not what people see later
            expect(pool_is_full).to_be_visible()
            page.get_by_role("button", name="Run predict", exact=True).click()
            expect(chart).to_be_visible()
            expect(pool_is_full).to_have_count(0)
        expect(pool_is_full).to_be_visible()
        page.mouse.move(0, 0)
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=PICTURES / "dashboard.png", animations="disabled")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://localhost")
