"""From the files of a registered model to something that predicts. Nothing a model carries is executed or imported."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from errors import UnsupportedModel
from features import Signature
from onnx_model import OnnxModel
from prediction import Predictor
from registry import ModelVersion, Registry

MAX_MLMODEL_BYTES = 1024 * 1024
MAX_SKOPS_BYTES = 256 * 1024 * 1024
MAX_ONNX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Model:
    """A version of a registered model, ready to predict."""

    version: ModelVersion
    signature: Signature
    predictor: Predictor


def load_model(registry: Registry, version: ModelVersion) -> Model:
    """Fetch what is needed and no more. Raises UnsupportedModel when the model is not one we load safely."""
    mlmodel = _read_mlmodel(registry.read(version, "MLmodel", MAX_MLMODEL_BYTES), version)
    flavors = mlmodel["flavors"]
    signature = Signature.from_mlmodel(mlmodel)
    forms = [flavor for flavor in LOADERS if flavor in flavors]
    if not forms:
        raise UnsupportedModel(
            f"{version.uri} is a model of {', '.join(flavors)}; only scikit-learn models are loaded here"
        )
    *preferred, last = forms
    for form in preferred:
        try:
            return Model(version, signature, LOADERS[form](registry, version, flavors[form], signature))
        except UnsupportedModel as error:
            print(f"{error}; its other form is used", flush=True)
    return Model(version, signature, LOADERS[last](registry, version, flavors[last], signature))


def _read_mlmodel(content: bytes, version: ModelVersion) -> dict[str, Any]:
    try:
        mlmodel = yaml.load(content, Loader=_YamlLoader)  # noqa: S506 - a safe loader, the C one where there is one
    except (yaml.YAMLError, ValueError) as error:
        raise UnsupportedModel(f"The MLmodel file of {version.uri} cannot be read: {error}") from error
    flavors = mlmodel.get("flavors") if isinstance(mlmodel, dict) else None
    if not isinstance(flavors, dict) or not all(isinstance(flavor, dict) for flavor in flavors.values()):
        raise UnsupportedModel(f"The MLmodel file of {version.uri} names no flavors")
    for name, flavor in flavors.items():
        if flavor.get("code"):
            raise UnsupportedModel(f"{version.uri} brings code of its own ({name}); such models are not loaded here")
    loader = flavors.get("python_function", {}).get("loader_module", "mlflow.sklearn")
    if loader not in ("mlflow.sklearn", "mlflow.onnx"):
        raise UnsupportedModel(f"{version.uri} is loaded by {loader}; only scikit-learn models are loaded here")
    return mlmodel


def _load_onnx(registry: Registry, version: ModelVersion, flavor: dict[str, Any], signature: Signature) -> Predictor:
    content = registry.read(version, str(flavor.get("data")), MAX_ONNX_BYTES)
    return OnnxModel.from_bytes(content, signature, version.uri)


def _load_skops(
    registry: Registry,
    version: ModelVersion,
    flavor: dict[str, Any],
    signature: Signature,  # noqa: ARG001 - as every loader
) -> Predictor:
    stored_as = flavor.get("serialization_format")
    if stored_as != "skops":
        raise UnsupportedModel(
            f"{version.uri} is stored as {stored_as}, which can execute code when it is loaded; log it as skops: "
            'mlflow.sklearn.log_model(…, serialization_format="skops")'
        )
    # Not above: scikit-learn is a second of CPU and 60 MB, and most models have an ONNX form that does without it.
    from skops_model import SkopsModel  # noqa: PLC0415

    return SkopsModel.from_bytes(registry.read(version, str(flavor["pickled_model"]), MAX_SKOPS_BYTES), version.uri)


# The forms of a model in the order in which they are preferred: MLflow's flavor → how to load it.
LOADERS: dict[str, Callable[[Registry, ModelVersion, dict[str, Any], Signature], Predictor]] = {
    "onnx": _load_onnx,
    "sklearn": _load_skops,
}

_YamlLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
