"""What a training prints of its progress is what the function runner understands."""

from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from function_runner.progress import ProgressLines

# Small, so that it takes a moment only.
TUNED = {"tune": True, "n_trials": 3, "cv": 2, "search_space": {"n_estimators": [2, 3, 4]}}


@dataclass
class Registered:
    run_id: str = "r1"
    experiment_id: str = "1"


@pytest.fixture
def handler(load, monkeypatch):
    """The handler without MLflow."""

    @contextmanager
    def recorded_run(*_):
        yield SimpleNamespace(info=Registered())

    module = load("handler")
    monkeypatch.setattr(module.tracking, "recorded_run", recorded_run)
    for name in ("registered_before", "record_trial", "record_search", "record_model"):
        monkeypatch.setattr(module.tracking, name, lambda *_: None)
    registered = {"model_name": "iris_model", "model_version": "7", "model_uri": "models:/iris_model/7"}
    monkeypatch.setattr(module.tracking, "register", lambda *given: given[-1] | registered)
    return module.handler


def said(output):
    lines = ProgressLines()
    found = [lines.read(line.encode()) for line in output.splitlines(keepends=True)]
    return [(progress.done, progress.total, progress.message) for progress in found if progress]


def test_every_step_is_told(handler, capfd):
    handler({"n_estimators": 2}, SimpleNamespace(aws_request_id="i1"))
    assert said(capfd.readouterr().out) == [
        (0, 5, "loading Iris"),
        (1, 5, "fitting 2 trees"),
        (2, 5, "evaluating"),
        (3, 5, "logging to MLflow"),
        (4, 5, "registering iris_model"),
        (5, 5, "registered iris_model version 7"),
    ]


def test_each_trial_of_a_search_is_a_step(handler, capfd):
    handler(TUNED, SimpleNamespace(aws_request_id="i1"))
    progress = said(capfd.readouterr().out)
    assert [done for done, _, _ in progress] == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8]
    assert {total for _, total, _ in progress} == {8}
    assert progress[2][2].startswith("trial 1 of 3: accuracy 0.")


def test_what_an_earlier_attempt_has_done_is_the_last_step(handler, load, monkeypatch, capfd):
    earlier = {"model_name": "iris_model", "model_version": "6", "model_uri": "models:/iris_model/6"}
    monkeypatch.setattr(load("tracking"), "registered_before", lambda _: earlier)
    assert handler({"n_estimators": 2}, SimpleNamespace(aws_request_id="i1")) == earlier
    assert said(capfd.readouterr().out)[-1] == (5, 5, "registered iris_model version 6")
