"""The search itself, on real data with small forests."""

import pytest


@pytest.fixture(scope="module")
def split(load):
    return load("dataset").split_iris(0.2, 1)


@pytest.fixture(scope="module")
def run(load, split):
    def search(**event):
        trials = []
        parameters = load("parameters").Parameters.from_event({"tune": True, "cv": 3, **event})
        found = load("search").search(parameters, split, trials.append)
        return found, trials

    return search


SMALL = {"n_estimators": {"low": 2, "high": 9}, "max_depth": [None, 1, 2], "max_features": [1, 0.5, "sqrt", None]}


def test_it_works(run):
    found, trials = run(n_trials=4, search_space=SMALL)

    assert found.n_trials == len(trials) == 4
    assert [trial.number for trial in trials] == [1, 2, 3, 4]
    assert found.best_score == max(trial.score for trial in trials) == trials[-1].best_score
    assert set(found.best_parameters) == set(SMALL)


def test_the_same_seed_finds_the_same(run):
    assert run(n_trials=4, search_space=SMALL) == run(n_trials=4, search_space=SMALL)


def test_a_small_space_is_tried_completely_and_once(run):
    space = {"n_estimators": [3, 5], "criterion": ["gini", "entropy"]}

    found, trials = run(n_trials=50, search_space=space)

    assert found.n_trials == 4
    assert len({tuple(sorted(trial.parameters.items())) for trial in trials}) == 4


@pytest.mark.parametrize("scoring", ["f1_macro", "roc_auc_ovr", "neg_log_loss"])
def test_other_scores(run, scoring):
    found, _ = run(n_trials=1, search_space={"n_estimators": [5]}, scoring=scoring)

    assert found.best_score <= 1


def test_more_folds_than_rows_of_a_class_are_refused(load):
    parameters = load("parameters").Parameters.from_event({"tune": True, "cv": 10, "test_size": 0.9})
    split = load("dataset").split_iris(0.9, 1)

    with pytest.raises(load("errors").InvalidParameters, match=r"^/cv: must be at most 5, because only 5 "):
        load("search").check_folds(parameters, split)
