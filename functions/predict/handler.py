"""Predict with a registered model: find the version, load it, check the features, answer."""

import gc

gc.disable()  # nothing that is imported or loaded before the invocation is garbage, so nobody need look for it

import os  # noqa: E402
import re  # noqa: E402
from functools import lru_cache  # noqa: E402
from typing import Any  # noqa: E402

from errors import InvalidParameters, ModelNotFound  # noqa: E402
from models import Model, load_model  # noqa: E402
from registry import ModelVersion, Registry  # noqa: E402

REGISTRY = Registry(os.environ.get("MLFLOW_TRACKING_URI", "http://mlflow:5000/mlflow"))


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer for one row or for many.

    Raises InvalidParameters, ModelNotFound, UnsupportedModel or DependencyUnavailable.
    """
    name, wanted = _model_wanted(event)
    version = _told(context, name, wanted) or REGISTRY.resolve(name, wanted)
    model = _loaded(version)
    rows, single = model.signature.read(event.get("features"))
    prediction = model.predictor.predict(rows)
    warnings = model.signature.warnings(rows, single)
    form = model.predictor.model_format
    # The line's end is part of the text: the runtime client flushes after each piece, and the container engine carries
    # each of them on its own.
    print(f"Predicted {len(rows)} row{'s' * (len(rows) != 1)} with {version.uri} ({form})\n", end="", flush=True)
    for warning in warnings:
        print(f"Warning: {warning}", flush=True)

    probabilities = prediction.probabilities
    result = {
        "prediction": prediction.labels[0] if single else prediction.labels,
        "probabilities": probabilities[0] if single and probabilities else probabilities,
        "model_name": version.name,
        "model_version": version.version,
        "model_uri": version.uri,
        "model_format": form,
    }
    return result | ({"warnings": warnings} if warnings else {})


def _model_wanted(event: dict[str, Any]) -> tuple[str, str]:
    """Model name, and its version as `latest`, `@alias` or a number without leading zeros."""
    problems = [
        f"/{name}: is not a parameter of predict"
        for name in event
        if name not in ("model_name", "model_version", "features")
    ]
    name = event.get("model_name", "iris_model")
    if not isinstance(name, str) or not name:
        problems.append("/model_name: must be the name of a registered model")
    if "features" not in event:
        problems.append("/features: is missing")
    version = event.get("model_version", "latest")
    if isinstance(version, float) and version.is_integer():
        version = int(version)  # JSON knows one kind of number
    text = str(version).strip()
    if isinstance(version, bool) or not (text == "latest" or text.isdecimal() or (text[:1] == "@" and len(text) > 1)):
        problems.append("/model_version: must be a version number, latest, or @ and an alias")
    if problems:
        raise InvalidParameters(*problems)
    return name, str(int(text)) if text.isdecimal() else text


def _told(context: Any, name: str, wanted: str) -> ModelVersion | None:
    """The version that the runner found the parameters to mean, from Lambda's client context.

    None when it says nothing, or nothing that fits the parameters: then MLflow is asked.
    """
    custom = getattr(getattr(context, "client_context", None), "custom", None)
    told = custom.get("model") if isinstance(custom, dict) else None
    if not isinstance(told, dict) or told.get("name") != name:
        return None
    number = told.get("version")
    if not _is_number(number) or (wanted.isdecimal() and wanted != number):
        return None
    try:
        return _located(name, number)
    except ModelNotFound:
        return None  # it is gone by now, and MLflow's answer says what there is instead


# Neither where a version's files are nor what is in them ever changes: a container that serves several invocations, or
# was told beforehand what it will be asked for, asks for both once.
@lru_cache(maxsize=2)
def _located(name: str, number: str) -> ModelVersion:
    return REGISTRY.locate(name, number)


@lru_cache(maxsize=2)
def _loaded(version: ModelVersion) -> Model:
    return load_model(REGISTRY, version)


def _is_number(version: Any) -> bool:
    return isinstance(version, str) and re.fullmatch("[1-9][0-9]*", version) is not None


def _preload() -> None:
    """Load the model that the runner expects to be asked for, and compute one row: the first one takes longer.

    An invocation does not depend on it, so whatever goes wrong here is a line in the log.
    """
    name, number = os.environ.get("SMLOPS_MODEL_NAME"), os.environ.get("SMLOPS_MODEL_VERSION")
    if not name and not number:
        return
    try:
        if not name or not _is_number(number):
            raise ValueError("SMLOPS_MODEL_NAME and SMLOPS_MODEL_VERSION must be a name and a number")
        model = _loaded(_located(name, number))
        model.predictor.predict([["" if column.type == "string" else 0.0 for column in model.signature.columns]])
        print(f"Loaded {model.version.uri} ({model.predictor.model_format}) beforehand", flush=True)
    except Exception as error:  # noqa: BLE001 - the edge: a failed init would be a failed container
        reason = " ".join(str(error).split())
        print(f"Version {number} of {name} is not loaded beforehand: {type(error).__name__}: {reason}", flush=True)


_preload()
gc.freeze()
gc.enable()
