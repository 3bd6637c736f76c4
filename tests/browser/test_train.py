"""Training from the dashboard's form."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from support.client import Client


def test_it_works(open_function: Callable[[str], Page], run: Callable[[str], None], client: Client) -> None:
    page = open_function("train")
    page.get_by_role("spinbutton", name="n_estimators").fill("25")
    page.get_by_role("spinbutton", name="max_depth").fill("5")
    page.get_by_role("spinbutton", name="test_size").fill("0.3")
    run("train")

    result = page.get_by_role("region", name="Result")
    for measure in ("Accuracy", "Precision", "Recall", "F1 score"):
        card = result.get_by_role("term").filter(has_text=re.compile(f"^{measure}$")).locator("..")
        expect(card.get_by_role("definition")).to_have_text(re.compile(r"^\d+(\.\d)? %$"))
    expect(result.get_by_text("Training time")).to_be_visible()
    record = client.get("/invocations?function=train&limit=1").json["invocations"][0]
    assert {name: record["parameters"][name] for name in ("n_estimators", "max_depth", "test_size")} == {
        "n_estimators": 25,
        "max_depth": 5,
        "test_size": 0.3,
    }


def test_the_result_leads_to_mlflow(open_function: Callable[[str], Page], run: Callable[[str], None]) -> None:
    page = open_function("train")
    run("train")
    result = page.get_by_role("region", name="Result")
    model = result.get_by_role("link", name=re.compile(r"^models:.iris_model.\d+$"))
    expect(model).to_have_attribute("href", re.compile(r"^/mlflow/#/models/iris_model/versions/\d+$"))
    run_link = result.get_by_role("link", name=re.compile("in MLflow$"))
    expect(run_link).to_have_attribute("href", re.compile(r"^/mlflow/#/experiments/\d+/runs/[0-9a-f]{32}$"))


def test_the_result_names_invocation_container_timings_and_log(
    open_function: Callable[[str], Page], run: Callable[[str], None]
) -> None:
    page = open_function("train")
    run("train")
    result = page.get_by_role("region", name="Result")
    expect(result.get_by_text(re.compile("^train-[0-9a-f]{12}$"))).to_be_visible()
    expect(result.get_by_text(re.compile("^(A container was ready|No container was ready)"))).to_be_visible()
    times = result.get_by_role("table", name="Where the time went")
    for phase in ("Running", "Total"):
        expect(times.get_by_role("row", name=re.compile(rf"^{phase} \d.* m?s$"))).to_be_visible()
    result.get_by_role("link", name="Show").click()
    expect(page).to_have_url(re.compile("#/invocations/"))
    expect(page.get_by_role("region", name="Log text")).to_contain_text("START RequestId:")


def test_the_raw_json_is_one_click_away(open_function: Callable[[str], Page], run: Callable[[str], None]) -> None:
    page = open_function("train")
    run("train")
    page.get_by_text("Raw JSON").click()
    expect(page.get_by_role("region", name="Raw JSON")).to_contain_text('"model_uri": "models:/iris_model/')


def test_an_example_fills_the_form(open_function: Callable[[str], Page]) -> None:
    page = open_function("train")
    page.get_by_role("spinbutton", name="n_estimators").fill("7")
    page.get_by_role("group", name="Fill in an example").get_by_role("button").first.click()
    expect(page.get_by_role("spinbutton", name="n_estimators")).to_have_value("100")
    expect(page.get_by_role("spinbutton", name="max_depth")).to_have_value("10")


def test_the_usual_parameters_come_first_and_the_rest_is_folded(open_function: Callable[[str], Page]) -> None:
    page = open_function("train")
    expect(page.get_by_role("spinbutton", name="n_estimators")).to_be_visible()
    expect(page.get_by_role("spinbutton", name="random_state")).to_be_hidden()
    page.get_by_text("More options").click()
    expect(page.get_by_role("spinbutton", name="random_state")).to_be_visible()


def test_the_result_shows_where_the_model_errs_and_what_it_looks_at(
    open_function: Callable[[str], Page], run: Callable[[str], None]
) -> None:
    page = open_function("train")
    page.get_by_role("spinbutton", name="test_size").fill("0.4")
    run("train")
    matrix = page.get_by_role("group", name="Confusion matrix")
    expect(matrix.get_by_role("columnheader")).to_have_text(["True class", "setosa", "versicolor", "virginica"])
    cells = [int(text) for text in matrix.get_by_role("cell").all_inner_texts()]
    assert len(cells) == 9
    assert sum(cells) == 60
    assert cells[0] == 20, "no setosa is taken for another"
    importances = page.get_by_role("table", name="Feature importances")
    expect(importances.get_by_role("row")).to_have_count(4)
    expect(importances.get_by_role("row").first).to_contain_text("petal")


def test_the_result_is_compared_with_the_version_before_and_the_champion(
    open_function: Callable[[str], Page], run: Callable[[str], None], client: Client
) -> None:
    good = client.invoke("train", {"model_name": "rivals"}).result["model_version"]
    # One tree that may ask one question knows two species only.
    client.invoke("train", {"model_name": "rivals", "n_estimators": 1, "max_depth": 1})
    client.request("PUT", "/models/rivals/aliases/champion", json={"version": good})
    page = open_function("train")
    page.get_by_role("button", name="JSON", exact=True).click()
    page.get_by_role("textbox", name="Parameters as JSON").fill(
        '{"model_name": "rivals", "n_estimators": 1, "max_depth": 2, "test_size": 0.5}'
    )
    run("train")
    comparison = page.get_by_role("group", name="Compared with other versions")
    expect(comparison.get_by_role("columnheader").nth(2)).to_contain_text("Before")
    expect(comparison.get_by_role("columnheader").nth(3)).to_contain_text("@champion")
    expect(comparison.get_by_role("row", name=re.compile("^Accuracy"))).to_contain_text(re.compile("better|worse|same"))
    expect(page.get_by_role("link", name="Compare them in full")).to_have_attribute(
        "href", re.compile(r"^#/compare\?model=rivals&versions=\d+%2C\d+%2C\d+$")
    )
