"""The ONNX form answers as the skops form does; what is no sound classifier for the model's columns is refused."""

import json
import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

ROW = [5.1, 3.5, 1.4, 0.2]


@pytest.fixture(scope="module")
def open_onnx(load):
    def open_bytes(content, kinds=("double",) * 4):
        features = load("features")
        signature = features.Signature(tuple(features.Column(None, kind) for kind in kinds))
        return load("onnx_model").OnnxModel.from_bytes(content, signature, "models:/m/1")

    return open_bytes


@pytest.fixture(scope="module")
def refused(load, open_onnx):
    def refuse(content, **arguments):
        with pytest.raises(load("errors").UnsupportedModel) as error:
            open_onnx(content, **arguments)
        assert "\n" not in str(error.value)
        return str(error.value)

    return refuse


@pytest.fixture(scope="module")
def forest():
    iris = load_iris()
    return RandomForestClassifier(30, random_state=1).fit(iris.data, iris.target_names[iris.target])


@pytest.fixture(scope="module")
def content(convert, forest):
    return convert(forest)


def test_it_works(open_onnx, content):
    prediction = open_onnx(content).predict([ROW, ROW])

    assert prediction.labels == ["setosa", "setosa"]
    assert prediction.probabilities == [{"setosa": 1.0, "versicolor": 0.0, "virginica": 0.0}] * 2
    assert {type(share) for share in prediction.probabilities[0].values()} == {float}


def test_it_answers_as_the_forest_does(load, open_onnx, content, forest):
    rows = np.random.default_rng(1).uniform(0, 8, (500, 4)).round(1).tolist()

    fast, slow = open_onnx(content).predict(rows), load("skops_model").SkopsModel(forest).predict(rows)

    assert fast.labels == slow.labels
    assert [list(row) for row in fast.probabilities] == [list(row) for row in slow.probabilities]
    shares = [[list(row.values()) for row in answer.probabilities] for answer in (fast, slow)]
    assert np.abs(np.subtract(*shares)).max() < 1e-6


def test_probabilities_have_no_noise_of_32_bits(open_onnx, content):
    share = open_onnx(content).predict([[6.3, 2.8, 5.1, 1.5]]).probabilities[0]["virginica"]

    assert share == round(share, 7)


def test_numbers_as_labels(convert, open_onnx):
    iris = load_iris()
    forest = RandomForestClassifier(5, random_state=1).fit(iris.data, iris.target)

    prediction = open_onnx(convert(forest)).predict([ROW])

    assert prediction.labels == [0]
    assert prediction.probabilities == [{"0": 1.0, "1": 0.0, "2": 0.0}]


def test_damaged_files_are_refused(refused, content):
    for damaged in (b"", b"not a graph", content[: len(content) // 2], content.replace(b"setosa", b"Setosa", 1)):
        assert "ONNX form of models:/m/1" in refused(damaged)


def test_the_runtimes_own_format_is_refused(refused):
    assert "cannot be used" in refused(b"\x18\0\0\0ORTM" + b"\0" * 100)


def test_other_columns_than_those_of_the_signature_are_refused(refused, content):
    assert "not 3 columns of numbers" in refused(content, kinds=("double",) * 3)
    assert "columns of text" in refused(content, kinds=("double", "double", "double", "string"))


def test_graphs_that_are_no_classifiers_are_refused(refused):
    numbers = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 4])
    again = helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, 4])
    copy = [helper.make_node("Identity", ["x"], [name]) for name in ("y", "z")]

    assert "1 inputs and 1 outputs, and is no classifier" in refused(graph(copy[:1], [numbers]))
    assert "not a label and probabilities" in refused(graph(copy, [numbers, again]))


def test_classes_that_are_missing_or_do_not_fit_are_refused(refused, content):
    model = onnx.load_from_string(content)
    for properties in (
        {},
        *({"classes": json.dumps(names)} for names in ("abc", [], ["setosa"], [1, 2, 3], ["a", "b", "c"])),
    ):
        helper.set_model_props(model, properties)
        assert "ONNX form of models:/m/1" in refused(model.SerializeToString())


def test_values_in_other_files_are_refused(refused):
    outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="../../etc/passwd")
    add = helper.make_node("Add", ["x", "w"], ["y"])

    assert "refers to other files" in refused(
        graph([add], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 4])], [outside])
    )


def test_operators_from_elsewhere_are_refused(refused):
    node = helper.make_node("Evil", ["x"], ["y"], domain="com.example")

    assert "com.example" in refused(
        graph([node], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 4])], domains=("com.example",))
    )


def test_the_runtime_reports_to_nobody(load):
    load("onnx_model")

    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def graph(nodes, outputs, values=(), domains=()):
    table = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])
    opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid(domain, 1) for domain in domains)]
    made = helper.make_graph(nodes, "graph", [table], outputs, list(values))
    return helper.make_model(made, opset_imports=opsets, ir_version=8).SerializeToString()
