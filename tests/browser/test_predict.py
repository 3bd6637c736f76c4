"""Predicting from the dashboard's form."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from support.client import Client

SETOSA = "5.1, 3.5, 1.4, 0.2"

pytestmark = pytest.mark.usefixtures("trained")


def test_it_works(open_function: Callable[[str], Page], run: Callable[[str], None]) -> None:
    page = open_function("predict")
    page.get_by_role("textbox", name="features").fill(SETOSA)
    run("predict")
    result = page.get_by_role("region", name="Result")
    expect(result.get_by_role("strong").or_(result.locator("strong")).first).to_have_text("setosa")
    chart = result.get_by_role("img", name=re.compile("^Bar chart of class probabilities: setosa "))
    expect(chart).to_be_visible()
    assert chart.bounding_box()["height"] > 100


def test_it_says_which_form_of_the_model_answered(
    open_function: Callable[[str], Page], run: Callable[[str], None]
) -> None:
    page = open_function("predict")
    page.get_by_role("textbox", name="features").fill(SETOSA)
    run("predict")
    result = page.get_by_role("region", name="Result")
    model = result.get_by_role("definition").filter(
        has=page.get_by_role("link", name=re.compile("^models:.iris_model"))
    )
    expect(model).to_contain_text("answered by the ONNX form")


def test_the_probabilities_are_a_table_too(open_function: Callable[[str], Page], run: Callable[[str], None]) -> None:
    page = open_function("predict")
    page.get_by_role("textbox", name="features").fill(SETOSA)
    run("predict")
    page.get_by_text("Probabilities as a table").click()
    probabilities = page.get_by_role("table", name="Class probabilities")
    expect(probabilities.get_by_role("rowheader")).to_have_text(["setosa", "versicolor", "virginica"])


def test_the_version_chooser_has_latest_first(open_function: Callable[[str], Page], client: Client) -> None:
    newest = client.get("/models/iris_model/versions?limit=1").json["versions"][0]["version"]
    page = open_function("predict")
    expect(page.get_by_role("combobox", name="model_name")).to_have_value("iris_model")
    versions = page.get_by_role("combobox", name="model_version").get_by_role("option")
    expect(versions.first).to_have_text(f"latest (version {newest})")
    expect(versions.filter(has_text=re.compile(rf"^version {newest} · accuracy "))).to_have_count(1)


def test_many_rows_are_one_line_each(open_function: Callable[[str], Page], run: Callable[[str], None]) -> None:
    page = open_function("predict")
    page.get_by_role("textbox", name="features").fill(f"{SETOSA}\n6.7, 3.0, 5.2, 2.3")
    run("predict")
    rows = page.get_by_role("group", name="Predictions").get_by_role("row")
    expect(rows).to_have_count(3)
    expect(rows.nth(1)).to_contain_text("setosa")
    expect(rows.nth(2)).to_contain_text("virginica")
    cells = rows.nth(1).get_by_role("cell")
    expect(cells).to_have_count(8)  # four features, the class, three probabilities
    tops = cells.evaluate_all("cells => cells.map((cell) => cell.getBoundingClientRect().top)")
    assert len(set(tops)) == 1, "a row is one line"


def test_the_function_s_refusal_appears_at_the_field(
    open_function: Callable[[str], Page], run: Callable[[str], None], expected_failures: list[str]
) -> None:
    expected_failures.append("422")
    page = open_function("predict")
    features = page.get_by_role("textbox", name="features")
    features.fill("5.1, 3.5")
    run("predict")
    expect(features).to_have_attribute("aria-invalid", "true")
    expect(features).to_be_focused()
    expect(features).to_have_accessible_description(re.compile("4"))


def test_what_is_no_number_is_said_before_anything_is_sent(open_function: Callable[[str], Page]) -> None:
    page = open_function("predict")
    features = page.get_by_role("textbox", name="features")
    features.fill("5.1, three, 1.4, 0.2")
    page.get_by_role("button", name="Run predict").click()
    expect(features).to_have_accessible_description(re.compile('"three" is not a number'))
    expect(page.get_by_text("Nothing has run here yet.")).to_be_visible()


def test_the_chosen_version_shows_its_measures_and_leads_to_its_page(
    open_function: Callable[[str], Page], client: Client
) -> None:
    newest = client.get("/models/iris_model/versions?limit=1").json["versions"][0]["version"]
    page = open_function("predict")
    parameters = page.get_by_role("region", name="Parameters")
    expect(parameters).to_contain_text(re.compile(rf"Version {newest} .*accuracy 0\.\d+, precision 0\.\d+"))
    expect(parameters.get_by_role("link", name=f"Version {newest}")).to_have_attribute(
        "href", f"#/models/iris_model?version={newest}"
    )


def test_a_csv_file_becomes_predictions_and_these_become_a_csv_file(
    open_function: Callable[[str], Page], run: Callable[[str], None], tmp_path: Path
) -> None:
    table = tmp_path / "flowers.csv"
    table.write_text("\ufeffsl;sw;pl;pw\n5,1;3,5;1,4;0,2\n6,7;3;5,2;2,3\n", encoding="utf-8")
    page = open_function("predict")
    page.get_by_label("Read a CSV file").set_input_files(table)
    expect(page.get_by_text("2 rows of 4 values. The first line has no numbers and is left out")).to_be_visible()
    run("predict")
    result = page.get_by_role("region", name="Result")
    expect(result.get_by_text("2 predictions")).to_be_visible()
    with page.expect_download() as download:
        result.get_by_role("link", name="Download CSV").click()
    assert download.value.suggested_filename == "predictions.csv"
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("row,Feature 1,Feature 2,Feature 3,Feature 4,prediction,probability setosa")
    assert lines[1].startswith("1,5.1,3.5,1.4,0.2,setosa,")
    assert lines[2].startswith("2,6.7,3,5.2,2.3,virginica,")


def test_a_file_that_is_dropped_is_read(open_function: Callable[[str], Page]) -> None:
    page = open_function("predict")
    features = page.get_by_role("textbox", name="features")
    dropped = page.evaluate_handle(
        """() => {
            const transfer = new DataTransfer();
            transfer.items.add(new File(["5.1,3.5,1.4,0.2\\n6.7,3,5.2,2.3\\n"], "flowers.csv", { type: "text/csv" }));
            return transfer;
        }"""
    )
    features.dispatch_event("drop", {"dataTransfer": dropped})
    expect(features).to_have_value("5.1,3.5,1.4,0.2\n6.7,3,5.2,2.3")
    expect(page.get_by_text("2 rows of 4 values.")).to_be_visible()


def test_values_outside_of_the_training_range_are_named(
    open_function: Callable[[str], Page], run: Callable[[str], None]
) -> None:
    page = open_function("predict")
    page.get_by_role("textbox", name="features").fill("51, 3.5, 1.4, 0.2")
    run("predict")
    expect(page.get_by_role("note")).to_contain_text("51 is outside of the training range")
