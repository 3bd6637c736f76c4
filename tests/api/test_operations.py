"""``/health``, ``/ready`` and ``/metrics``."""

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from function_runner.api import checks, operations
from function_runner.errors import EngineUnavailable, MlflowUnavailable, StoreUnavailable


class TestHealth:
    def test_it_works(self, client):
        assert client.get("/health").get_json() == {"status": "ok"}

    def test_it_asks_nobody(self, client, services):
        services.engine.answers.clear()
        services.store.error = StoreUnavailable()
        assert client.get("/health").status_code == 200


class TestReady:
    def test_it_works(self, client):
        response = client.get("/ready")
        assert response.status_code == 200
        works = {"ok": True, "detail": "works"}
        assert response.get_json() == {
            "ready": True,
            "degraded": False,
            "draining": False,
            "checks": {"engine": works, "database": works, "mlflow": works, "logs": works, "disk": works},
        }

    @pytest.mark.parametrize(
        ("part", "check", "error"),
        [
            ("engine", "engine", EngineUnavailable("The engine is away.")),
            ("store", "database", StoreUnavailable("The disk is full.")),
        ],
    )
    def test_without_engine_or_database_it_is_not(self, client, services, part, check, error):
        getattr(services, part).error = error
        response = client.get("/ready")
        assert response.status_code == 503
        answer = response.get_json()
        assert answer["ready"] is False
        assert answer["checks"][check] == {"ok": False, "detail": error.detail}

    def test_without_the_logs_folder_it_is_not(self, client, settings):
        settings.logs_dir.rmdir()
        response = client.get("/ready")
        assert response.status_code == 503
        assert "logs folder" in response.get_json()["checks"]["logs"]["detail"]

    def test_without_room_on_the_disk_it_is_not(self, client, services):
        services.store.is_full = True
        response = client.get("/ready")
        assert response.status_code == 503
        assert "too little room" in response.get_json()["checks"]["disk"]["detail"]

    def test_without_mlflow_it_is_ready_but_degraded(self, client, services):
        services.tracking.error = MlflowUnavailable("MLflow cannot be reached.")
        response = client.get("/ready")
        assert response.status_code == 200
        answer = response.get_json()
        assert (answer["ready"], answer["degraded"]) == (True, True)
        assert answer["checks"]["mlflow"] == {"ok": False, "detail": "MLflow cannot be reached."}

    def test_when_only_the_disk_of_the_logs_is_full_it_is_ready_but_degraded(self, client, monkeypatch):
        def refuse(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "write", refuse)
        response = client.get("/ready")
        assert response.status_code == 200
        answer = response.get_json()
        assert (answer["ready"], answer["degraded"]) == (True, True)
        assert "what invocations print is lost" in answer["checks"]["logs"]["detail"]

    def test_while_draining_it_is_not(self, client, services):
        services.invoker.is_draining = True
        response = client.get("/ready")
        assert response.status_code == 503
        assert response.get_json()["draining"] is True

    def test_it_answers_in_time_even_when_nobody_else_does(self, client, services):
        services.engine.answers.clear()
        started = time.monotonic()
        response = client.get("/ready")
        assert time.monotonic() - started < 10  # the engine would take 20
        services.engine.answers.set()
        assert response.status_code == 503
        assert response.get_json()["checks"]["engine"]["detail"] == "no answer within 0.8 s"
        assert response.get_json()["checks"]["database"]["ok"]

    def test_one_that_hangs_is_asked_once(self, app, services, monkeypatch):
        monkeypatch.setattr(operations, "READY_WITHIN_SECONDS", 0.05)
        services.engine.answers.clear()
        with ThreadPoolExecutor(8) as threads:
            statuses = list(threads.map(lambda _: app.test_client().get("/ready").status_code, range(16)))
        services.engine.answers.set()
        assert statuses == [503] * 16
        assert services.engine.pings == 1

    def test_an_answer_is_kept_for_a_moment(self, client, services, monkeypatch):
        clock = SimpleNamespace(time=1000.0)
        monkeypatch.setattr(checks, "time", SimpleNamespace(monotonic=lambda: clock.time))
        client.get("/ready")
        services.engine.error = EngineUnavailable()
        clock.time += operations.KEEP_SECONDS - 0.1
        assert client.get("/ready").status_code == 200
        clock.time += 0.2
        assert client.get("/ready").status_code == 503

    def test_a_check_with_a_bug_counts_as_failed(self, client, services, caplog):
        services.engine.error = ZeroDivisionError("swordfish")
        response = client.get("/ready")
        assert response.status_code == 503
        assert "swordfish" not in response.text
        assert "swordfish" in caplog.text


class TestMetrics:
    def test_it_works(self, client, services):
        services.metrics.invocation_finished("echo", "sync", "succeeded")
        response = client.get("/metrics")
        assert response.status_code == 200
        assert response.mimetype == "text/plain"
        assert 'smlops_invocations_total{function="echo",' in response.text
