"""What MLflow keeps of a training: the run, its trials, its pictures, and the registered version of the model."""

import http.client
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# MLflow reads these when it is imported. Two attempts of 8 s: a call that fails, and the one that then
# ends the run as failed, give up well before a minute is over.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "8")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # an address only containers can open
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
os.environ.setdefault("LOGNAME", "smlops")  # the user's number has no name in the image, and MLflow wants one

import mlflow
import mlflow.sklearn
import pandas as pd
import requests
from mlflow.exceptions import MlflowException
from mlflow.models import Model, infer_signature
from mlflow.models.model import ModelInfo
from sklearn.ensemble import RandomForestClassifier

import dataset
import pictures
from dataset import Split
from errors import DependencyUnavailable
from evaluation import Evaluation
from onnx_twin import Twin
from parameters import Parameters
from search import SearchResult, Trial

EXPERIMENT = "iris"
TWIN_FILE = "model.onnx"
RESULT_FILE = "result.json"
INVOCATION_TAG = "smlops.invocation_id"
TRUSTED_TYPES = ["sklearn.tree._tree.Tree"]  # a forest's only type that skops does not know

# It tells of a missing pip each time: there is none in the image, and the requirements of the model are written below.
logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)


def registered_before(invocation_id: str) -> dict[str, Any] | None:
    """The result of an earlier attempt at this invocation, if it got as far as registering its model.

    An attempt that is repeated may have lost its container at any moment. Registering is the last step and cannot be
    half done, so it tells whether the work is done. Runs that such attempts have left open are closed.

    Raises DependencyUnavailable when MLflow cannot be reached.
    """
    _check_connection()
    with _translated_failures():
        client = mlflow.MlflowClient()
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return None
        for run in client.search_runs([experiment.experiment_id], f"tags.`{INVOCATION_TAG}` = '{invocation_id}'"):
            run_id = run.info.run_id
            versions = client.search_model_versions(f"run_id = '{run_id}'")
            if run.info.status == "RUNNING":
                client.set_terminated(run_id, "FINISHED" if versions else "KILLED")
            if versions:
                result: dict[str, Any] = mlflow.artifacts.load_dict(f"runs:/{run_id}/{RESULT_FILE}")
                return result | _named(versions[0].name, versions[0].version)
    return None


@contextmanager
def recorded_run(parameters: Parameters, invocation_id: str) -> Iterator[mlflow.ActiveRun]:
    """An MLflow run that ends as FINISHED, or as FAILED when the block raises.

    Raises DependencyUnavailable when MLflow stops answering.
    """
    tags = {"mlflow.source.name": "functions/train", **_origin(invocation_id)}
    with _translated_failures():
        mlflow.set_experiment(EXPERIMENT)
        with mlflow.start_run(run_name=os.environ.get("SMLOPS_CONTAINER_NAME"), tags=tags) as run:
            fixed = {name: value for name, value in parameters.as_used().items() if name not in parameters.searched}
            mlflow.log_params({name: _parameter(value) for name, value in fixed.items()})
            yield run


def record_trial(trial: Trial) -> None:
    """One nested run for each trial, and the best score so far as a curve in the run itself."""
    with mlflow.start_run(run_name=f"trial-{trial.number:03}", nested=True):
        mlflow.log_params({name: _parameter(value) for name, value in trial.parameters.items()})
        mlflow.log_metrics({"cv_score": trial.score, "cv_score_std": trial.spread})
    mlflow.log_metric("best_cv_score", trial.best_score, step=trial.number)


def record_search(found: SearchResult) -> None:
    """The run's parameters are those of its model; the searched ones are known, and written, only now."""
    mlflow.log_params({name: _parameter(value) for name, value in found.best_parameters.items()})


def record_model(
    forest: RandomForestClassifier, twin: Twin | None, split: Split, evaluation: Evaluation, training_time: float
) -> str:
    """Log everything about the trained forest, and return the URI of the model that is not registered yet."""
    logged = _log_model(forest, twin, split, evaluation)
    datasets = [
        mlflow.data.from_pandas(rows.assign(**{dataset.TARGET: labels}), name=dataset.NAME, targets=dataset.TARGET)
        for rows, labels in ((split.train, split.train_labels), (split.test, split.test_labels))
    ]
    mlflow.log_inputs(datasets, contexts=["training", "evaluation"], tags_list=[{}, {}])
    mlflow.log_metrics(
        evaluation.metrics | {"training_time_seconds": training_time}, model_id=logged.model_id, dataset=datasets[1]
    )
    _log_files(split, evaluation)
    return logged.model_uri


def register(model_uri: str, model_name: str, invocation_id: str, result: dict[str, Any]) -> dict[str, Any]:
    """Register the model, as the last step, and return the result with its name, version and URI.

    The result is stored beside the run first, so that an attempt after this one can return it.
    """
    mlflow.log_dict(result, RESULT_FILE)
    registered = mlflow.register_model(model_uri, model_name, await_registration_for=30, tags=_origin(invocation_id))
    return result | _named(model_name, registered.version)


