"""``/debug``: one page that is there when something else is not."""

import time

import pytest

from function_runner.api import debug
from function_runner.errors import EngineUnavailable, MlflowUnavailable, StoreUnavailable
from function_runner.settings import Settings


def test_it_works(client):
    response = client.get("/debug")
    answer = response.get_json()
    assert answer["version"]
    assert answer["started_at"] == "2026-01-31T12:34:56.789Z"
    assert answer["uptime_seconds"] > 0
    assert answer["engine"]["version"] == "20.10.24"
    assert answer["images"][0]["tag"] == "smlops/function-echo:0123456789ab"
    assert answer["containers"] == [
        {
            "id": "c1",
            "name": "echo-0123456789ab",
            "state": "running",
            "function": "echo",
            "role": "invoke",
            "image": "smlops/function-echo:0123456789ab",
            "created_at": "2026-01-31T12:34:56.789Z",
        }
    ]
    assert answer["pool"]["max_concurrency"] == 4
    assert answer["pool"]["functions"]["echo"]["busy"] == 2
    assert answer["mlflow"]["version"] == "3.17.2"
    assert answer["database"]["invocations"] == {"succeeded": 0}
    assert answer["disk"]["total_bytes"] > answer["disk"]["free_bytes"] > 0
    assert answer["settings"]["max_timeout"] == 900
    assert answer["retention"] == {
        "settings": {
            "retain_records_days": 30,
            "records_max": 1_000_000,
            "retain_logs_days": 14,
            "logs_max_mb": 2048,
            "retain_images_days": 30,
            "min_free_disk_mb": 256,
        },
        "stored": {"records": {"count": 7, "bytes": 7000}, "logs": {"count": 5, "bytes": 50_000}},
        "removable": {"records": {"count": 2, "bytes": 2000}, "logs": {"count": 1, "bytes": 10_000}},
        "problem": None,
        "last_run": {
            "at": "2026-01-31T12:34:56.789Z",
            "seconds": 0.25,
            "freed": {"images": {"count": 1, "bytes": 900}},
            "problem": "MLflow is away.",
        },
    }


def test_it_is_written_for_people(client):
    assert client.get("/debug").text.startswith('{\n  "version"')


def test_it_tells_no_secrets(client):
    answer = client.get("/debug")
    assert "swordfish" not in answer.text
    assert answer.get_json()["database"]["url"] == "postgresql://db/records"
    assert answer.get_json()["mlflow"]["tracking_uri"] == "http://mlflow:5000/mlflow"


def test_every_setting_is_shown_or_kept_back_on_purpose():
    assert {*debug.SHOWN_SETTINGS, *debug.HIDDEN_SETTINGS} == set(Settings.model_fields)


def test_the_environment_is_not_shown(client, monkeypatch):
    monkeypatch.setenv("HTTP_PASSWORD", "swordfish")
    assert "swordfish" not in client.get("/debug").text


def test_a_section_that_fails_says_so_and_the_others_stay(client, services):
    services.engine.error = EngineUnavailable()
    services.tracking.error = MlflowUnavailable()
    services.store.error = StoreUnavailable()
    services.retention.error = StoreUnavailable()
    answer = client.get("/debug").get_json()
    for name in ("engine", "images", "containers", "mlflow", "database", "retention"):
        assert list(answer[name]) == ["error"]
    assert answer["pool"]["in_flight"] == 0
    assert answer["disk"]["free_bytes"] > 0


def test_a_section_with_a_bug_is_logged_and_the_others_stay(client, services, caplog):
    services.engine.error = ZeroDivisionError("swordfish")
    response = client.get("/debug")
    assert response.get_json()["engine"] == {"error": "this section cannot be shown; see the runner's log"}
    assert "swordfish" not in response.text
    assert "swordfish" in caplog.text


def test_a_section_that_hangs_is_not_waited_for(client, services, monkeypatch):
    monkeypatch.setattr(debug, "WITHIN_SECONDS", 1.0)
    services.engine.answers.clear()
    started = time.monotonic()
    answer = client.get("/debug").get_json()
    assert time.monotonic() - started < 10  # the engine would take 20
    services.engine.answers.set()
    assert answer["engine"] == {"error": "no answer within 1 s"}
    assert answer["mlflow"]["version"]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("sqlite:////data/runner.db", "sqlite:////data/runner.db"),
        ("postgresql+psycopg://u:p@h:5432/db?sslkey=x", "postgresql+psycopg://h:5432/db"),
        ("http://u:p/@ss@h/path", "http://u:p/@ss@h/path"),
        ("unix:///var/run/docker.sock", "unix:///var/run/docker.sock"),
        ("plain", "plain"),
    ],
)
def test_addresses_are_shown_without_credentials(address, shown):
    assert debug.without_credentials(address) == shown
