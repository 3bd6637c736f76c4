"""Features against a signature: one row or many, by place or by name, and every complaint at its place."""

import json
import math

import pytest

IRIS = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
ROW = [5.1, 3.5, 1.4, 0.2]


@pytest.fixture(scope="module")
def signature(load):
    def build(columns=None, **metadata):
        columns = columns or [{"type": "double", "name": name, "required": True} for name in IRIS]
        mlmodel = {"signature": {"inputs": json.dumps(columns)}, "metadata": metadata}
        return load("features").Signature.from_mlmodel(mlmodel)

    return build


@pytest.fixture(scope="module")
def refusal(load, signature):
    def refuse(features, columns=None):
        with pytest.raises(load("errors").InvalidParameters) as refused:
            signature(columns).read(features)
        return str(refused.value).splitlines()

    return refuse


def test_it_works(signature):
    assert signature().read(ROW) == ([ROW], True)


def test_many_rows(signature):
    assert signature().read([ROW, [1, 2, 3, 4]]) == ([ROW, [1.0, 2.0, 3.0, 4.0]], False)


def test_one_row_in_a_list_is_many(signature):
    assert signature().read([ROW]) == ([ROW], False)


def test_by_name_in_any_order(signature):
    named = dict(reversed(list(zip(IRIS, ROW, strict=True))))

    assert signature().read(named) == ([ROW], True)
    assert signature().read([named, ROW]) == ([ROW, ROW], False)


@pytest.mark.parametrize("features", [None, "setosa", 5, True, []])
def test_what_is_no_row_at_all(refusal, features):
    assert refusal(features) == ["/features: must be a row of values, a list of rows, or an object by column name"]


def test_too_few_and_too_many_values(refusal):
    lines = refusal([[1, 2, 3], [1, 2, 3, 4, 5], []])

    assert [line.split(", not")[0] for line in lines] == [f"/features/{row}: must have 4 values" for row in range(3)]
    assert IRIS[0] in lines[0]


def test_every_value_is_checked(refusal):
    assert refusal([ROW, ["5", True, None, math.nan], [math.inf, 1e39, 10**400, [1]], 7]) == [
        "/features/1/0: must be a number",
        "/features/1/1: must be a number",
        "/features/1/2: must be a number",
        "/features/1/3: must be a finite number",
        "/features/2/0: must be a finite number",
        "/features/2/1: must be between -3.40282e+38 and 3.40282e+38",
        "/features/2/2: must be between -3.40282e+38 and 3.40282e+38",
        "/features/2/3: must be a number",
        "/features/3: must be a list of values, or an object with a value for each column",
    ]


def test_names_that_are_missing_or_unknown(refusal):
    lines = refusal({IRIS[0]: 1, IRIS[1]: "x", IRIS[2]: 1, "a/b": 1})

    assert lines[0].startswith("/features/a~1b: is not a column of this model; it has sepal length (cm), ")
    assert lines[1:] == ["/features/petal width (cm): is missing", "/features/sepal width (cm): must be a number"]


def test_only_the_first_hundred_problems_are_listed(refusal):
    lines = refusal([["x"] * 4] * 50)

    assert len(lines) == 101
    assert lines[-1] == "and 100 more problems"


def test_too_many_rows(load, refusal):
    assert refusal([ROW] * (load("features").MAX_ROWS + 1)) == ["/features: must be at most 10000 rows, not 10001"]


def test_other_types(signature, refusal):
    columns = [
        {"type": "long", "name": "count"},
        {"type": "boolean", "name": "open"},
        {"type": "string", "name": "colour"},
        {"type": "double", "name": "weight", "required": False},
    ]

    rows, _ = signature(columns).read({"count": 3.0, "open": True, "colour": "red"})
    assert rows[0][:3] == [3.0, 1.0, "red"]
    assert math.isnan(rows[0][3])
    assert refusal([1.5, 1, 2, None], columns) == [
        "/features/0: must be a whole number",
        "/features/1: must be true or false",
        "/features/2: must be text",
    ]


def test_a_model_logged_with_an_array_has_no_names(signature, refusal):
    columns = [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]

    assert signature(columns).read([1, 2]) == ([[1.0, 2.0]], True)
    assert refusal([1], columns) == ["/features: must have 2 values, not 1"]
    assert refusal({"a": 1}, columns) == ["/features: must be a list of values: its columns have no names"]


@pytest.mark.parametrize(
    "mlmodel",
    [
        {},
        {"signature": None},
        {"signature": {"inputs": "[]"}},
        {"signature": {"inputs": "not json"}},
        {"signature": {"inputs": "[1]"}},
        {"signature": {"inputs": '[{"name": "without a type"}]'}},
        {"signature": {"inputs": '[{"type": "datetime", "name": "when"}]'}},
        {"signature": {"inputs": '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 28, 28]}}]'}},
    ],
    ids=str,
)
def test_a_signature_that_cannot_be_checked_is_refused(load, mlmodel):
    with pytest.raises(load("errors").UnsupportedModel):
        load("features").Signature.from_mlmodel(mlmodel)


def test_outside_of_the_training_range_is_a_warning(signature):
    ranged = signature(training_ranges={IRIS[0]: [4.3, 7.9]})

    assert ranged.warnings([ROW], single=True) == []
    assert ranged.warnings([[50.0, 0, 0, 0]], single=True) == [
        "sepal length (cm): 50 is outside of the training range, 4.3 to 7.9"
    ]
    assert ranged.warnings([ROW, [1.0, 0, 0, 0]], single=False) == [
        "row 2, sepal length (cm): 1 is outside of the training range, 4.3 to 7.9"
    ]
