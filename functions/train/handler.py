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


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Train once. Raises InvalidParameters, or DependencyUnavailable when MLflow cannot be reached."""
    parameters = Parameters.from_event(event)
    split = split_iris(parameters.test_size, parameters.random_state)
    if parameters.tune:
        check_folds(parameters, split)
    print(f"Iris: {len(split.train)} rows to train on, {len(split.test)} to test with", flush=True)

    with tracking.recorded_run(parameters, context.aws_request_id) as run:
        started = time.perf_counter()
        found = _search(parameters, split) if parameters.tune else None
        chosen = parameters.with_forest(found.best_parameters) if found else parameters
        forest = RandomForestClassifier(**chosen.forest).fit(split.train, split.train_labels)
        training_time = round(time.perf_counter() - started, 3)
        print(f"Trained {chosen.n_estimators} trees in {training_time} s", flush=True)

        evaluation = evaluate(forest, split)
        print("Measured:", ", ".join(f"{name} {value:.4f}" for name, value in evaluation.metrics.items()), flush=True)
        twin = make_twin(forest, split)
        version, uri = tracking.record_model(forest, twin, split, evaluation, training_time, parameters.model_name)
        print(f"Registered {uri}", flush=True)

    result = evaluation.metrics | {
        "training_time_seconds": training_time,
        "model_name": parameters.model_name,
        "model_version": version,
        "model_uri": uri,
        "run_id": run.info.run_id,
        "experiment_id": run.info.experiment_id,
        "parameters": chosen.as_used(),
    }
    if found:
        result |= {
            "best_parameters": found.best_parameters,
            "best_score": found.best_score,
            "n_trials": found.n_trials,
        }
    return result


def _search(parameters: Parameters, split: Split) -> SearchResult:
    total = planned_trials(parameters)

    def report(trial: Trial) -> None:
        message = f"trial {trial.number}: {parameters.scoring} {trial.score:.4f} with {json.dumps(trial.parameters)}"
        print(json.dumps({"progress": {"done": trial.number, "total": total, "message": message}}), flush=True)
        tracking.record_trial(trial)

    found = search(parameters, split, report)
    tracking.record_search(found)
    print(f"Best of {found.n_trials} trials: {parameters.scoring} {found.best_score:.4f}", flush=True)
    return found
