"""The split keeps every class on both sides, and the measures are those of the test rows."""

from collections import Counter

import pytest
from PIL import Image
from sklearn.ensemble import RandomForestClassifier


@pytest.mark.parametrize("test_size", [0.0201, 0.2, 0.5, 0.9799])
def test_every_class_is_on_both_sides(load, test_size):
    split = load("dataset").split_iris(test_size, None)

    assert len(split.train) + len(split.test) == 150
    assert len(Counter(split.train_labels)) == 3
    assert len(Counter(split.test_labels)) == 3


def test_ranges_are_those_of_the_training_rows(load):
    split = load("dataset").split_iris(0.2, 1)

    assert list(split.ranges) == list(split.train.columns)
    assert split.ranges["petal width (cm)"] == [split.train["petal width (cm)"].min(), 2.5]


def test_measures(load):
    split = load("dataset").split_iris(0.2, 1)
    forest = RandomForestClassifier(10, random_state=1).fit(split.train, split.train_labels)

    evaluation = load("evaluation").evaluate(forest, split)

    assert set(evaluation.metrics) == {"accuracy", "precision", "recall", "f1_score"}
    assert evaluation.labels == ["setosa", "versicolor", "virginica"]
    assert sum(map(sum, evaluation.confusion)) == 30
    assert sum(evaluation.importances.values()) == pytest.approx(1)
    assert list(evaluation.importances.values()) == sorted(evaluation.importances.values(), reverse=True)


def test_pictures_grow_with_what_they_show(load, tmp_path):
    pictures = load("pictures")
    pictures.draw_confusion_matrix(tmp_path / "matrix.png", ["a", "a longer name"], [[5, 0], [0, 0]])
    pictures.draw_bars(tmp_path / "bars.png", "Bars", {"x": 0.0, "y": 1.0, "z": 0.5})

    for name in ("matrix.png", "bars.png"):
        with Image.open(tmp_path / name) as image:
            assert image.format == "PNG"
            assert len(image.convert("L").getcolors(1 << 24)) > 10
