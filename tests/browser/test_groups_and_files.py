"""Parameters that are objects with members, and parameters that are files."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from support.accessibility import violations

MANIFEST = """
description: Returns what it was given.
parameters:
  type: object
  additionalProperties: false
  required: [training]
  properties:
    training:
      type: object
      title: Training
      description: How long and how fast
      additionalProperties: false
      required: [rate]
      properties:
        rate: {type: number, minimum: 0, maximum: 1, description: Step size}
        steps: {type: integer, default: 5}
        stop:
          type: object
          properties:
            patience: {type: integer, minimum: 1}
    picture: {type: string, contentEncoding: base64, contentMediaType: image/png, description: What to look at}
    notes: {type: string, contentMediaType: text/plain}
examples:
  - name: Slow
    parameters: {training: {rate: 0.01, stop: {patience: 3}}, notes: "first line\\nsecond line"}
"""
BYTES = bytes(range(256)) * 4


@pytest.fixture
def form(page: Page, drop_function: Callable[[str, str], Path], open_function: Callable[[str], Page]) -> Page:
    manifest = drop_function("echo", "with-a-picture") / "function.yaml"
    manifest.write_text(MANIFEST)
    page.goto("about:blank")
    return open_function("with-a-picture")


def sent(page: Page) -> dict[str, Any]:
    """The parameters as they stand in the form, read from its JSON; afterwards the form is shown again."""
    page.get_by_role("button", name="JSON", exact=True).click()
    text = page.get_by_role("textbox", name="Parameters as JSON").input_value()
    page.get_by_role("button", name="Form", exact=True).click()
    parameters: dict[str, Any] = json.loads(text)
    return parameters


def test_an_object_is_a_group_of_fields(form: Page) -> None:
    training = form.get_by_role("group", name="Training")
    expect(training).to_contain_text("How long and how fast.")
    training.get_by_role("spinbutton", name="rate").fill("0.5")
    stop = training.get_by_role("group", name="stop")
    stop.get_by_role("spinbutton", name="patience").fill("2")
    assert sent(form) == {"training": {"rate": 0.5, "steps": 5, "stop": {"patience": 2}}}
    stop.get_by_role("spinbutton", name="patience").fill("")
    assert sent(form) == {"training": {"rate": 0.5, "steps": 5}}


def test_an_example_fills_in_groups(form: Page) -> None:
    form.get_by_role("button", name="Slow").click()
    expect(form.get_by_role("spinbutton", name="rate")).to_have_value("0.01")
    expect(form.get_by_role("spinbutton", name="patience")).to_have_value("3")
    expect(form.get_by_role("textbox", name="notes")).to_have_value("first line\nsecond line")


def test_what_is_wrong_in_a_group_is_said_there_and_goes_when_it_is_corrected(form: Page) -> None:
    form.get_by_role("button", name="Run with-a-picture", exact=True).click()
    rate = form.get_by_role("spinbutton", name="rate")
    expect(rate).to_be_focused()
    expect(rate).to_have_attribute("aria-invalid", "true")
    expect(form.get_by_text("Is required.")).to_be_visible()
    form.get_by_role("spinbutton", name="patience").fill("0")
    rate.fill("0.5")
    expect(rate).to_have_attribute("aria-invalid", "false")
    form.get_by_role("button", name="Run with-a-picture", exact=True).click()
    expect(form.get_by_role("spinbutton", name="patience")).to_be_focused()
    expect(form.get_by_text("Must be at least 1.")).to_be_visible()


def test_the_function_runners_errors_stand_in_the_group(
    form: Page, expected_failures: list[str], run: Callable[[str], None]
) -> None:
    expected_failures.append("422")
    form.get_by_role("button", name="JSON", exact=True).click()
    form.get_by_role("textbox", name="Parameters as JSON").fill('{"training": {"rate": 0.5, "speed": 1}}')
    form.get_by_role("button", name="Form", exact=True).click()
    run("with-a-picture")
    training = form.get_by_role("group", name="Training")
    expect(training.get_by_text(re.compile("Speed: is not a parameter here"))).to_be_visible()
    expect(training).to_be_focused()


def test_a_file_is_sent_in_base64(form: Page, run: Callable[[str], None], tmp_path: Path) -> None:
    picture = tmp_path / "leaf.png"
    picture.write_bytes(BYTES)
    form.get_by_role("spinbutton", name="rate").fill("0.5")
    form.get_by_label("picture", exact=True).set_input_files(picture)
    expect(form.get_by_text("leaf.png, 1.0 kB")).to_be_visible()
    encoded = base64.b64encode(BYTES).decode()
    assert sent(form) == {"training": {"rate": 0.5, "steps": 5}, "picture": encoded}
    run("with-a-picture")
    expect(form.get_by_role("region", name="Result")).to_contain_text(encoded[:40])
    form.get_by_role("button", name="Remove").click()
    expect(form.get_by_label("picture", exact=True)).to_be_focused()
    assert sent(form) == {"training": {"rate": 0.5, "steps": 5}}


def test_bytes_from_the_json_have_no_name(form: Page) -> None:
    form.get_by_role("button", name="JSON", exact=True).click()
    form.get_by_role("textbox", name="Parameters as JSON").fill('{"training": {"rate": 1}, "picture": "aGVsbG8="}')
    form.get_by_role("button", name="Form", exact=True).click()
    expect(form.get_by_text("A file, 5 B")).to_be_visible()


def test_a_file_that_is_too_large_is_refused_and_what_was_there_stays(form: Page, tmp_path: Path) -> None:
    small, large = tmp_path / "leaf.png", tmp_path / "tree.png"
    small.write_bytes(b"hello")
    large.write_bytes(bytes(5_000_001))
    form.get_by_label("picture", exact=True).set_input_files(small)
    expect(form.get_by_text("leaf.png, 5 B")).to_be_visible()
    form.get_by_label("picture", exact=True).set_input_files(large)
    expect(form.get_by_text("tree.png is too large: at most 5.0 MB are read here.")).to_be_visible()
    assert sent(form)["picture"] == base64.b64encode(b"hello").decode()


def test_a_text_may_be_read_from_a_file(form: Page, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("first\nsecond\n")
    form.get_by_label("Read a file").set_input_files(notes)
    expect(form.get_by_role("textbox", name="notes")).to_have_value("first\nsecond\n")


@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing_serious_and_nothing_scrolls_sideways(form: Page, width: int) -> None:
    form.set_viewport_size({"width": width, "height": 900})
    form.get_by_role("button", name="Run with-a-picture", exact=True).click()
    expect(form.get_by_text("Is required.")).to_be_visible()
    assert violations(form) == []
    assert form.evaluate("document.documentElement.scrollWidth <= innerWidth")
