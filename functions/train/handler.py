"""Train a random forest on Iris, record the training in MLflow and register the model."""

import gc

gc.disable()  # nothing of the imports below is garbage: without collections they take a third less time

import json  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

from sklearn.ensemble import RandomForestClassifier  # noqa: E402

import tracking  # noqa: E402
from dataset import Split, split_iris  # noqa: E402
from evaluation import evaluate  # noqa: E402
from onnx_twin import make_twin  # noqa: E402
from parameters import Parameters  # noqa: E402
from search import SearchResult, Trial, check_folds, planned_trials, search  # noqa: E402

gc.freeze()
gc.enable()

STEPS = 5  # beside the trials of a search: loading, fitting, evaluating, logging, registering


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Train once. Raises InvalidParameters, or DependencyUnavailable when MLflow cannot be reached."""
    parameters = Parameters.from_event(event)
    trials = planned_trials(parameters) if parameters.tune else 0
    total = STEPS + trials
    _say_progress(0, total, "loading Iris")
    split = split_iris(parameters.test_size, parameters.random_state)
    if parameters.tune:
        check_folds(parameters, split)
    if earlier := tracking.registered_before(context.aws_request_id):
        print(f"An earlier attempt has registered {earlier['model_uri']}: nothing is trained again", flush=True)
        _say_progress(total, total, f"registered {earlier['model_name']} version {earlier['model_version']}")
        return earlier
    print(f"Iris: {len(split.train)} rows to train on, {len(split.test)} to test with", flush=True)

    with tracking.recorded_run(parameters, context.aws_request_id) as run:
        started = time.perf_counter()
        found = _search(parameters, split, trials, total) if parameters.tune else None
        chosen = parameters.with_forest(found.best_parameters) if found else parameters
        _say_progress(trials + 1, total, f"fitting {chosen.n_estimators} trees")
        forest = RandomForestClassifier(**chosen.forest).fit(split.train, split.train_labels)
        training_time = round(time.perf_counter() - started, 3)
        print(f"Trained {chosen.n_estimators} trees in {training_time} s", flush=True)

        _say_progress(trials + 2, total, "evaluating")
        evaluation = evaluate(forest, split)
        print("Measured:", ", ".join(f"{name} {value:.4f}" for name, value in evaluation.metrics.items()), flush=True)
        twin = make_twin(forest, split)
        _say_progress(trials + 3, total, "logging to MLflow")
        model_uri = tracking.record_model(forest, twin, split, evaluation, training_time)
        result = evaluation.metrics | {
            "training_time_seconds": training_time,
            "run_id": run.info.run_id,
            "experiment_id": run.info.experiment_id,
            "parameters": chosen.as_used(),
            "confusion_matrix": evaluation.confusion_table,
            "feature_importances": evaluation.importances,
        }
        if found:
            result |= {
                "best_parameters": found.best_parameters,
                "best_score": found.best_score,
                "n_trials": found.n_trials,
            }
        _say_progress(trials + 4, total, f"registering {parameters.model_name}")
        result = tracking.register(model_uri, parameters.model_name, context.aws_request_id, result)
        print(f"Registered {result['model_uri']}", flush=True)
    _say_progress(total, total, f"registered {result['model_name']} version {result['model_version']}")
    return result


def _search(parameters: Parameters, split: Split, trials: int, total: int) -> SearchResult:
    _say_progress(1, total, f"trying {trials} combinations")

    def report(trial: Trial) -> None:
        # In full, because that decides which of two is the best.
        print(
            f"Trial {trial.number}: {parameters.scoring} {trial.score} with {json.dumps(trial.parameters)}", flush=True
        )
        told = f"trial {trial.number} of {trials}: {parameters.scoring} {trial.score:.4f}"
        _say_progress(1 + trial.number, total, told)
        tracking.record_trial(trial)

    found = search(parameters, split, report)
    tracking.record_search(found)
    print(f"Best of {found.n_trials} trials: {parameters.scoring} {found.best_score:.4f}", flush=True)
    return found


def _say_progress(done: int, total: int, message: str) -> None:
    """One line that becomes the invocation's `progress`; see docs/functions.md."""
    print(json.dumps({"progress": {"done": done, "total": total, "message": message}}), flush=True)
