"""Tables that are pasted, dropped or taken along: csv.js, and what the form makes of them; run where they run."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

ROWS = {"type": ["array", "object"], "examples": [[1, 2], {"long": 1, "wide": 2}]}

READ = [
    ("1,2\n3,4", {"rows": [[1, 2], [3, 4]], "names": None, "separator": ","}),
    ("1.5;2\n\n3;4\n", {"rows": [[1.5, 2], [3, 4]], "names": None, "separator": ";"}),
    ("1,5;2\n3;4e2", {"rows": [[1.5, 2], [3, 400]], "names": None, "separator": ";"}),
    ("1,5\t-2\r\n3\t4", {"rows": [[1.5, -2], [3, 4]], "names": None, "separator": "\t"}),
    ('"long","wi,de"\n"1","2"', {"rows": [[1, 2]], "names": ["long", "wi,de"], "separator": ","}),
    ("1,2,\n3,4,", {"rows": [[1, 2], [3, 4]], "names": None, "separator": ","}),
    ("1,2\n3,x", {"names": None, "error": 'line 2, column 2: "x" is not a number'}),
    ("a,b\n3,,4", {"names": ["a", "b"], "error": "line 2, column 2: a number is missing"}),
    ("a,b\n3,4,5", {"names": ["a", "b"], "error": "line 2 has 3 values, but the first line names 2 columns"}),
    ("1,5;2\n3.5;x", {"names": None, "error": 'line 2, column 2: "x" is not a number'}),
]

TAKEN = [
    ("1,2\n3,4", {"value": [[1, 2], [3, 4]]}),
    ("1;2", {"value": [1, 2]}),
    ("wide,long\n2,1", {"value": [{"wide": 2, "long": 1}]}),
    ("a,b\n1,2", {"value": [[1, 2]], "leftOut": ["a", "b"]}),
    ("a,b\n1,two", {"error": 'must be numbers below the line of names; line 2, column 2: "two" is not a number'}),
]

COUNTED = [
    ("1,2\n3,4", "2 rows of 2 values."),
    ("1 2 3", "1 row of 3 values."),
    ("1,2\n3", "2 rows, not all of the same length."),
    ("[[1, 2]]", "1 row of 2 values."),
    ("long;wide\n1;2", "1 row of 2 values."),
    ("", ""),
    ("one", ""),
]


@pytest.fixture(scope="module")
def module_page(browser: Browser, base_url: str) -> Iterator[Page]:
    """One page for all: nothing here changes it."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(base_url)
        # Then all modules have arrived, and none is fetched again.
        expect(page.get_by_role("navigation", name="Pages").get_by_role("link", name="Functions")).to_be_visible()
        yield page


@pytest.mark.parametrize(("text", "expected"), READ)
def test_a_table_is_read(module_page: Page, text: str, expected: dict[str, Any]) -> None:
    found = module_page.evaluate("async (text) => (await import('/js/csv.js')).readNumbers(text)", text)
    assert found == expected


def in_form(page: Page, function: str, text: str) -> Any:
    return page.evaluate(
        """async ([name, property, text]) => {
            const form = await import("/js/schema-form.js");
            const [field] = form.fieldsOf({ type: "object", properties: { it: property } });
            return form[name](field, text);
        }""",
        [function, ROWS, text],
    )


@pytest.mark.parametrize(("text", "expected"), TAKEN)
def test_a_field_for_rows_takes_a_table(module_page: Page, text: str, expected: dict[str, Any]) -> None:
    assert in_form(module_page, "valueOf", text) == expected


@pytest.mark.parametrize(("text", "expected"), COUNTED)
def test_its_rows_are_counted(module_page: Page, text: str, expected: str) -> None:
    assert in_form(module_page, "rowsIn", text).startswith(expected)
    assert expected or in_form(module_page, "rowsIn", text) == ""


def test_a_first_line_that_is_left_out_is_named(module_page: Page) -> None:
    assert "left out" in in_form(module_page, "rowsIn", "a,b\n1,2")
    assert "left out" not in in_form(module_page, "rowsIn", "long,wide\n1,2")


def test_a_table_is_written_for_spreadsheets(module_page: Page) -> None:
    rows = [["a", 'say "x", y', "=1+1", "-2", None], [1, 0.5, True, "", "@x"]]
    text = module_page.evaluate("async (rows) => (await import('/js/csv.js')).writeCsv(rows)", rows)
    assert text == 'a,"say ""x"", y",\'=1+1,-2,\r\n1,0.5,true,,\'@x\r\n'
