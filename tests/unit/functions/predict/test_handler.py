"""From the event to the answer, with a registry and a model that stand in."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from awslambdaric.lambda_context import LambdaContext
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

PREDICT = Path(__file__).resolve().parents[4] / "functions" / "predict"


@pytest.fixture(scope="module")
def handler(load):
    return load("handler")


@pytest.fixture
def world(load, handler, monkeypatch):
    """What the handler asked for, and what there is: versions 3 and 7 of every model."""
    features, models, prediction, registry = (load(name) for name in ("features", "models", "prediction", "registry"))
    signature = features.Signature((features.Column("a", "double", low=0, high=1), features.Column("b", "double")))
    seen = SimpleNamespace(asked=[], loaded=[], rows=[], versions={"3", "7"}, broken=None)

    class Registry:
        def resolve(self, name, version):
            seen.asked.append(("resolve", name, version))
            return registry.ModelVersion(name, version if version.isdecimal() else "7", "1/m")

        def locate(self, name, number):
            seen.asked.append(("locate", name, number))
            if seen.broken:
                raise seen.broken
            if number not in seen.versions:
                raise load("errors").ModelNotFound("/model_version: gone")
            return registry.ModelVersion(name, number, "1/m")

    class Predictor:
        model_format = "onnx"

        def predict(self, rows):
            seen.rows.append(rows)
            return prediction.Prediction(["x"] * len(rows), [{"x": 0.9, "y": 0.1}] * len(rows))

    def load_model(registry, version):
        seen.loaded.append(version.uri)
        return models.Model(version, signature, Predictor())

    monkeypatch.setattr(handler, "REGISTRY", Registry())
    monkeypatch.setattr(handler, "load_model", load_model)
    yield seen
    handler._located.cache_clear()
    handler._loaded.cache_clear()


@pytest.fixture
def answer(handler, world):
    """Invoke the handler with the given event."""
    return lambda **event: handler.handler(event, None)


def test_one_row(answer, world):
    assert answer(features=[0, 1]) == {
        "prediction": "x",
        "probabilities": {"x": 0.9, "y": 0.1},
        "model_name": "iris_model",
        "model_version": "7",
        "model_uri": "models:/iris_model/7",
        "model_format": "onnx",
    }
    assert world.asked == [("resolve", "iris_model", "latest")]


def test_many_rows(answer):
    result = answer(features=[[0, 1], [1, 1]])

    assert result["prediction"] == ["x", "x"]
    assert result["probabilities"] == [{"x": 0.9, "y": 0.1}] * 2
    assert "warnings" not in result


def test_warnings_are_part_of_the_answer(answer):
    assert answer(features=[2, 1])["warnings"] == ["a: 2 is outside of the training range, 0 to 1"]


@pytest.mark.parametrize(
    ("given", "asked"),
    [(3, "3"), (3.0, "3"), ("3", "3"), ("003", "3"), ("latest", "latest"), ("@champion", "@champion")],
)
def test_versions(answer, world, given, asked):
    answer(features=[0, 1], model_version=given)

    assert world.asked == [("resolve", "iris_model", asked)]


@pytest.mark.parametrize("version", [True, 1.5, -1, "", "@", "newest", None, [1]])
def test_what_is_no_version(load, handler, version):
    with pytest.raises(load("errors").InvalidParameters, match=r"^/model_version: must be a version number"):
        handler.handler({"features": [0, 1], "model_version": version}, None)


def test_everything_wrong_is_said_at_once(load, handler):
    with pytest.raises(load("errors").InvalidParameters) as refused:
        handler.handler({"model_name": 7, "model_version": "x", "colour": "red"}, None)

    assert [line.split(": ")[0] for line in str(refused.value).splitlines()] == [
        "/colour",
        "/model_name",
        "/features",
        "/model_version",
    ]


def told(model):
    """Lambda's context when the runner says which version the parameters mean, built as awslambdaric builds it."""
    return LambdaContext("id", {"custom": {"model": model}}, None, 0)


@pytest.fixture
def preload(handler, world, monkeypatch):
    def set_and_load(name, version):
        for variable, value in (("SMLOPS_MODEL_NAME", name), ("SMLOPS_MODEL_VERSION", version)):
            if value is None:
                monkeypatch.delenv(variable, raising=False)
            else:
                monkeypatch.setenv(variable, value)
        handler._preload()

    return set_and_load


def test_what_the_runner_found_is_used_without_asking_what_latest_is(handler, world):
    result = handler.handler({"features": [0, 1]}, told({"name": "iris_model", "version": "3"}))

    assert result["model_version"] == "3"
    assert world.asked == [("locate", "iris_model", "3")]


def test_a_model_loaded_beforehand_answers_without_mlflow(handler, world, preload, capsys):
    preload("iris_model", "3")
    assert world.rows == [[[0.0, 0.0]]]
    assert capsys.readouterr().out == "Loaded models:/iris_model/3 (onnx) beforehand\n"
    world.asked.clear()

    result = handler.handler({"features": [0, 1]}, told({"name": "iris_model", "version": "3"}))

    assert result["model_version"] == "3"
    assert world.asked == []
    assert world.loaded == ["models:/iris_model/3"]


