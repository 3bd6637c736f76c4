"""What a schema cannot say about the parameters of train."""

import pytest


@pytest.fixture(scope="module")
def parse(load):
    return load("parameters").Parameters.from_event


@pytest.fixture(scope="module")
def refusal(load, parse):
    """The lines of the refusal of an event."""

    def refuse(**event):
        with pytest.raises(load("errors").InvalidParameters) as refused:
            parse(event)
        return str(refused.value).splitlines()

    return refuse


def test_it_works(parse):
    parameters = parse({"n_estimators": 100, "max_depth": 10, "test_size": 0.2})

    assert parameters.forest == {
        "n_estimators": 100,
        "max_depth": 10,
        "criterion": "gini",
        "min_samples_split": 2,
        "min_samples_leaf": 1,
        "max_features": "sqrt",
        "random_state": 42,
    }
    assert parameters.as_used() == parameters.forest | {"test_size": 0.2, "tune": False}


def test_a_float_without_fraction_is_an_integer(parse):
    forest = parse({"n_estimators": 10.0, "max_depth": 3.0}).forest

    assert isinstance(forest["n_estimators"], int)
    assert isinstance(forest["max_depth"], int)


def test_max_features_keeps_its_type(parse):
    assert isinstance(parse({"max_features": 1.0}).forest["max_features"], float)
    assert isinstance(parse({"max_features": 1}).forest["max_features"], int)


def test_everything_wrong_is_said_at_once(refusal):
    lines = refusal(n_estimators=0, test_size=1, tune=1, cv=1, n_trials=0, scoring="magic", colour="red")

    assert [line.split(": ")[0] for line in lines] == [
        "/colour",
        "/n_estimators",
        "/test_size",
        "/tune",
        "/n_trials",
        "/cv",
        "/scoring",
    ]


@pytest.mark.parametrize("name", ["", "a/b", "a b", "iris\n", ".hidden", "x" * 101, 7])
def test_a_name_that_mlflow_or_an_address_cannot_hold_is_refused(refusal, name):
    assert refusal(model_name=name)[0].startswith("/model_name: ")


def test_a_search_space_without_tuning_is_refused(refusal):
    assert refusal(search_space={"max_depth": [1, 2]}) == ["/search_space: is used only when tune is true"]


@pytest.mark.parametrize("nothing", [None, {}])
def test_no_search_space_means_the_default_one(load, parse, nothing):
    parameters = parse({"tune": True, "search_space": nothing})

    assert parameters.space == load("search_space").DEFAULT
    assert parameters.searched == set(load("parameters").FOREST_PARAMETERS)


def test_what_was_searched_is_part_of_what_was_used(parse):
    used = parse({"tune": True, "search_space": {"max_depth": {"low": 1, "high": 3}}, "cv": 3}).as_used()

    assert used["search_space"] == {"max_depth": {"low": 1, "high": 3, "step": 1, "log": False}}
    assert (used["n_trials"], used["cv"], used["scoring"]) == (20, 3, "accuracy")
