"""A twin that answers like its forest is kept; any other is not, and a line says why."""

import pytest
from sklearn.ensemble import RandomForestClassifier


@pytest.fixture(scope="module")
def split(load):
    return load("dataset").split_iris(0.2, 1)


@pytest.fixture(scope="module")
def forest(split):
    return RandomForestClassifier(10, random_state=1).fit(split.train, split.train_labels)


@pytest.fixture(scope="module")
def make_twin(load):
    return load("onnx_twin").make_twin


def test_it_works(make_twin, forest, split, capsys):
    twin = make_twin(forest, split)

    assert twin.compared_rows == 150
    assert twin.largest_difference < 1e-6
    assert capsys.readouterr().out.startswith("ONNX twin: same labels for all 150 rows, probabilities within ")


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_estimators": 1},
        {"n_estimators": 400, "max_features": 0.5, "criterion": "entropy"},
        {"n_estimators": 10, "min_samples_leaf": 7, "max_depth": 2, "criterion": "log_loss"},
    ],
    ids=str,
)
def test_every_kind_of_forest_has_one(make_twin, split, arguments):
    forest = RandomForestClassifier(**arguments, random_state=1).fit(split.train, split.train_labels)

    assert make_twin(forest, split).largest_difference < 1e-6


@pytest.mark.parametrize(
    ("compared", "words"),
    [
        ((2, 0.0), "it labels 2 differently"),
        ((0, 2e-5), "its probabilities differ by up to 2.0e-05"),
        ((0, float("nan")), "its probabilities differ by up to nan"),
    ],
)
def test_one_that_answers_differently_is_not_kept(load, make_twin, forest, split, monkeypatch, capsys, compared, words):
    monkeypatch.setattr(load("onnx_twin"), "_compare", lambda *given: compared)

    assert make_twin(forest, split) is None
    printed = capsys.readouterr().out
    assert printed.startswith("No ONNX twin: of 150 rows ")
    assert words in printed
    assert printed.count("\n") == 1


def test_the_comparison_sees_a_graph_of_another_forest(load, convert, forest, split):
    other = RandomForestClassifier(1, max_depth=1, random_state=2).fit(split.train, split.train_labels)

    other_labels, difference = load("onnx_twin")._compare(convert(other), forest, split.test)

    assert other_labels > 5
    assert difference > 0.5


def test_one_that_cannot_be_made_is_no_failure(load, make_twin, forest, split, monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise RuntimeError("no converter\nfor this")

    monkeypatch.setattr(load("onnx_twin").skl2onnx, "convert_sklearn", fail)

    assert make_twin(forest, split) is None
    assert capsys.readouterr().out == "No ONNX twin: RuntimeError: no converter for this\n"