def test_another_version_than_the_one_loaded_beforehand(handler, world, preload):
    preload("iris_model", "3")

    result = handler.handler({"features": [0, 1]}, told({"name": "iris_model", "version": "7"}))

    assert result["model_version"] == "7"
    assert world.loaded == ["models:/iris_model/3", "models:/iris_model/7"]


def test_loaded_beforehand_and_told_nothing_means_asking(handler, world, preload):
    preload("iris_model", "3")
    world.asked.clear()

    assert handler.handler({"features": [0, 1]}, None)["model_version"] == "7"
    assert world.asked == [("resolve", "iris_model", "latest")]


@pytest.mark.parametrize(
    "context",
    [
        None,
        LambdaContext("id", None, None, 0),
        LambdaContext("id", {}, None, 0),
        LambdaContext("id", {"custom": None}, None, 0),
        LambdaContext("id", {"custom": ["model"]}, None, 0),
        LambdaContext("id", {"custom": {}}, None, 0),
        told(None),
        told("iris_model"),
        told({}),
        told({"name": "iris_model"}),
        told({"version": "3"}),
        told({"name": "other_model", "version": "3"}),
        told({"name": "iris_model", "version": 3}),
        told({"name": "iris_model", "version": "latest"}),
        told({"name": "iris_model", "version": "03"}),
        told({"name": "iris_model", "version": "3\n"}),
        told({"name": "iris_model", "version": None}),
    ],
    ids=lambda context: str(getattr(context, "client_context", None)),
)
def test_when_the_runner_says_nothing_that_fits_mlflow_is_asked(handler, world, context):
    assert handler.handler({"features": [0, 1]}, context)["model_version"] == "7"
    assert world.asked == [("resolve", "iris_model", "latest")]


def test_a_number_in_the_parameters_is_not_overruled(handler, world):
    context = told({"name": "iris_model", "version": "7"})

    assert handler.handler({"features": [0, 1], "model_version": 3}, context)["model_version"] == "3"


def test_a_version_that_is_gone_is_looked_up_again(handler, world):
    result = handler.handler({"features": [0, 1]}, told({"name": "iris_model", "version": "5"}))

    assert result["model_version"] == "7"
    assert world.asked == [("locate", "iris_model", "5"), ("resolve", "iris_model", "latest")]


def test_nothing_is_loaded_beforehand_unless_asked_for(world, preload, capsys):
    preload(None, None)

    assert world.loaded == world.asked == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("name", "version"), [("m", None), (None, "1"), ("m", "latest"), ("m", "0"), ("m", "1.5")])
def test_half_a_wish_is_a_line_in_the_log(world, preload, capsys, name, version):
    preload(name, version)

    assert world.asked == []
    assert capsys.readouterr().out.startswith(f"Version {version} of {name} is not loaded beforehand: ValueError: ")


def test_a_model_that_cannot_be_loaded_beforehand_is_a_line_in_the_log(load, world, preload, capsys):
    for error in (load("errors").DependencyUnavailable("away\nfor now"), load("errors").ModelNotFound("gone")):
        world.broken = error
        preload("iris_model", "3")

    assert [line.split(": ", 1)[1] for line in capsys.readouterr().out.splitlines()] == [
        "DependencyUnavailable: away for now",
        "ModelNotFound: gone",
    ]


ONE_PREDICTION = """
import json, sys
from pathlib import Path
from awslambdaric.lambda_context import LambdaContext
import registry

registry.Registry.locate = lambda self, name, number: registry.ModelVersion(name, number, "1/m")
registry.Registry.read = lambda self, version, file, limit: Path(file).read_bytes()

import handler

context = LambdaContext("id", {"custom": {"model": {"name": "m", "version": "4"}}}, None, 0)
result = handler.handler({"model_name": "m", "features": [5.1, 3.5, 1.4, 0.2]}, context)
slow = {"sklearn", "scipy", "joblib", "skops", "pandas", "mlflow"} & set(sys.modules)
print(json.dumps([result["prediction"], result["model_format"], sorted(slow)]))
"""


def test_a_process_that_answers_with_the_onnx_form_imports_nothing_slow(convert, tmp_path):
    iris = load_iris()
    forest = RandomForestClassifier(5, random_state=1).fit(iris.data, iris.target_names[iris.target])
    (tmp_path / "model.onnx").write_bytes(convert(forest))
    columns = json.dumps([{"type": "double", "name": name} for name in "abcd"])
    flavors = {"onnx": {"data": "model.onnx"}, "sklearn": {"pickled_model": "x", "serialization_format": "skops"}}
    (tmp_path / "MLmodel").write_text(json.dumps({"flavors": flavors, "signature": {"inputs": columns}}))

    done = subprocess.run(
        [sys.executable, "-c", ONE_PREDICTION],
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(PREDICT), "SMLOPS_MODEL_NAME": "m", "SMLOPS_MODEL_VERSION": "4", "PATH": ""},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    first, *_, last = done.stdout.splitlines()
    assert first == "Loaded models:/m/4 (onnx) beforehand"
    assert json.loads(last) == ["setosa", "onnx", []]