def _named(model_name: str, version: int | str) -> dict[str, str]:
    return {
        "model_name": model_name,
        "model_version": str(version),
        "model_uri": f"models:/{model_name}/{version}",
    }


def _origin(invocation_id: str) -> dict[str, str]:
    """Tags that lead from MLflow to the record of the invocation, in the record's own words."""
    container_name = os.environ.get("SMLOPS_CONTAINER_NAME")
    tags = {
        INVOCATION_TAG: invocation_id,
        "smlops.function": os.environ.get("AWS_LAMBDA_FUNCTION_NAME"),
        "smlops.container_name": container_name,
        "smlops.log_file": container_name and f"logs/{container_name}.log",
        "smlops.image_id": os.environ.get("SMLOPS_IMAGE_ID"),
        "smlops.base_image_id": os.environ.get("SMLOPS_BASE_IMAGE_ID"),
        "smlops.source_hash": os.environ.get("SMLOPS_SOURCE_HASH"),
    }
    return {name: tag for name, tag in tags.items() if tag}


def _log_model(forest: RandomForestClassifier, twin: Twin | None, split: Split, evaluation: Evaluation) -> ModelInfo:
    example = split.train.head(3).reset_index(drop=True)
    metadata: dict[str, Any] = {"training_ranges": split.ranges, "classes": evaluation.labels}
    if twin:
        metadata["onnx_twin"] = {
            "compared_rows": twin.compared_rows,
            "largest_difference": twin.largest_difference,
        }
    # What mlflow.sklearn.log_model does, with a flavor that may add a file.
    return Model.log(
        artifact_path=None,
        name="model",
        flavor=_SklearnWithTwin(twin) if twin else mlflow.sklearn,
        flavor_name="mlflow.sklearn",
        sk_model=forest,
        serialization_format="skops",
        skops_trusted_types=TRUSTED_TYPES,
        signature=infer_signature(example, pd.Series(forest.predict(example), name=dataset.TARGET)),
        input_example=example,
        pip_requirements=[f"{name}=={version(name)}" for name in ("scikit-learn", "skops", "numpy")],
        metadata=metadata,
    )


@dataclass(frozen=True)
class _SklearnWithTwin:
    """What MLflow calls a flavor: scikit-learn's, with the twin in the same folder as a flavor of its own.

    To those who load the model without naming a flavor it stays a scikit-learn model.
    """

    twin: Twin

    def save_model(self, path: str, mlflow_model: Model, **arguments: Any) -> None:
        """Write the folder of a model, as MLflow expects of a flavor."""
        mlflow.sklearn.save_model(path=path, mlflow_model=mlflow_model, **arguments)
        Path(path, TWIN_FILE).write_bytes(self.twin.content)
        mlflow_model.add_flavor(
            "onnx",  # with the keys that mlflow.onnx reads
            onnx_version=version("onnx"),
            data=TWIN_FILE,
            providers=["CPUExecutionProvider"],
            onnx_session_options=None,
            code=None,
        )
        mlflow_model.model_size_bytes += len(self.twin.content)
        mlflow_model.save(str(Path(path, "MLmodel")))


def _log_files(split: Split, evaluation: Evaluation) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_json(folder / "confusion_matrix.json", evaluation.confusion_table)
        _write_json(folder / "feature_importances.json", evaluation.importances)
        _write_json(folder / "classification_report.json", evaluation.report)
        _write_json(folder / "training_ranges.json", split.ranges)
        pictures.draw_confusion_matrix(folder / "confusion_matrix.png", evaluation.labels, evaluation.confusion)
        pictures.draw_bars(folder / "feature_importances.png", "Feature importances", evaluation.importances)
        mlflow.log_artifacts(name)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _parameter(value: Any) -> str:
    """As JSON, so that null, true and ranges read in MLflow as they were written in the request."""
    return value if isinstance(value, str) else json.dumps(value)


@contextmanager
def _translated_failures() -> Iterator[None]:
    try:
        yield
    except (MlflowException, requests.RequestException) as error:
        if not _is_connection_failure(error):
            raise  # MLflow answered, and says itself what is wrong
        raise DependencyUnavailable(f"MLflow at {mlflow.get_tracking_uri()} stopped answering: {error}") from error


def _is_connection_failure(error: BaseException | None) -> bool:
    """MLflow's client wraps what happened to its request in an exception of its own."""
    while error is not None:
        if isinstance(error, (requests.ConnectionError, requests.Timeout)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _check_connection() -> None:
    """Ask once, briefly: MLflow's client would retry a dead address for half a minute."""
    address = urlsplit(mlflow.get_tracking_uri())
    if address.scheme not in ("http", "https"):
        return
    connect = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = connect(address.hostname or "", address.port, timeout=3)
    try:
        connection.request("GET", f"{address.path.rstrip('/')}/health")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise DependencyUnavailable(
            f"MLflow at {mlflow.get_tracking_uri()} cannot be reached ({error}); nothing was trained"
        ) from error
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        raise DependencyUnavailable(
            f"MLflow at {mlflow.get_tracking_uri()} answered its health check with {status}; nothing was trained"
        )
