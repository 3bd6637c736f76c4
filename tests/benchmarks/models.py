"""The model that is served, from MLflow by its own client; and the same forest without an ONNX twin.

Where a model has a twin, predict answers with it. Other model servers use scikit-learn, so for a comparison of like
with like the forest is registered a second time in its scikit-learn form alone.
"""

import os
from pathlib import Path

os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"

import mlflow
import mlflow.sklearn

WITH_TWIN, WITHOUT_TWIN = "iris_model", "iris_sklearn"
TRUSTED_TYPES = ["sklearn.tree._tree.Tree"]


def download(tracking_uri: str, folder: Path) -> Path:
    """The folder with the model's files."""
    mlflow.set_tracking_uri(tracking_uri)
    folder.mkdir(exist_ok=True)
    return Path(mlflow.artifacts.download_artifacts(f"models:/{WITH_TWIN}/latest", dst_path=str(folder)))


def register_without_twin(tracking_uri: str) -> None:
    """Register the forest again. Does nothing when it is registered already."""
    mlflow.set_tracking_uri(tracking_uri)
    if mlflow.MlflowClient().search_registered_models(f"name = '{WITHOUT_TWIN}'"):
        return
    source = f"models:/{WITH_TWIN}/latest"
    mlflow.set_experiment("benchmark")
    mlflow.sklearn.log_model(
        mlflow.sklearn.load_model(source),
        name="model",
        serialization_format="skops",
        skops_trusted_types=TRUSTED_TYPES,
        signature=mlflow.models.get_model_info(source).signature,
        pip_requirements=["scikit-learn", "skops"],
        registered_model_name=WITHOUT_TWIN,
    )
