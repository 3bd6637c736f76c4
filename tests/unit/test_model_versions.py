"""Where models point: from memory, fresh within a second, and at once when a function of ours has moved it."""

import pytest

from function_runner.errors import MlflowUnavailable
from function_runner.invocation import ModelVersion
from function_runner.model_versions import ModelVersions
from support.waiting import wait_until

CREATED = "2026-01-31T12:34:56.789Z"


def model(latest, **aliases):
    return {"latest_version": latest, "aliases": aliases, "created_at": CREATED}


@pytest.fixture
def tracking(fake_tracking):
    fake_tracking.models["iris"] = model("3", champion="2")
    return fake_tracking


@pytest.fixture
def models(tracking):
    made = ModelVersions(tracking)
    made.start()
    yield made
    made.stop()


def test_it_works(models):
    assert models.resolve("iris", "latest") == ModelVersion("iris", "3", CREATED)
    assert models.resolve("iris", "@champion") == ModelVersion("iris", "2", CREATED)


def test_a_number_is_taken_as_it_is(models, tracking):
    assert models.resolve("iris", "007") == ModelVersion("iris", "7")
    assert tracking.asked == 0


@pytest.mark.parametrize("version", ["@nobody", "newest", "", "-1", "1.5", "9" * 5000])
def test_what_cannot_be_told_is_left_to_the_function(models, version):
    assert models.resolve("iris", version) is None


def test_an_unknown_model_is_left_to_the_function_and_not_kept(models, tracking):
    assert models.resolve("nobody", "latest") is None
    assert models._interest == {}


def test_mlflow_is_asked_once_for_many(models, tracking):
    models.stop()  # by itself, it asks once a second
    for _ in range(50):
        models.resolve("iris", "latest")
    assert tracking.asked == 1


def test_a_change_from_outside_is_known_within_a_second_or_two(models, tracking):
    models.resolve("iris", "latest")
    tracking.models["iris"] = model("4")
    wait_until(lambda: models.resolve("iris", "latest") == ModelVersion("iris", "4", CREATED), seconds=10, every=0.02)


def test_what_a_function_has_made_is_known_at_once(models, tracking):
    models.resolve("iris", "latest")
    tracking.models["iris"] = model("4")
    assert models.learn("iris", "4")
    assert models.resolve("iris", "latest") == ModelVersion("iris", "4", CREATED)


@pytest.mark.parametrize("version", ["3", "2", "x", ""])
def test_what_is_no_news_changes_nothing(models, tracking, version):
    models.stop()  # by itself, it asks once a second
    models.resolve("iris", "latest")
    asked = tracking.asked
    assert not models.learn("iris", version)
    models.resolve("iris", "latest")
    assert tracking.asked == asked


def test_an_alias_that_was_moved_is_known_at_once_even_from_memory(models, tracking):
    models.resolve("iris", "@champion")
    tracking.models["iris"] = model("3", champion="1")
    models.moved("iris")
    assert models.remembered("iris", "@champion") == ModelVersion("iris", "1", CREATED)


def test_an_answer_from_before_the_news_does_not_count(models, tracking):
    """MLflow is asked, a version is made, and only then the answer arrives."""

    def slow(name, *, within):
        models.learn("iris", "4")
        return model("3")

    answer, tracking.model = tracking.model, slow
    models.resolve("iris", "latest")
    tracking.model = answer
    tracking.models["iris"] = model("4")
    assert models.resolve("iris", "latest") == ModelVersion("iris", "4", CREATED)


def test_mlflow_away_is_not_asked_again_and_again(models, tracking):
    tracking.error = MlflowUnavailable()
    for _ in range(20):
        assert models.resolve("iris", "latest") is None
    assert tracking.asked == 1
    tracking.error = None
    wait_until(lambda: models.resolve("iris", "latest") is not None)


def test_only_so_many_names_are_kept_fresh(models, tracking, monkeypatch):
    monkeypatch.setattr("function_runner.model_versions.MAX_NAMES", 3)
    for number in range(6):
        tracking.models[f"model-{number}"] = model("1")
        models.resolve(f"model-{number}", "latest")
    wait_until(lambda: len(models._interest) == 3)
    assert set(models._interest) == {"model-3", "model-4", "model-5"}


def test_memory_is_asked_without_waiting(models, tracking):
    assert models.remembered("iris", "latest") is None
    assert tracking.asked == 0
    wait_until(lambda: models.remembered("iris", "latest") == ModelVersion("iris", "3", CREATED))
