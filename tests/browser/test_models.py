"""The pages of models: versions, aliases, and what made and used a version."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from support.client import Client

ALIAS = "seen-in-browser"
ALIASES = "/models/iris_model/aliases"


@pytest.fixture(scope="module")
def versions(base_url: str, trained: str) -> list[str]:
    """Three versions of ``iris_model``, oldest first."""
    client = Client(base_url)
    more = [client.invoke("train", {"n_estimators": trees, "cv": 2}).result["model_version"] for trees in (2, 3)]
    return [trained, *more]


@pytest.fixture
def model(page: Page, base_url: str, client: Client, versions: list[str]) -> Iterator[Page]:
    """The page of the model, without the alias of these tests."""
    page.goto(f"{base_url}/#/models/iris_model")
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
    row = page.get_by_role("row", name=re.compile("^iris_model"))
    expect(row).to_contain_text(versions[-1])
    row.get_by_role("link", name="iris_model").click()
    expect(page.get_by_role("heading", name="iris_model", level=1)).to_be_focused()
    expect(page.get_by_role("img", name=re.compile("^Line chart: measures by version"))).to_be_visible()


def test_a_version_leads_to_the_invocation_that_made_it_and_to_those_that_used_it(
    model: Page, client: Client, versions: list[str]
) -> None:
    client.invoke("predict", {"features": [5.1, 3.5, 1.4, 0.2], "model_version": versions[1]})
    model.get_by_role("button", name=versions[1], exact=True).click()
    expect(model).to_have_url(re.compile(f"version={versions[1]}"))
    details = model.get_by_role("region", name=f"Version {versions[1]}")
    expect(details.get_by_role("link", name=re.compile("predict"))).to_be_visible()
    details.get_by_role("link", name="All of them").click()
    history = model.get_by_role("region", name="History")
    expect(history.get_by_role("row", name=re.compile("predict"))).to_have_count(1)
    model.go_back()
    details.get_by_role("link", name="an invocation of train").click()
    expect(model.get_by_role("heading", name="train invocation", level=1)).to_be_visible()
    made = model.get_by_role("region", name="Origin").get_by_role("link", name=f"iris_model version {versions[1]}")
    made.click()
    expect(model.get_by_role("region", name=f"Version {versions[1]}")).to_be_visible()


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
    expect(aliases(model).get_by_text(f"@{ALIAS}", exact=True)).to_have_count(0)
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
    expect(trees).to_have_accessible_name("N estimators 10 2, differs 3, differs")
    same = table.get_by_role("rowheader", name="Random state")
    expect(same).to_be_visible()
    model.get_by_role("checkbox", name="Only what differs").check()
    expect(same).to_have_count(0)
    expect(trees).to_be_visible()


def test_a_model_that_is_not_there_says_so(page: Page, base_url: str) -> None:
    page.goto(f"{base_url}/#/models/nobody-trained-this")
    expect(page.get_by_text("There is no model named nobody-trained-this.")).to_be_visible()
