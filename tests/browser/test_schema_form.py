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
FILE = {"type": "string", "contentEncoding": "base64", "maxLength": 8}
GROUP = {
    "type": "object",
    "required": ["rate"],
    "properties": {
        "rate": {"type": "number", "minimum": 0},
        "steps": {"type": "integer", "default": 5},
        "quick": {"type": "boolean"},
        "inner": {"type": "object", "properties": {"depth": {"type": "integer", "maximum": 9}}},
    },
}
NOTHING_TYPED = {"rate": "", "steps": "", "quick": False, "inner": {"texts": {"depth": ""}, "beyond": {}}}


def typed(beyond: dict[str, Any] | None = None, depth: str = "", **texts: object) -> dict[str, Any]:
    """What is in the fields of `GROUP`."""
    inner = {"texts": {"depth": depth}, "beyond": {}}
    return {"texts": {**NOTHING_TYPED, "inner": inner, **texts}, "beyond": beyond or {}}


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
    (FILE, "aGk=", {"value": "aGk="}),
    (FILE, "", {}),
    (FILE, "aGVsbG8gdGhlcmU=", {"error": "must have at most 8 characters"}),
    (GROUP, typed(), {}),
    (GROUP, typed(rate="0.5"), {"value": {"rate": 0.5}}),
    (GROUP, typed(steps="3"), {"error": {"rate": "is required"}}),
    (
        GROUP,
        typed(rate="-1", depth="10"),
        {"error": {"rate": "must be at least 0", "inner": {"depth": "must be at most 9"}}},
    ),
    (GROUP, typed(rate="1", depth="2"), {"value": {"rate": 1, "inner": {"depth": 2}}}),
    (GROUP, typed(rate="1", beyond={"other": [1]}), {"value": {"rate": 1, "other": [1]}}),
    (GROUP, {**typed(rate="1"), "other": "no object"}, {"value": "no object"}),
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
    (FILE, "aGk=", "aGk="),
    (GROUP, None, typed()),
    (GROUP, {"rate": 1}, typed(rate="1", steps="5")),
    (GROUP, {"rate": 1, "inner": {"depth": 2}, "more": 3}, typed(rate="1", steps="5", depth="2", beyond={"more": 3})),
    (GROUP, [1], {**typed(), "other": [1]}),
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


def test_a_group_that_is_needed_begins_with_its_defaults(module_page: Page) -> None:
    answer = module_page.evaluate(
        """async (property) => {
            const { fieldsOf, initialText, valueOf } = await import("/js/schema-form.js");
            const [field] = fieldsOf({ required: ["it"], properties: { it: property } });
            const text = initialText(field);
            return [text, valueOf(field, text)];
        }""",
        GROUP,
    )
    assert answer == [typed(steps="5"), {"error": {"rate": "is required"}}]


def test_what_is_wrong_in_a_group_is_not_lost(module_page: Page) -> None:
    text = typed(rate="fast", depth="2", beyond={"more": 3})
    assert in_page(module_page, "typedOf", GROUP, text) == {"rate": "fast", "inner": {"depth": 2}, "more": 3}


def test_an_error_finds_its_place_in_a_group_and_leaves_it_again(module_page: Page) -> None:
    steps = module_page.evaluate(
        """async (property) => {
            const { fieldsOf, withError, withoutError } = await import("/js/schema-form.js");
            const [field] = fieldsOf({ properties: { it: property } });
            const one = withError(field, undefined, "/it/inner/depth", () => "Too deep.");
            const two = withError(field, one, "/it", () => "Lacks rate.");
            const three = withError(field, two, "/it/steps", (pointer) => `Too many: ${pointer}`);
            const four = withoutError(three, ["steps"]);
            return [one, two, three, four, withoutError(four, ["inner", "depth"]), withoutError(four, ["inner"])];
        }""",
        GROUP,
    )
    deep = {"inner": {"depth": "Too deep."}}
    assert steps[:3] == [deep, {"": "Lacks rate.", **deep}, {"": "Lacks rate.", "steps": "Too many: /steps", **deep}]
    assert steps[3] == deep
    assert steps[4:] == [None, None]


def test_a_schema_that_leads_back_to_itself_ends(module_page: Page) -> None:
    kinds = module_page.evaluate(
        """async () => {
            const { fieldsOf } = await import("/js/schema-form.js");
            const node = { type: "object", properties: { next: { $ref: "#/$defs/node" } } };
            let fields = fieldsOf({ properties: { it: { $ref: "#/$defs/node" } }, $defs: { node } });
            const kinds = [];
            for (; fields; fields = fields[0].fields) kinds.push(fields[0].kind);
            return kinds;
        }"""
    )
    assert kinds == ["group", "group", "group", "json"]


def test_broken_json_is_said_to_be_broken(module_page: Page) -> None:
    assert in_page(module_page, "valueOf", ROWS, "[1, 2")["error"].startswith("is not valid JSON: ")
