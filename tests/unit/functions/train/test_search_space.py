"""Lists and ranges of values, and what is said about those that make no sense."""

import math

import pytest


@pytest.fixture(scope="module")
def space(load):
    return load("search_space")


def test_it_works(space):
    parsed, problems = space.parse({"max_depth": [None, 3], "n_estimators": {"low": 50, "high": 310, "step": 50}})

    assert problems == []
    assert parsed["max_depth"].values() == [None, 3]
    assert parsed["n_estimators"].values() == [50, 100, 150, 200, 250, 300]
    assert space.size(parsed) == 12


def test_a_fraction_has_endless_values(space):
    parsed, problems = space.parse({"max_features": {"low": 0.1, "high": 0.9}})

    assert problems == []
    assert space.size(parsed) == math.inf


def test_the_default_is_valid(space):
    as_json = {name: dimension.as_json() for name, dimension in space.DEFAULT.items()}

    assert space.parse(as_json) == (space.DEFAULT, [])


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ([], "/search_space: must be an object: parameter name to choices or range"),
        ({"a/b": [1]}, "/search_space/a~1b: cannot be searched; choose from n_estimators, "),
        ({"max_depth": 3}, "/search_space/max_depth: must be a list of values or "),
        ({"max_depth": []}, "/search_space/max_depth: must list 1 to 100 values"),
        ({"max_depth": [1, [2]]}, "/search_space/max_depth/1: must be null or a whole number from 1 to 100"),
        ({"max_depth": [True]}, "/search_space/max_depth/0: must be null or a whole number from 1 to 100"),
        ({"criterion": ["magic"]}, "/search_space/criterion/0: must be gini, entropy or log_loss"),
        ({"criterion": {"low": 1, "high": 2}}, "/search_space/criterion: has no order, so list the values"),
        ({"max_depth": {"high": 5}}, "/search_space/max_depth: needs low"),
        ({"max_depth": {"low": 9, "high": 5}}, "/search_space/max_depth: low (9) is greater than high (5)"),
        ({"max_depth": {"low": None, "high": 5}}, "/search_space/max_depth/low: must be a whole number from 1 to 100"),
        ({"max_depth": {"low": 1, "high": 5, "q": 1}}, "/search_space/max_depth/q: is not part of a range"),
        ({"max_depth": {"low": 1, "high": 5, "step": 0}}, "/search_space/max_depth/step: must be a whole number"),
        ({"max_depth": {"low": 1, "high": 5, "log": 1}}, "/search_space/max_depth/log: must be true or false"),
        (
            {"max_depth": {"low": 1, "high": 5, "log": True, "step": 2}},
            "/search_space/max_depth/step: cannot be combined with log",
        ),
        ({"max_features": {"low": 1, "high": 0.5}}, "/search_space/max_features: low and high must both be"),
        (
            {"max_features": {"low": 0.1, "high": 0.5, "step": 0.1}},
            "/search_space/max_features/step: only ranges of whole numbers have steps",
        ),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_said_at_its_place(space, wanted, line):
    parsed, problems = space.parse(wanted)

    assert parsed == {}
    assert len(problems) == 1
    assert problems[0].startswith(line)
