"""function.yaml of predict."""

import pytest
from jsonschema import Draft202012Validator


def test_it_is_json_schema_and_the_examples_fit(manifest):
    Draft202012Validator.check_schema(manifest["parameters"])
    for example in manifest["examples"]:
        Draft202012Validator(manifest["parameters"]).validate(example["parameters"])


def test_it_allows_as_many_rows_as_the_handler(load, manifest):
    assert manifest["parameters"]["properties"]["features"]["maxItems"] == load("features").MAX_ROWS


@pytest.mark.parametrize("version", [1, "1", "latest", "@champion"])
def test_versions(manifest, version):
    Draft202012Validator(manifest["parameters"]).validate({"features": [1], "model_version": version})


@pytest.mark.parametrize("version", [0, -1, 1.5, "", "@", "newest", "1.5", None, True, ["1"]])
def test_what_is_no_version(manifest, version):
    assert not Draft202012Validator(manifest["parameters"]).is_valid({"features": [1], "model_version": version})
