"""Iris, split into what the forest learns from and what it is measured on."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split

NAME = "iris"
TARGET = "species"


@dataclass(frozen=True)
class Split:
    """Rows with named columns, and the name of the species of each."""

    train: pd.DataFrame
    train_labels: np.ndarray  # names, not numbers: whoever loads the model gets "setosa", not 0
    test: pd.DataFrame
    test_labels: np.ndarray

    @property
    def ranges(self) -> dict[str, list[float]]:
        """Lowest and highest value of each feature that the forest has seen."""
        return {name: [float(column.min()), float(column.max())] for name, column in self.train.items()}

    @property
    def smallest_class(self) -> tuple[str, int]:
        """The class with the fewest training rows, and how many it has."""
        name, rows = Counter(self.train_labels).most_common()[-1]
        return str(name), rows


def split_iris(test_size: float, random_state: int | None) -> Split:
    """Each species keeps its share on both sides."""
    iris = load_iris()
    rows = pd.DataFrame(iris.data, columns=iris.feature_names)
    labels = np.asarray(iris.target_names, dtype=str)[iris.target]
    train, test, train_labels, test_labels = train_test_split(
        rows, labels, test_size=test_size, random_state=random_state, stratify=labels
    )
    return Split(train, train_labels, test, test_labels)
