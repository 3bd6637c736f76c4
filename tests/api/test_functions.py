"""``/functions``: the catalog, images, and building them."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from function_runner.errors import BuildFailed, EngineUnavailable, StoreUnavailable
from function_runner.images import ImageState
from function_runner.schedule import ScheduleState
from support.api import IMAGE, add_function, remove_function

DIAGNOSIS = {"kind": "build_step", "cause": "A step failed.", "next_step": "Correct it.", "evidence": ["Step 1/1"]}
ECHO = {
    "name": "echo",
    "description": "Returns what it gets.",
    "state": "ready",
    "problem": None,
    "diagnosis": None,
    "image": {
        "tag": "smlops/function-echo:0123456789ab",
        "id": "sha256:1",
        "size_bytes": 7,
        "built_at": "2026-01-31T12:34:56.789Z",
    },
    "limits": {
        "timeout": 60.0,
        "memory_mb": 512,
        "cpus": 1.0,
        "max_concurrency": None,
        "invocations_per_container": 1,
        "warm": 0,
        "warm_max": 0,
        "warm_max_age": 3600.0,
        "max_idle": 300.0,
    },
    "pool": {
        "warm": 1,
        "target": 2,
        "ready": 0,
        "starting": 1,
        "busy": 2,
        "waiting": 3,
        "state": "ok",
        "problem": None,
        "log_tail": [],
        "diagnosis": None,
    },
    "examples": [{"name": "Hello", "parameters": {"word": "it's hello"}}],
    "schedules": [],
    "retry_on": [],
}


def version(services, name="echo"):
    return services.catalog.get(name).version


def write_build_log(services, text):
    log = services.logs.create_build("echo", version(services))
    log.write(text)
    log.close()


class TestList:
    def test_it_works(self, client, folder):
        add_function(folder, "another")
        functions = client.get("/functions").get_json()["functions"]
        assert [function["name"] for function in functions] == ["another", "echo"]

    def test_a_listed_function_is_the_whole_function(self, client):
        [listed] = client.get("/functions").get_json()["functions"]
        assert listed == client.get("/functions/echo").get_json()

    def test_one_that_cannot_be_used_is_listed_with_the_reason(self, client, folder):
        add_function(folder, "broken", "parameters: [not, an, object]")
        broken, echo = client.get("/functions").get_json()["functions"]
        assert broken["state"] == "invalid"
        assert "function.yaml" in broken["problem"]
        assert broken["limits"] is None
        assert echo["state"] == "ready"

    def test_the_catalog_is_there_while_the_engine_is_not(self, client, services):
        services.images.error = EngineUnavailable()
        [echo] = client.get("/functions").get_json()["functions"]
        assert echo["state"] == "unknown"
        assert "engine" in echo["problem"]
        assert echo["parameters"]["properties"]

    def test_there_may_be_none(self, client, folder):
        remove_function(folder, "echo")
        assert client.get("/functions").get_json() == {"functions": []}


class TestOne:
    def test_it_works(self, client, services):
        answer = client.get("/functions/echo").get_json()
        assert ECHO.items() <= answer.items()
        assert answer["source_hash"].startswith(version(services))
        assert answer["parameters"]["properties"]["word"] == {"type": "string", "description": "What to say"}

    def test_one_without_a_manifest_takes_anything(self, client, folder):
        add_function(folder, "plain")
        answer = client.get("/functions/plain").get_json()
        assert answer["parameters"] is None
        assert answer["examples"] == []

    def test_one_that_cannot_be_used_says_why(self, client, folder):
        (folder / "echo" / "Dockerfile").unlink()
        answer = client.get("/functions/echo").get_json()
        assert answer["state"] == "invalid"
        assert "no Dockerfile" in answer["problem"]

    @pytest.mark.parametrize(
        "state",
        [
            ImageState("not_built", None, None),
            ImageState("building", None, None),
            ImageState("build_failed", "exit code 1", None, DIAGNOSIS),
        ],
    )
    def test_the_state_of_its_image_is_told(self, client, services, state):
        services.images.current = state
        answer = client.get("/functions/echo").get_json()
        assert (answer["state"], answer["problem"], answer["image"]) == (state.state, state.problem, None)
        assert answer["diagnosis"] == state.diagnosis

    def test_why_its_containers_do_not_start_is_told(self, client, services, monkeypatch):
        broken = replace(services.pool.statistics("echo"), state="broken", problem="exit code 1", diagnosis=DIAGNOSIS)
        monkeypatch.setattr(services.pool, "statistics", lambda name: broken)
        assert client.get("/functions/echo").get_json()["pool"]["diagnosis"] == DIAGNOSIS

    @pytest.mark.parametrize("name", ["nothing", "..", "Echo", "echo%20", "x" * 5000, "%00", "%ff", "echo%0a", "a%5cb"])
    @pytest.mark.parametrize("suffix", ["", "/build/log"])
    def test_an_unknown_function_is_not_found(self, client, problem, name, suffix):
        problem(client.get(f"/functions/{name}{suffix}"), 404, "function_not_found")


class TestBuild:
    def test_it_works(self, client, services):
        write_build_log(services, "Step 1/1\ndone\n")
        response = client.post("/functions/echo/build")
        assert response.status_code == 200
        assert response.get_json() == {
            "function": "echo",
            "state": "ready",
            "image": ECHO["image"],
            "log": "Step 1/1\ndone\n",
        }
        assert services.images.built == ["echo"]
        assert IMAGE.tag in response.text

    def test_without_a_log_it_is_empty(self, client):
        assert client.post("/functions/echo/build").get_json()["log"] == ""

    def test_a_failure_is_told(self, client, services, problem):
        services.images.error = BuildFailed(
            "exit code 1", function="echo", log_file="logs/builds/echo-1.log", diagnosis=DIAGNOSIS
        )
        document = problem(client.post("/functions/echo/build"), 500, "build_failed")
        assert document["diagnosis"] == DIAGNOSIS
        assert document["log_file"] == "logs/builds/echo-1.log"

    def test_without_an_engine_it_cannot_be_built(self, client, services, problem):
        services.images.error = EngineUnavailable()
        problem(client.post("/functions/echo/build"), 503, "engine_unavailable")

    def test_an_unknown_function_is_not_found(self, client, problem):
        problem(client.post("/functions/nothing/build"), 404, "function_not_found")

    def test_one_that_cannot_be_used_is_not_built(self, client, folder, problem):
        (folder / "echo" / "Dockerfile").unlink()
        problem(client.post("/functions/echo/build"), 409, "function_invalid")


class TestBuildLog:
    def test_it_works(self, client, services):
        write_build_log(services, "Step 1/1 \ufffd\n")
        response = client.get("/functions/echo/build/log")
        assert response.content_type == "text/plain; charset=utf-8"
        assert response.text == "Step 1/1 \ufffd\n"

    def test_before_the_first_build_there_is_none(self, client, problem):
        problem(client.get("/functions/echo/build/log"), 404, "not_found")

    def test_after_a_change_the_old_one_is_not_shown(self, client, services, folder, problem):
        write_build_log(services, "old\n")
        (folder / "echo" / "handler.py").write_text("# changed\n")
        problem(client.get("/functions/echo/build/log"), 404, "not_found")


class TestSchedules:
    MANIFEST = "schedule: {cron: 0 3 * * *, timezone: Europe/Berlin, parameters: {word: night}}"
    TIMING = "0 3 * * * Europe/Berlin"

    def test_it_works(self, client, services, folder):
        add_function(folder, "nightly", self.MANIFEST)
        services.store.schedule_states["nightly", "default"] = ScheduleState(
            function="nightly",
            name="default",
            timing=self.TIMING,
            handled_until=datetime(2026, 1, 31, 2, 0, tzinfo=UTC),
            last_at=datetime(2026, 1, 30, 2, 0, tzinfo=UTC),
            last_invocation_id="5",
            skipped=1,
            last_skipped_at=datetime(2026, 1, 31, 2, 0, tzinfo=UTC),
        )
        assert client.get("/functions/nightly").get_json()["schedules"] == [
            {
                "name": "default",
                "cron": "0 3 * * *",
                "timezone": "Europe/Berlin",
                "parameters": {"word": "night"},
                "overlap": "forbid",
                "next_at": "2026-02-01T02:00:00.000Z",
                "last_at": "2026-01-30T02:00:00.000Z",
                "last_invocation_id": "5",
                "skipped": 1,
                "last_skipped_at": "2026-01-31T02:00:00.000Z",
            }
        ]

    @pytest.mark.parametrize("timing", [None, "0 4 * * * UTC"])
    def test_one_that_is_new_or_was_just_edited_begins_now(self, client, services, folder, timing):
        add_function(folder, "nightly", self.MANIFEST)
        if timing is not None:
            services.store.schedule_states["nightly", "default"] = ScheduleState(
                "nightly", "default", timing, datetime(2020, 1, 31, tzinfo=UTC)
            )
        (schedule,) = client.get("/functions/nightly").get_json()["schedules"]
        assert 0 < (datetime.fromisoformat(schedule["next_at"]) - datetime.now(UTC)).total_seconds() <= 25 * 3600
        assert schedule["last_at"] is None

    def test_the_catalog_is_there_while_the_database_is_not(self, client, services, folder):
        add_function(folder, "nightly", self.MANIFEST)
        services.store.error = StoreUnavailable()
        (schedule,) = client.get("/functions/nightly").get_json()["schedules"]
        assert (schedule["cron"], schedule["next_at"]) == ("0 3 * * *", None)

    def test_an_invalid_one_says_what_is_wrong(self, client, folder):
        add_function(folder, "nightly", "schedule: {cron: 0 25 * * *}")
        answer = client.get("/functions/nightly").get_json()
        assert (answer["state"], answer["schedules"]) == ("invalid", [])
        assert "/schedule/0/cron: '0 25 * * *' is not a cron expression" in answer["problem"]
