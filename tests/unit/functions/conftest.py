"""Imports the modules of a function folder, as its container does: by their bare names, with the folder on the path.

Two functions may name their modules alike, so what was imported is forgotten when the test file is done.
"""

import importlib
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

FUNCTIONS = Path(__file__).resolve().parents[3] / "functions"


@contextmanager
def importable(folder):
    names = {path.stem for path in folder.glob("*.py")}
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    for name in names:
        sys.modules.pop(name, None)
    sys.modules.update(before)


@pytest.fixture(scope="module")
def load(request):
    """`load("features")` imports the module of the function that the test file's folder is named after."""
    with importable(FUNCTIONS / request.path.parent.name):
        yield importlib.import_module


@pytest.fixture(scope="session")
def convert():
    """`convert(forest)` is the content of model.onnx, as train stores it."""
    with importable(FUNCTIONS / "train"):
        return importlib.import_module("onnx_twin")._convert


@pytest.fixture(scope="module")
def manifest(request):
    """The function.yaml of the function that the test file's folder is named after."""
    return yaml.safe_load((FUNCTIONS / request.path.parent.name / "function.yaml").read_text())
