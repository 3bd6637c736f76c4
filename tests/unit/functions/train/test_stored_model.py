"""The folder that MLflow gets: one model in two forms, and whoever loads it as before finds it as before.

In a process of its own, because MLflow warns when it is imported and keeps global state.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TRAIN = Path(__file__).resolve().parents[4] / "functions" / "train"
PROGRAM = """
import json, sys
from pathlib import Path
from sklearn.ensemble import RandomForestClassifier
import mlflow.onnx, mlflow.pyfunc, mlflow.sklearn, yaml
from mlflow.models import Model
import dataset, onnx_twin, tracking

split = dataset.split_iris(0.2, 1)
forest = RandomForestClassifier(10, random_state=1).fit(split.train, split.train_labels)
tracking._SklearnWithTwin(onnx_twin.make_twin(forest, split)).save_model(
    path="model",
    mlflow_model=Model(),
    sk_model=forest,
    serialization_format="skops",
    skops_trusted_types=tracking.TRUSTED_TYPES,
    pip_requirements=["scikit-learn"],
    metadata={"classes": ["x"]},
)
print(json.dumps({
    "forest": forest.predict(split.test).tolist(),
    "sklearn": mlflow.sklearn.load_model("model").predict(split.test).tolist(),
    "pyfunc": mlflow.pyfunc.load_model("model").predict(split.test).tolist(),
    "onnx": mlflow.onnx.load_model("model").graph.node[-1].op_type,
    "MLmodel": yaml.safe_load(Path("model", "MLmodel").read_text()),
    "bytes": sum(file.stat().st_size for file in Path("model").iterdir() if file.suffix in (".onnx", ".skops")),
}))
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        check=False,
        cwd=folder,
        env={"PYTHONPATH": str(TRAIN), "HOME": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_mlflow_loads_a_scikit_learn_model(stored):
    assert stored["sklearn"] == stored["pyfunc"] == stored["forest"]


def test_mlflow_knows_the_twin_as_well(stored):
    assert stored["onnx"] == "TreeEnsembleClassifier"


def test_the_description(stored):
    described = stored["MLmodel"]

    assert set(described["flavors"]) == {"python_function", "sklearn", "onnx"}
    assert described["flavors"]["python_function"]["loader_module"] == "mlflow.sklearn"
    assert described["flavors"]["onnx"]["data"] == "model.onnx"
    assert described["metadata"] == {"classes": ["x"]}
    assert described["model_size_bytes"] >= stored["bytes"]
