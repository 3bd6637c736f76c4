"""From a JSON Schema to fields, and from what is typed back to parameters: schema-form.js, run where it runs."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

COUNT = {"type": "integer", "minimum": 1, "maximum": 5, "default": 2}
SHARE = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
DEPTH = {"type": ["integer", "null"], "default": None}
MIXED = {"anyOf": [{"enum": ["sqrt", "log2"]}, {"type": "number"}, {"type": "null"}], "default": "sqrt"}
ROWS = {"type": ["array", "object"]}
WORDS = {"type": "array", "items": {"type": "string"}}
CHOICE = {"enum": ["a", 1, None]}
VERSION = {"type": ["string", "integer"], "x-source": "model-versions"}
SWITCH = {"type": "boolean", "default": True}
OBJECT = {"type": ["object", "null"]}

TYPED = [
    (COUNT, "3", {"value": 3}),
    (COUNT, "", {}),
    (COUNT, "9", {"error": "must be between 1 and 5"}),
    (COUNT, "1.5", {"error": "must be a whole number"}),
    (SHARE, "0.2", {"value": 0.2}),
    (SHARE, "1", {"error": "must be more than 0, less than 1"}),
    (DEPTH, "", {"value": None}),
    (MIXED, "log2", {"value": "log2"}),
    (MIXED, "0.5", {"value": 0.5}),
    (ROWS, "5.1, 3.5", {"value": [5.1, 3.5]}),
    (ROWS, "5.1, 3.5\n6 3", {"value": [[5.1, 3.5], [6, 3]]}),
    (ROWS, '{"a": 1}', {"value": {"a": 1}}),
    (WORDS, "two words, one", {"value": ["two words", "one"]}),
    (CHOICE, "1", {"value": 1}),
    (CHOICE, "null", {"value": None}),
    (CHOICE, "", {}),
    (VERSION, "3", {"value": "3"}),
    (SWITCH, False, {"value": False}),
    (OBJECT, "{}", {"value": {}}),
]

SHOWN = [
    (COUNT, 3, "3"),
    (DEPTH, None, ""),
    (ROWS, [5.1, 3.5], "5.1, 3.5"),
    (ROWS, [[5.1, 3.5], [6, 3]], "5.1, 3.5\n6, 3"),
    (ROWS, [[5.1, 3.5]], "[[5.1,3.5]]"),
    (WORDS, ["two words", "one"], '["two words","one"]'),
    (CHOICE, None, "null"),
    (SWITCH, True, True),
]


@pytest.fixture(scope="module")
def module_page(browser: Browser, base_url: str) -> Iterator[Page]:
    """One page for all: nothing here changes it."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(base_url)
        yield page


def in_page(page: Page, function: str, schema: dict[str, Any], value: object) -> Any:
    return page.evaluate(
        """async ([name, property, value]) => {
            const form = await import("/js/schema-form.js");
            const [field] = form.fieldsOf({ type: "object", properties: { it: property } });
            return form[name](field, value);
        }""",
        [function, schema, value],
    )


@pytest.mark.parametrize(("schema", "text", "expected"), TYPED)
def test_what_is_typed_becomes_a_value(
    module_page: Page, schema: dict[str, Any], text: object, expected: dict[str, Any]
) -> None:
    assert in_page(module_page, "valueOf", schema, text) == expected


@pytest.mark.parametrize(("schema", "value", "expected"), SHOWN)
def test_a_value_is_shown_as_it_would_be_typed(
    module_page: Page, schema: dict[str, Any], value: object, expected: object
) -> None:
    assert in_page(module_page, "textOf", schema, value) == expected


def test_a_required_parameter_cannot_be_left_out(module_page: Page) -> None:
    answer = module_page.evaluate(
        """async () => {
            const { fieldsOf, valueOf } = await import("/js/schema-form.js");
            const [field] = fieldsOf({ required: ["it"], properties: { it: { type: "string" } } });
            return valueOf(field, " ");
        }"""
    )
    assert answer == {"error": "is required"}


def test_broken_json_is_said_to_be_broken(module_page: Page) -> None:
    assert in_page(module_page, "valueOf", ROWS, "[1, 2")["error"].startswith("is not valid JSON: ")
