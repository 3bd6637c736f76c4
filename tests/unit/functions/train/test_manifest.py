"""function.yaml and the handler say the same."""

from dataclasses import fields

import pytest
from jsonschema import Draft202012Validator


def test_it_is_json_schema(manifest):
    Draft202012Validator.check_schema(manifest["parameters"])


def test_the_examples_fit(load, manifest):
    for example in manifest["examples"]:
        Draft202012Validator(manifest["parameters"]).validate(example["parameters"])
        load("parameters").Parameters.from_event(example["parameters"])


def test_it_has_every_parameter_with_its_default(load, manifest):
    parameters = load("parameters").Parameters

    declared = {name: schema["default"] for name, schema in manifest["parameters"]["properties"].items()}

    assert declared == {field.name: field.default for field in fields(parameters)}


def test_every_parameter_has_a_title_and_a_description(manifest):
    for name, schema in manifest["parameters"]["properties"].items():
        assert schema["title"], name
        assert schema["description"], name


def test_it_offers_the_scores_that_are_known(load, manifest):
    assert tuple(manifest["parameters"]["properties"]["scoring"]["enum"]) == load("parameters").SCORINGS


@pytest.mark.parametrize("name", ["n_estimators", "max_depth", "min_samples_split", "min_samples_leaf"])
def test_it_has_the_limits_of_the_forest(load, manifest, name):
    schema = manifest["parameters"]["properties"][name]

    assert load("search_space").DOMAINS[name].integers == (schema["minimum"], schema["maximum"])


@pytest.mark.parametrize("value", [1, 4, 0, 5, 0.5, 1.0, 1.5, 0.0, "sqrt", "log2", "auto", None, True])
def test_it_accepts_the_same_max_features(load, manifest, value):
    schema = manifest["parameters"]["properties"]["max_features"]
    fits = Draft202012Validator(schema).is_valid(value)

    # JSON Schema does not tell 0.0 from 0, and 5.0 would be an integer; both are refused either way.
    assert fits == load("search_space").DOMAINS["max_features"].accepts(value)
