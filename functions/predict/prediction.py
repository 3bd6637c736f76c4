"""What every loaded model can do, whatever its format."""

from dataclasses import dataclass
from typing import Any, Protocol

from features import Row


@dataclass(frozen=True)
class Prediction:
    """One label for each row, and the probability of each class where the model knows it."""

    labels: list[Any]
    probabilities: list[dict[str, float]] | None


class Predictor(Protocol):
    """A loaded model."""

    def predict(self, rows: list[Row]) -> Prediction: ...
