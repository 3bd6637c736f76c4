"""How good a forest is on rows it has never seen."""

from dataclasses import dataclass
from typing import Any

from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix, precision_recall_fscore_support

from dataset import Split

# Macro: the mean over the classes, so that each class counts the same however many rows it has.
AVERAGE = "macro"


@dataclass(frozen=True)
class Evaluation:
    """Everything measured, as plain values."""

    metrics: dict[str, float]  # accuracy, precision, recall, f1_score
    report: dict[str, Any]  # precision, recall, f1-score and rows of each class
    labels: list[str]
    confusion: list[list[int]]  # one row for each true class, one column for each predicted class
    importances: dict[str, float]  # by feature, most important first

    @property
    def confusion_table(self) -> dict[str, Any]:
        """The confusion matrix with what one needs to read it."""
        return {"labels": self.labels, "rows": "true", "columns": "predicted", "matrix": self.confusion}


def evaluate(forest: RandomForestClassifier, split: Split) -> Evaluation:
    """Measure the forest on the test rows."""
    labels = [str(label) for label in forest.classes_]
    predicted = forest.predict(split.test)
    precision, recall, f1_score, _ = precision_recall_fscore_support(
        split.test_labels, predicted, labels=labels, average=AVERAGE, zero_division=0
    )
    importances = dict(zip(split.train.columns, map(float, forest.feature_importances_), strict=True))
    return Evaluation(
        metrics={
            "accuracy": float(accuracy_score(split.test_labels, predicted)),
            "precision": float(precision),
            "recall": float(recall),
            "f1_score": float(f1_score),
        },
        report=classification_report(split.test_labels, predicted, labels=labels, zero_division=0, output_dict=True),
        labels=labels,
        confusion=confusion_matrix(split.test_labels, predicted, labels=labels).tolist(),
        importances=dict(sorted(importances.items(), key=lambda item: -item[1])),
    )
