"""From the event to the answer, with a registry and a model that stand in."""

import pytest


@pytest.fixture(scope="module")
def handler(load):
    return load("handler")


@pytest.fixture
def answer(load, handler, monkeypatch):
    """Invoke the handler with the given event."""
    features, models, prediction = load("features"), load("models"), load("prediction")
    signature = features.Signature((features.Column("a", "double", low=0, high=1), features.Column("b", "double")))
    resolved = []

    class Registry:
        def resolve(self, name, version):
            resolved.append((name, version))
            return load("registry").ModelVersion(name, "7", "1/m")

    class Predictor:
        model_format = "onnx"

        def predict(self, rows):
            return prediction.Prediction(["x"] * len(rows), [{"x": 0.9, "y": 0.1}] * len(rows))

    monkeypatch.setattr(handler, "REGISTRY", Registry())
    monkeypatch.setattr(handler, "_loaded", lambda version: models.Model(version, signature, Predictor()))

    def invoke(**event):
        result = handler.handler(event, None)
        result["resolved"] = resolved.pop()
        return result

    return invoke


def test_one_row(answer):
    assert answer(features=[0, 1]) == {
        "prediction": "x",
        "probabilities": {"x": 0.9, "y": 0.1},
        "model_name": "iris_model",
        "model_version": "7",
        "model_uri": "models:/iris_model/7",
        "model_format": "onnx",
        "resolved": ("iris_model", "latest"),
    }


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
def test_versions(answer, given, asked):
    assert answer(features=[0, 1], model_version=given)["resolved"] == ("iris_model", asked)


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
