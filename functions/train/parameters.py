"""What a training can be asked for: as `function.yaml` says in JSON Schema, and what a schema cannot say."""

import math
import re
from dataclasses import dataclass, fields, replace
from typing import Any

import search_space
from errors import InvalidParameters
from search_space import Dimension, SearchSpace

# The parameters that are passed on to RandomForestClassifier under the same name, and that a search may vary.
FOREST_PARAMETERS = tuple(search_space.DOMAINS)

SCORINGS = (
    "accuracy",
    "balanced_accuracy",
    "f1_macro",
    "f1_weighted",
    "precision_macro",
    "recall_macro",
    "roc_auc_ovr",
    "neg_log_loss",
)


@dataclass(frozen=True)
class Parameters:
    """All parameters, with the defaults of `function.yaml`."""

    n_estimators: int = 100
    max_depth: int | None = None
    test_size: float = 0.2
    random_state: int | None = 42
    criterion: str = "gini"
    min_samples_split: int = 2
    min_samples_leaf: int = 1
    max_features: int | float | str | None = "sqrt"
    model_name: str = "iris_model"
    tune: bool = False
    search_space: SearchSpace | None = None  # None: search_space.DEFAULT
    n_trials: int = 20
    cv: int = 5
    scoring: str = "accuracy"

    @classmethod
    def from_event(cls, event: dict[str, Any]) -> "Parameters":
        """Read Lambda's event. Raises InvalidParameters naming everything that is wrong, not only the first."""
        known = {field.name for field in fields(cls)}
        problems = [f"/{name}: is not a parameter of train" for name in event if name not in known]
        given = {name: _whole(name, value) for name, value in event.items() if name in known}

        wanted: dict[str, Dimension] = {}
        if given.get("search_space"):
            wanted, found = search_space.parse(given["search_space"])
            problems += found
            if not given.get("tune", cls.tune):
                problems.append("/search_space: is used only when tune is true")
        given["search_space"] = wanted or None

        parameters = cls(**given)
        problems += _problems(parameters)
        if problems:
            raise InvalidParameters(*problems)
        return parameters

    @property
    def space(self) -> SearchSpace:
        return self.search_space or search_space.DEFAULT

    @property
    def searched(self) -> set[str]:
        """Names of the parameters that a search decides."""
        return set(self.space) if self.tune else set()

    @property
    def forest(self) -> dict[str, Any]:
        """The arguments of RandomForestClassifier."""
        return {name: getattr(self, name) for name in FOREST_PARAMETERS} | {"random_state": self.random_state}

    def with_forest(self, best: dict[str, Any]) -> "Parameters":
        return replace(self, **best)

    def as_used(self) -> dict[str, Any]:
        """Everything that shaped the model, ready for JSON: for the record, the MLflow run and the answer."""
        used = self.forest | {"test_size": self.test_size, "tune": self.tune}
        if self.tune:
            used |= {"search_space": {name: dimension.as_json() for name, dimension in self.space.items()}}
            used |= {"n_trials": self.n_trials, "cv": self.cv, "scoring": self.scoring}
        return used


def _whole(name: str, value: Any) -> Any:
    """JSON Schema counts 100.0 as an integer, scikit-learn does not. In max_features 1.0 means all, and stays."""
    if isinstance(value, float) and value.is_integer() and name not in ("max_features", "test_size"):
        return int(value)
    return value


def _problems(parameters: Parameters) -> list[str]:
    problems = [
        f"/{name}: {problem}"
        for name, domain in search_space.DOMAINS.items()
        if (problem := domain.problem(getattr(parameters, name)))
    ]
    if not _is_number(parameters.test_size) or not 0.02 < parameters.test_size < 0.98:
        problems.append("/test_size: must be a number between 0.02 and 0.98, both excluded")
    if parameters.random_state is not None and not _is_integer(parameters.random_state, 0, 2**32 - 1):
        problems.append("/random_state: must be null or a whole number from 0 to 4294967295")
    name = parameters.model_name
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name):
        problems.append(
            "/model_name: must be up to 100 letters, digits, '_', '.' or '-', and begin with a letter or digit"
        )
    if not isinstance(parameters.tune, bool):
        problems.append("/tune: must be true or false")
    if not _is_integer(parameters.n_trials, 1, 200):
        problems.append("/n_trials: must be a whole number from 1 to 200")
    if not _is_integer(parameters.cv, 2, 20):
        problems.append("/cv: must be a whole number from 2 to 20")
    if parameters.scoring not in SCORINGS:
        problems.append(f"/scoring: must be one of {', '.join(SCORINGS)}")
    return problems


def _is_integer(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
