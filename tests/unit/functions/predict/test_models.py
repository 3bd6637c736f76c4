"""Which models are loaded, and which are refused before anything of them is looked at."""

import io
import json
import zipfile

import numpy as np
import pytest
import skops.io
import yaml
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.svm import SVC

COLUMNS = [{"type": "double", "name": name} for name in ("a", "b", "c", "d")]
ROW = [5.1, 3.5, 1.4, 0.2]


def mlmodel(**changes):
    return {
        "flavors": {
            "python_function": {"loader_module": "mlflow.sklearn"},
            "sklearn": {"code": None, "pickled_model": "model.skops", "serialization_format": "skops"},
        },
        "signature": {"inputs": json.dumps(COLUMNS)},
        **changes,
    }


def fitted(kind, **arguments):
    iris = load_iris()
    labels = iris.target_names[iris.target] if kind is not RandomForestRegressor else iris.target
    return kind(**arguments).fit(iris.data, np.asarray(labels))


class Files:
    """Stands in for the registry."""

    def __init__(self, unsupported, description, model=b"", twin=None):
        self._unsupported = unsupported
        self._files = {"MLmodel": yaml.safe_dump(description).encode(), "model.skops": model, "model.onnx": twin}

    def read(self, version, file, limit):
        if self._files[file] is None:
            raise self._unsupported(f"{version.uri} has no file {file}")
        return self._files[file]


@pytest.fixture(scope="module")
def open_model(load):
    load("skops_model")
    version = load("registry").ModelVersion("m", "1", "1/m")
    unsupported = load("errors").UnsupportedModel
    return lambda *content: load("models").load_model(Files(unsupported, *content), version)


@pytest.fixture(scope="module")
def refused(load, open_model):
    def refuse(*content):
        with pytest.raises(load("errors").UnsupportedModel) as error:
            open_model(*content)
        return str(error.value)

    return refuse


def test_it_works(open_model):
    model = open_model(mlmodel(), skops.io.dumps(fitted(RandomForestClassifier, n_estimators=5, random_state=1)))

    prediction = model.predictor.predict([ROW, ROW])

    assert prediction.labels == ["setosa", "setosa"]
    assert prediction.probabilities == [{"setosa": 1.0, "versicolor": 0.0, "virginica": 0.0}] * 2
    assert model.predictor.model_format == "skops"


@pytest.fixture(scope="module")
def forest():
    return fitted(RandomForestClassifier, n_estimators=5, random_state=1)


def with_twin():
    description = mlmodel()
    description["flavors"]["onnx"] = {"data": "model.onnx", "code": None}
    return description


def test_the_onnx_form_is_preferred(convert, open_model, forest):
    model = open_model(with_twin(), b"not looked at", convert(forest))

    assert model.predictor.model_format == "onnx"
    assert model.predictor.predict([ROW]).labels == ["setosa"]


@pytest.mark.parametrize("twin", [None, b"", b"damaged"], ids=["missing", "empty", "damaged"])
def test_without_a_sound_onnx_form_the_other_one_answers(open_model, forest, capsys, twin):
    model = open_model(with_twin(), skops.io.dumps(forest), twin)

    assert model.predictor.model_format == "skops"
    assert model.predictor.predict([ROW]).labels == ["setosa"]
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert printed.endswith("; its other form is used\n")


def test_a_model_that_is_onnx_only_has_to_be_sound(convert, open_model, refused, forest):
    description = mlmodel(flavors={"onnx": {"data": "model.onnx"}})

    assert open_model(description, b"", convert(forest)).predictor.model_format == "onnx"
    assert "cannot be used" in refused(description, b"", b"damaged")


def test_a_pickle_beside_an_onnx_form_is_not_touched(convert, open_model, forest):
    description = with_twin()
    description["flavors"]["sklearn"]["serialization_format"] = "cloudpickle"

    assert open_model(description, b"", convert(forest)).predictor.model_format == "onnx"


def test_a_regressor_has_no_probabilities(open_model):
    model = open_model(mlmodel(), skops.io.dumps(fitted(RandomForestRegressor, n_estimators=5, random_state=1)))

    prediction = model.predictor.predict([ROW])

    assert prediction.labels == [0.0]
    assert prediction.probabilities is None


def test_a_classifier_without_probabilities(open_model):
    prediction = open_model(mlmodel(), skops.io.dumps(fitted(SVC))).predictor.predict([ROW])

    assert prediction.labels == ["setosa"]
    assert prediction.probabilities is None


def test_pickles_are_refused(refused):
    description = mlmodel()
    description["flavors"]["sklearn"]["serialization_format"] = "cloudpickle"

    assert "can execute code" in refused(description)


@pytest.mark.parametrize("flavor", ["sklearn", "python_function", "onnx"])
def test_models_with_code_are_refused(refused, flavor):
    description = with_twin()
    description["flavors"][flavor]["code"] = "code"

    assert "brings code of its own" in refused(description)


def test_other_loaders_are_refused(refused):
    description = mlmodel()
    description["flavors"]["python_function"]["loader_module"] = "mlflow.pyfunc.model"

    assert "is loaded by mlflow.pyfunc.model" in refused(description)


def test_other_kinds_of_models_are_refused(refused):
    assert "is a model of xgboost" in refused(mlmodel(flavors={"xgboost": {}}))


@pytest.mark.parametrize("description", [None, [], "text", {}, {"flavors": []}, {"flavors": {"sklearn": "x"}}], ids=str)
def test_a_description_that_makes_no_sense_is_refused(refused, description):
    assert "names no flavors" in refused(description)


def test_a_description_cannot_create_objects(load, refused):
    class Evil(Files):
        def __init__(self):
            self._files = {"MLmodel": b"flavors: !!python/object/apply:os.system [true]"}

    version = load("registry").ModelVersion("m", "1", "1/m")
    with pytest.raises(load("errors").UnsupportedModel, match="cannot be read"):
        load("models").load_model(Evil(), version)


def test_the_trusted_types_of_the_model_are_not_believed(refused):
    description = mlmodel()
    description["flavors"]["sklearn"]["skops_trusted_types"] = ["test_models.Stranger", "os.system"]
    model = fitted(RandomForestClassifier, n_estimators=1)
    model.estimator_params = Stranger()

    assert "not trusted" in refused(description, skops.io.dumps(model))


def test_a_damaged_file_is_refused(refused):
    assert "is not a skops file" in refused(mlmodel(), b"not a zip")
    assert "cannot be loaded" in refused(mlmodel(), zipped(b"{}"))


def test_a_bomb_is_refused(load, refused, monkeypatch):
    monkeypatch.setattr(load("skops_model"), "MAX_UNPACKED_BYTES", 1000)

    assert "unpacks to 100000 bytes" in refused(mlmodel(), zipped(b" " * 100_000))


def test_what_does_not_predict_is_refused(refused):
    assert "does not predict" in refused(mlmodel(), skops.io.dumps({"a": 1}))


class Stranger:
    pass


def zipped(schema):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", schema)
    return content.getvalue()
