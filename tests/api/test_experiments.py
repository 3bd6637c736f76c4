"""``/experiments`` and their runs."""

import pytest

from function_runner.errors import ExperimentNotFound, MlflowUnavailable
from support.api import EXPERIMENT, RUN


def test_it_works(client):
    assert client.get("/experiments").get_json() == {"experiments": [EXPERIMENT], "next_page_token": None}
    assert client.get("/experiments/1/runs").get_json() == {"runs": [RUN], "next_page_token": None}


def test_lists_are_paged(client, services):
    client.get("/experiments?limit=3&page_token=t")
    client.get("/experiments/1/runs?limit=4&page_token=u")
    assert services.tracking.asked == [("experiments", 3, "t"), ("runs", "1", 4, "u")]


def test_an_unknown_experiment_is_not_found(client, services, problem):
    services.tracking.error = ExperimentNotFound()
    problem(client.get("/experiments/99/runs"), 404, "experiment_not_found")


@pytest.mark.parametrize("path", ["/experiments", "/experiments/1/runs"])
def test_mlflow_being_away_is_told(client, services, problem, path):
    services.tracking.error = MlflowUnavailable()
    problem(client.get(path), 502, "mlflow_unavailable")


def test_a_metric_that_is_no_finite_number_is_null(client, services):
    metrics = {"loss": float("nan"), "other": "Infinity", "good": 1}
    services.tracking.runs = lambda *_, **__: {"runs": [{**RUN, "metrics": metrics}], "next_page_token": None}
    [run] = client.get("/experiments/1/runs").get_json()["runs"]
    assert run["metrics"] == {"loss": None, "other": None, "good": 1.0}
