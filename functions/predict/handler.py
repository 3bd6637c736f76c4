"""Predict with a registered model: find the version, load it, check the features, answer."""

import gc

gc.disable()  # nothing of the imports below is garbage: without collections they take a third less time

import os  # noqa: E402
from functools import lru_cache  # noqa: E402
from typing import Any  # noqa: E402

from errors import InvalidParameters  # noqa: E402
from models import Model, load_model  # noqa: E402
from registry import ModelVersion, Registry  # noqa: E402

gc.freeze()
gc.enable()

REGISTRY = Registry(os.environ.get("MLFLOW_TRACKING_URI", "http://mlflow:5000/mlflow"))


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
    """Answer for one row or for many.

    Raises InvalidParameters, ModelNotFound, UnsupportedModel or DependencyUnavailable.
    """
    name, wanted = _model_wanted(event)
    version = REGISTRY.resolve(name, wanted)
    model = _loaded(version)
    rows, single = model.signature.read(event.get("features"))
    prediction = model.predictor.predict(rows)
    warnings = model.signature.warnings(rows, single)
    form = model.predictor.model_format
    print(f"Predicted {len(rows)} row{'s' * (len(rows) != 1)} with {version.uri} ({form})", flush=True)
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


@lru_cache(maxsize=2)  # a version never changes; a container that serves several invocations loads it once
def _loaded(version: ModelVersion) -> Model:
    return load_model(REGISTRY, version)
