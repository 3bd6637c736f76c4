import contextlib
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from function_runner.errors import ParametersInvalid
from function_runner.function import Function, Manifest

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["features"],
    "properties": {
        "n": {"type": "integer", "minimum": 1, "maximum": 10, "default": 3},
        "criterion": {"enum": ["gini", "entropy"]},
        "depth": {"type": ["integer", "null"], "default": None},
        "features": {"type": "array", "minItems": 2, "items": {"type": "number"}},
        "version": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "a/b~c": {"type": "string", "maxLength": 2, "pattern": "^x"},
    },
}


def function(schema=SCHEMA) -> Function:
    return Function(
        name="probe",
        folder=Path("probe"),
        source_hash="0" * 64,
        description="",
        timeout=1,
        memory_mb=64,
        cpus=1,
        warm=0,
        warm_max=0,
        warm_max_age=3600,
        max_concurrency=None,
        invocations_per_container=1,
        max_idle=300,
        schema=schema,
    )


def complaints(parameters) -> dict[str, str]:
    with pytest.raises(ParametersInvalid) as caught:
        function().validate(parameters)
    return {error.pointer: error.detail for error in caught.value.errors}


def test_it_works():
    assert function().validate({"features": [1, 2.5]}) == {"features": [1, 2.5], "n": 3, "depth": None}


def test_what_was_sent_stays_as_it_is():
    sent = {"features": [1, 2]}
    function().validate(sent)
    assert sent == {"features": [1, 2]}


def test_a_default_is_not_shared_between_invocations():
    probe = function({"type": "object", "properties": {"names": {"default": []}}})
    probe.validate({})["names"].append("mine")
    assert probe.validate({}) == {"names": []}


def test_without_a_schema_everything_fits():
    assert function(None).validate({"any": ["thing"]}) == {"any": ["thing"]}


@pytest.mark.parametrize(
    ("parameters", "pointer", "words"),
    [
        ({}, "/features", "is required"),
        ({"features": [1]}, "/features", "at least 2 items, not 1"),
        ({"features": [1, "two"]}, "/features/1", "must be of type number, not 'two'"),
        ({"features": [1, True]}, "/features/1", "must be of type number, not True"),
        ({"features": [1, 2], "n": 0}, "/n", "must be at least 1, not 0"),
        ({"features": [1, 2], "n": 11}, "/n", "must be at most 10, not 11"),
        ({"features": [1, 2], "n": "10"}, "/n", "must be of type integer"),
        ({"features": [1, 2], "depth": "deep"}, "/depth", "must be of type integer or null"),
        ({"features": [1, 2], "criterion": "luck"}, "/criterion", "must be one of 'gini', 'entropy', not 'luck'"),
        ({"features": [1, 2], "version": []}, "/version", "fits none of the allowed forms"),
        ({"features": [1, 2], "typo": 1}, "/typo", "is not a parameter here; known:"),
        ({"features": [1, 2], "a/b~c": "xyz"}, "/a~1b~0c", "at most 2 characters, not 3"),
        ({"features": [1, 2], "a/b~c": "y"}, "/a~1b~0c", "must match ^x"),
    ],
)
def test_each_complaint_names_its_place_and_says_why(parameters, pointer, words):
    assert words in complaints(parameters)[pointer]


def test_all_complaints_come_at_once_and_none_twice():
    found = complaints({"n": 0, "one": 1, "two": 2})
    assert set(found) == {"/features", "/n", "/one", "/two"}


def test_a_long_value_is_cut():
    assert len(complaints({"features": "x" * 10_000})["/features"]) < 200


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists)))
def test_whatever_comes_is_refused_in_our_words_or_accepted(parameters):
    with contextlib.suppress(ParametersInvalid):
        assert set(function().validate(parameters)) >= {"n", "depth", "features"}


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ({"timeout": 0}, "greater than 0"),
        ({"memory": "much"}, "valid integer"),
        ({"tiemout": 3}, "Extra inputs are not permitted"),
        ({"warm": -1}, "greater than or equal to 0"),
        ({"parameters": {"type": "array"}}, "must describe an object"),
        ({"parameters": {"properties": {"x": {"type": "text"}}}}, "not a JSON Schema"),
        ({"parameters": {"properties": {"x": {"pattern": "("}}}}, "not a regular expression"),
        ({"parameters": {"patternProperties": {"^x": {}}}}, "patternProperties is not supported"),
        ({"parameters": {"$ref": "http://elsewhere.example/schema"}}, "may only point inside"),
        ({"parameters": {"properties": {"x": {"default": float("nan")}}}}, "plain JSON"),
        ({"environment": {"LD_PRELOAD": "x"}}, "set by the runner"),
        ({"environment": {"AWS_LAMBDA_RUNTIME_API": "x"}}, "set by the runner"),
        ({"environment": {"A=B": "x"}}, "pattern"),
        ({"examples": [{"parameters": [1]}]}, "dictionary"),
    ],
)
def test_a_manifest_that_cannot_work_is_refused(manifest, words):
    with pytest.raises(ValidationError, match=words):
        Manifest.model_validate(manifest)


def test_a_pattern_that_never_ends_is_given_up():
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a|aa)+$"}}}
    before = time.monotonic()
    with pytest.raises(ParametersInvalid):
        function(schema).validate({"a": "a" * 200 + "!"})
    assert time.monotonic() - before < 20
    assert function(schema).validate({"a": "aaa"}) == {"a": "aaa"}


def test_a_property_may_be_called_pattern():
    manifest = {"parameters": {"properties": {"pattern": {"type": "string", "default": "("}}}}
    assert Manifest.model_validate(manifest).parameters


def test_a_pattern_that_was_given_up_is_not_called_a_mismatch(monkeypatch):
    def never(*_, **__):
        raise TimeoutError

    monkeypatch.setattr("function_runner.function.regex.search", never)
    with pytest.raises(ParametersInvalid) as caught:
        function({"type": "object", "properties": {"a": {"type": "string", "pattern": "^x"}}}).validate({"a": "y"})
    assert caught.value.errors[0].detail == "could not be compared with the pattern ^x in time"
