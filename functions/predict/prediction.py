"""What every loaded model can do, whatever its format."""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from features import Row


@dataclass(frozen=True)
class Prediction:
    """One label for each row, and the probability of each class where the model knows it."""

    labels: list[Any]
    probabilities: list[dict[str, float]] | None


class Predictor(Protocol):
    """A loaded model."""

    model_format: ClassVar[str]  # how it was stored, as the answer calls it

    def predict(self, rows: list[Row]) -> Prediction: ...
