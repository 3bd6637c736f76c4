"""An MLflow client on another machine, as far as the system can tell: run as a program with the tracking address.

Prints one JSON document of what it saw. A process of its own, because MLflow's client warns and keeps global state.
"""

import hashlib
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

import mlflow  # noqa: E402
from mlflow.models import infer_signature  # noqa: E402
from sklearn.datasets import load_iris  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402

MEGABYTES = 200


def main() -> None:
    mlflow.set_tracking_uri(sys.argv[1])
    mlflow.set_experiment("from outside")
    features, labels = load_iris(return_X_y=True)
    with tempfile.TemporaryDirectory() as folder, mlflow.start_run() as run:
        mlflow.log_param("colour", "blue")
        mlflow.log_metric("height", 1.5)

        sent = Path(folder, "large.bin")
        digest = hashlib.sha256()
        with sent.open("wb") as file:
            for _ in range(MEGABYTES):
                block = os.urandom(1024 * 1024)
                digest.update(block)
                file.write(block)
        mlflow.log_artifact(str(sent))
        sent.unlink()
        received = Path(
            mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="large.bin", dst_path=folder)
        )
        same = hashlib.sha256(received.read_bytes()).digest() == digest.digest()

        model = LogisticRegression(max_iter=500).fit(features, labels)
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            registered_model_name="outside_model",
            signature=infer_signature(features, labels),
        )
        version = logged.registered_model_version
    loaded = mlflow.sklearn.load_model(f"models:/outside_model/{version}")
    print(
        json.dumps(
            {
                "run_id": run.info.run_id,
                "experiment_id": run.info.experiment_id,
                "same_bytes": same,
                "version": str(version),
                "predictions_agree": bool((loaded.predict(features) == model.predict(features)).all()),
            }
        )
    )


if __name__ == "__main__":
    main()
