"""Hyperparameter tuning: Optuna proposes, cross-validation on the training rows judges; the test rows stay unseen."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optuna
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score

import search_space
from dataset import Split
from errors import InvalidParameters
from parameters import Parameters

optuna.logging.set_verbosity(optuna.logging.WARNING)  # we print a line for each trial ourselves


@dataclass(frozen=True)
class Trial:
    """One combination that was tried."""

    number: int  # from 1
    parameters: dict[str, Any]
    score: float  # mean over the folds
    spread: float  # standard deviation over the folds
    best_score: float  # of all trials so far


@dataclass(frozen=True)
class SearchResult:
    """The best of what was tried."""

    best_parameters: dict[str, Any]
    best_score: float
    n_trials: int  # fewer than asked for when all combinations were tried


def check_folds(parameters: Parameters, split: Split) -> None:
    """Every fold needs a row of every class. Raises InvalidParameters when the training rows do not suffice."""
    name, rows = split.smallest_class
    if parameters.cv > rows:
        raise InvalidParameters(
            f"/cv: must be at most {rows}, because only {rows} training rows are {name}; or choose a smaller test_size"
        )


def search(parameters: Parameters, split: Split, report: Callable[[Trial], None]) -> SearchResult:
    """Try up to `n_trials` combinations and call `report` after each. The same random_state finds the same forest."""
    space = parameters.space
    folds = StratifiedKFold(parameters.cv, shuffle=True, random_state=parameters.random_state)

    def judge(trial: optuna.Trial) -> float:
        proposal = {name: dimension.suggest(trial, name) for name, dimension in space.items()}
        forest = RandomForestClassifier(**parameters.with_forest(proposal).forest)
        scores = cross_val_score(
            forest, split.train, split.train_labels, cv=folds, scoring=parameters.scoring, error_score="raise"
        )
        trial.set_user_attr("spread", float(scores.std()))
        return float(scores.mean())

    def tell(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        report(Trial(trial.number + 1, trial.params, trial.value, trial.user_attrs["spread"], study.best_value))

    study = optuna.create_study(direction="maximize", sampler=_sampler(parameters))
    study.optimize(judge, n_trials=parameters.n_trials, callbacks=[tell])
    return SearchResult(study.best_params, study.best_value, len(study.trials))


def planned_trials(parameters: Parameters) -> int:
    """How many trials there will be: n_trials, or fewer when there are no more combinations."""
    return int(min(parameters.n_trials, search_space.size(parameters.space)))


def _sampler(parameters: Parameters) -> optuna.samplers.BaseSampler:
    """When there are no more combinations than trials, try each once instead of guessing at some of them twice."""
    if search_space.size(parameters.space) <= parameters.n_trials:
        grid = {name: dimension.values() for name, dimension in parameters.space.items()}
        return optuna.samplers.GridSampler(grid, seed=parameters.random_state)
    return optuna.samplers.TPESampler(seed=parameters.random_state)
