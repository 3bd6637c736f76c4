"""The pages of models: versions, aliases, and what made and used a version."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from support.accessibility import violations
from support.client import Client

MODEL = "flowers"
ALIAS = "champion"
ALIASES = f"/models/{MODEL}/aliases"
MLFLOW = "/mlflow/api/2.0/mlflow"


@pytest.fixture(scope="module")
def versions(base_url: str) -> Iterator[list[str]]:
    """Three versions of a model, oldest first, registered in MLflow as a notebook would: no training, no container."""
    client = Client(base_url)

    def tell(route: str, **body: object) -> Any:
        answer = client.post(f"{MLFLOW}/{route}", json=body)
        assert answer.status == 200, answer.text
        return answer.json

    def register(trees: int) -> str:
        run = tell("runs/create", experiment_id="0")["run"]["info"]
        for name, value in (("n_estimators", str(trees)), ("random_state", "42")):
            tell("runs/log-parameter", run_id=run["run_id"], key=name, value=value)
        tell("runs/log-metric", run_id=run["run_id"], key="accuracy", value=1 - 1 / trees, timestamp=0)
        source = f"{run['artifact_uri']}/model"
        made = tell("model-versions/create", name=MODEL, source=source, run_id=run["run_id"])
        version: str = made["model_version"]["version"]
        return version

    tell("registered-models/create", name=MODEL)
    yield [register(trees) for trees in (10, 20, 40)]
    assert client.request("DELETE", f"{MLFLOW}/registered-models/delete", json={"name": MODEL}).status == 200


@pytest.fixture
def model(page: Page, base_url: str, client: Client, versions: list[str]) -> Iterator[Page]:
    """The page of the model, which has no alias before and after."""
    page.goto(f"{base_url}/#/models/{MODEL}")
    expect(page.get_by_role("button", name=versions[-1], exact=True)).to_be_visible()
    yield page
    if ALIAS in client.get(ALIASES).json["aliases"]:
        assert client.request("DELETE", f"{ALIASES}/{ALIAS}").status == 200


def aliases(page: Page) -> Locator:
    return page.get_by_role("region", name="Aliases")


def set_alias(page: Page, version: str) -> None:
    """Fill in the form and press its button; the question is open then."""
    form = page.get_by_role("form", name="Set an alias")
    form.get_by_role("combobox", name="Alias", exact=True).fill(ALIAS)
    form.get_by_role("combobox", name="Version").select_option(version)
    form.get_by_role("button", name="Set alias").click()


def test_the_list_leads_to_a_model(page: Page, base_url: str, versions: list[str]) -> None:
    page.goto(f"{base_url}/#/models")
    row = page.get_by_role("row", name=re.compile(f"^{MODEL}"))
    expect(row).to_contain_text(versions[-1])
    row.get_by_role("link", name=MODEL).click()
    expect(page.get_by_role("heading", name=MODEL, level=1)).to_be_focused()
    expect(page.get_by_role("img", name=re.compile("^Line chart: measures by version"))).to_be_visible()


def test_a_version_leads_to_the_invocation_that_made_it_and_to_those_that_used_it(
    page: Page, base_url: str, client: Client, trained: str
) -> None:
    used = client.invoke("predict", {"features": [5.1, 3.5, 1.4, 0.2], "model_version": trained}).json["invocation_id"]
    page.goto(f"{base_url}/#/models/iris_model")
    page.get_by_role("button", name=trained, exact=True).click()
    expect(page).to_have_url(re.compile(f"version={trained}"))
    details = page.get_by_role("region", name=f"Version {trained}")
    expect(details.get_by_role("link", name=re.compile("predict")).first).to_be_visible()
    details.get_by_role("link", name="All of them").click()
    expect(page.get_by_role("region", name="History").locator(f"a[href$='{used}']")).to_be_visible()
    page.go_back()
    details.get_by_role("link", name="an invocation of train").click()
    expect(page.get_by_role("heading", name="train invocation", level=1)).to_be_visible()
    origin = page.get_by_role("region", name="Origin")
    origin.get_by_role("link", name=f"iris_model version {trained}").click()
    expect(page.get_by_role("region", name=f"Version {trained}")).to_be_visible()


def test_an_alias_is_set_moved_rolled_back_and_deleted_each_after_a_question(
    model: Page, client: Client, versions: list[str]
) -> None:
    def meaning() -> str | None:
        found: str | None = client.get(ALIASES).json["aliases"].get(ALIAS)
        return found

    question = model.get_by_role("dialog")
    set_alias(model, versions[0])
    question.get_by_role("button", name="Cancel").click()
    expect(question).to_have_count(0)
    assert meaning() is None, "a question that was not answered changes nothing"

    set_alias(model, versions[0])
    question.get_by_role("button", name="Set it").click()
    expect(aliases(model).get_by_text(f"version {versions[0]}", exact=True)).to_be_visible()
    set_alias(model, versions[1])
    expect(question).to_contain_text(f"It means version {versions[0]} now.")
    question.get_by_role("button", name="Move it").click()
    expect(aliases(model).get_by_text(f"version {versions[1]}", exact=True)).to_be_visible()
    assert meaning() == versions[1]

    line = aliases(model).get_by_role("definition").filter(has_text=f"version {versions[1]}")
    line.get_by_role("button", name="Roll back").click()
    question.get_by_role("button", name="Roll back").click()
    expect(aliases(model).get_by_text(f"version {versions[0]}", exact=True)).to_be_visible()
    assert meaning() == versions[0]

    line = aliases(model).get_by_role("definition").filter(has_text=f"version {versions[0]}")
    line.get_by_role("button", name="Delete").click()
    question.get_by_role("button", name="Delete it").click()
    expect(aliases(model).get_by_role("definition")).to_have_count(0)
    assert meaning() is None
    aliases(model).get_by_text(re.compile(r"^\d+ moves$")).click()
    expect(aliases(model).get_by_role("row").nth(1)).to_contain_text("deleted")


def test_who_was_slower_is_told_and_overwrites_nothing(
    model: Page, client: Client, versions: list[str], expected_failures: list[str]
) -> None:
    expected_failures.append("409")
    set_alias(model, versions[0])
    assert client.request("PUT", f"{ALIASES}/{ALIAS}", json={"version": versions[2]}).status == 200
    question = model.get_by_role("dialog")
    question.get_by_role("button", name="Set it").click()
    expect(question.get_by_role("alert")).to_contain_text("Alias moved")
    expect(question.get_by_role("button")).to_have_count(1)
    question.get_by_role("button", name="Close").click()
    expect(aliases(model).get_by_text(f"version {versions[2]}", exact=True)).to_be_visible()


def test_three_versions_stand_side_by_side(model: Page, versions: list[str]) -> None:
    for version in versions:
        model.get_by_role("checkbox", name=f"Compare version {version}", exact=True).check()
    model.get_by_role("link", name="Compare 3 versions").click()
    table = model.get_by_role("region", name="Versions side by side").get_by_role("table")
    trees = table.get_by_role("row", name=re.compile("^N estimators"))
    expect(trees.get_by_role("cell")).to_have_text(["10", "20, differs", "40, differs"])
    same = table.get_by_role("rowheader", name="Random state")
    expect(same).to_be_visible()
    model.get_by_role("checkbox", name="Only what differs").check()
    expect(same).to_have_count(0)
    expect(trees).to_be_visible()
    assert not violations(model)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_a_question(model: Page, versions: list[str], scheme: str) -> None:
    model.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    set_alias(model, versions[0])
    expect(model.get_by_role("dialog")).to_be_visible()
    assert not violations(model)


def test_a_model_that_is_not_there_says_so(page: Page, base_url: str) -> None:
    page.goto(f"{base_url}/#/models/nobody-trained-this")
    expect(page.get_by_text("There is no model named nobody-trained-this.")).to_be_visible()
