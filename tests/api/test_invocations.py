"""``/invocations``, each record, and its log."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from function_runner import api
from function_runner.errors import FieldError, NotFound, StoreUnavailable
from function_runner.invocation import Callback, CallbackState, LogState, Mode, Progress, Start, Status
from function_runner.store import Wanted
from support.api import NOW, finished

UNKNOWN = "0b6e7a52-95a0-4f0c-9d0e-5b2f6f6e7a11"


@pytest.fixture
def record(services):
    """A record on file."""
    return add(services)


def add(services, **changes):
    record = finished(**changes)
    services.store.records[record.id] = record
    return record


def write_log(services, record, data):
    log = services.logs.create(record.container_name)
    log.write(data)
    log.close()


class TestRecord:
    def test_it_works(self, client, record):
        response = client.get(f"/invocations/{record.id}")
        assert response.status_code == 200
        assert response.headers["X-Invocation-Id"] == record.id
        assert response.get_json() == {
            "invocation_id": record.id,
            "function": "echo",
            "status": "succeeded",
            "container_name": "echo-0123456789ab",
            "log_file": "logs/echo-0123456789ab.log",
            "start": "cold",
            "timings": {
                "queue_ms": 0.1,
                "build_ms": 0.0,
                "create_ms": 9.0,
                "start_ms": 91.0,
                "init_ms": 300.0,
                "record_ms": 1.0,
                "run_ms": 50.0,
                "result_ms": 1.0,
                "total_ms": 452.1,
            },
            "result": "done",
            "parameters": {"word": "hello", "times": 1},
            "parameters_sha256": "b" * 64,
            "result_sha256": "c" * 64,
            "created_at": "2026-01-31T12:34:56.789Z",
            "started_at": "2026-01-31T12:34:57.189Z",
            "finished_at": "2026-01-31T12:34:57.239Z",
            "mode": "sync",
            "attempt": 1,
            "max_attempts": 1,
            "next_attempt_at": None,
            "cancel_requested_at": None,
            "replay_of": None,
            "callback": None,
            "caller": None,
            "timeout_seconds": 60.0,
            "error": None,
            "exit_code": None,
            "oom_killed": None,
            "max_memory_mb": None,
            "memory_limit_mb": 512,
            "image": {
                "tag": "smlops/function-echo:0123456789ab",
                "id": "sha256:1",
                "base_id": "sha256:2",
            },
            "source_hash": "a" * 64,
            "log_state": None,
            "log_bytes": None,
            "log_sha256": None,
            "mlflow": None,
            "progress": None,
            "queue_position": None,
            "events": [
                {"status": "queued", "at": "2026-01-31T12:34:56.789Z", "attempt": 1},
                {"status": "succeeded", "at": "2026-01-31T12:34:57.239Z", "attempt": 1},
            ],
        }

    def test_one_that_just_began_has_little_to_say(self, client, services):
        nothing = dict.fromkeys(
            ("started_at", "finished_at", "container_name", "start", "result", "image_tag", "image_id", "base_image_id")
        )
        record = add(services, status=Status.QUEUED, **nothing)
        answer = client.get(f"/invocations/{record.id}").get_json()
        assert answer["status"] == "queued"
        assert answer["log_file"] is None
        assert answer["image"] is None

    def test_a_failure_says_why(self, client, services):
        error = {
            "code": "handler_refused",
            "type": "InvalidParameters",
            "message": "no",
            "errors": [vars(FieldError("/word", "no"))],
        }
        facts = {"exit_code": 1, "oom_killed": False, "max_memory_mb": 12.5, "log_state": LogState.COMPLETE}
        record = add(services, status=Status.FAILED, error=error, result=None, **facts)
        answer = client.get(f"/invocations/{record.id}").get_json()
        assert answer["error"] == {**error, "stack_trace": None, "diagnosis": None}
        assert {name: answer[name] for name in facts} == facts

    def test_a_failure_shows_its_diagnosis(self, client, services):
        diagnosis = {"kind": "missing_module", "cause": "No pandas.", "next_step": "Add it.", "evidence": ["a", "b"]}
        error = {"code": "init_error", "type": "Init", "message": "no", "diagnosis": diagnosis}
        record = add(services, status=Status.FAILED, error=error, result=None)
        assert client.get(f"/invocations/{record.id}").get_json()["error"]["diagnosis"] == diagnosis

    def test_what_it_made_in_mlflow_is_named(self, client, services):
        record = add(services, mlflow={"run_id": "r1", "model_name": "iris_model", "model_version": 3})
        assert client.get(f"/invocations/{record.id}").get_json()["mlflow"] == {
            "run_id": "r1",
            "experiment_id": None,
            "model_name": "iris_model",
            "model_version": "3",
            "model_alias": None,
            "model_uri": None,
        }

    def test_progress_is_the_last_that_its_container_said(self, client, services, monkeypatch):
        stored, newer = Progress(1, 3, "one", NOW), Progress(2.5, None, None, NOW)
        record = add(services, status=Status.RUNNING, log_state=LogState.OPEN, progress=stored)
        shown = {"done": 1, "total": 3, "message": "one", "at": "2026-01-31T12:34:56.789Z"}
        assert client.get(f"/invocations/{record.id}").get_json()["progress"] == shown
        monkeypatch.setattr(services.pool, "progress", lambda _: newer)
        shown |= {"done": 2.5, "total": None, "message": None}
        assert client.get(f"/invocations/{record.id}").get_json()["progress"] == shown
        assert client.get("/invocations").get_json()["invocations"][0]["progress"] == shown

    def test_one_that_waits_for_another_attempt_has_no_progress(self, client, services):
        record = add(services, status=Status.QUEUED, log_state=LogState.OPEN, progress=Progress(1, 3, "one", NOW))
        assert client.get(f"/invocations/{record.id}").get_json()["progress"] is None

    def test_what_a_function_raised_may_hold_any_character(self, client, services):
        record = add(services, error={"code": "handler_error", "type": "E", "message": "\ud800"})
        assert client.get(f"/invocations/{record.id}").get_json()["error"]["message"] == "?"

    @pytest.mark.parametrize(
        "wanted",
        [
            UNKNOWN,
            "x",
            "..",
            "%2e%2e%2fetc",
            "0",
            "-1",
            "x" * 5000,
            "a%0ab",
            "%00",
            "' OR 1=1",
            f"{{{UNKNOWN}}}",
            UNKNOWN + "%0a",
            UNKNOWN.replace("-", ""),
            "%ff%fe",
        ],
    )
    @pytest.mark.parametrize("suffix", ["", "/logs"])
    def test_what_is_no_id_of_ours_is_not_found(self, client, record, problem, wanted, suffix):
        response = client.get(f"/invocations/{wanted}{suffix}")
        code = "not_found" if "%2f" in wanted else "invocation_not_found"
        problem(response, 404, code)

    def test_the_store_being_away_is_told(self, client, services, record, problem):
        services.store.error = StoreUnavailable()
        problem(client.get(f"/invocations/{record.id}"), 503, "store_unavailable")


class TestList:
    def test_it_works(self, client, services):
        ids = [add(services).id for _ in range(3)]
        answer = client.get("/invocations").get_json()
        assert [record["invocation_id"] for record in answer["invocations"]] == ids[::-1]
        assert answer["next"] is None

    def test_what_became_of_the_callback_is_shown(self, client, services):
        told = Callback("https://hooks.example.com/", CallbackState.FAILED, 8, "the receiver answered 404")
        record = add(services, callback=told)
        assert client.get(f"/invocations/{record.id}").get_json()["callback"] == {
            "url": "https://hooks.example.com/",
            "state": "failed",
            "attempts": 8,
            "last_error": "the receiver answered 404",
            "delivered_at": None,
        }

    def test_what_a_callback_is_sent_is_what_is_shown(self, client, services):
        record = add(services)
        assert api.render(record, services.store.events(record.id)) == client.get(f"/invocations/{record.id}").data

    def test_a_listed_record_is_the_whole_record_but_for_its_states(self, client, record):
        [listed] = client.get("/invocations").get_json()["invocations"]
        whole = client.get(f"/invocations/{record.id}").get_json()
        assert whole.pop("events")
        assert listed == whole

    def test_it_is_paged(self, client, services):
        for _ in range(3):
            add(services)
        answer = client.get("/invocations?limit=2").get_json()
        assert len(answer["invocations"]) == 2
        assert client.get(f"/invocations?before={answer['next']}").status_code == 200
        assert services.store.searches[-1]["before"] == answer["next"]

    @pytest.mark.parametrize(
        ("query", "wanted"),
        [
            ("", Wanted()),
            ("function=train", Wanted(function="train")),
            ("status=timed_out", Wanted(statuses=(Status.TIMED_OUT,))),
            ("status=failed,lost,failed", Wanted(statuses=(Status.FAILED, Status.LOST))),
            ("start=cold", Wanted(start=Start.COLD)),
            ("since=2026-01-31T12:34:56Z", Wanted(since=datetime(2026, 1, 31, 12, 34, 56, tzinfo=UTC))),
            ("since=2026-01-31T12:34:56%2B01:00", Wanted(since=datetime(2026, 1, 31, 11, 34, 56, tzinfo=UTC))),
            ("until=2026-01-31t12:34:56.5-00:30", Wanted(until=datetime(2026, 1, 31, 13, 4, 56, 500000, tzinfo=UTC))),
            ("q=100%25%20sure_%5C%20%C3%BC", Wanted(text="100% sure_\\ ü")),
            ("model_name=iris%20model", Wanted(model_name="iris model")),
            ("model_name=m&model_version=3", Wanted(model_name="m", model_version="3")),
            ("run_id=abc", Wanted(run_id="abc")),
            ("function=train&status=failed&q=x", Wanted(function="train", statuses=(Status.FAILED,), text="x")),
        ],
    )
    def test_it_can_be_narrowed(self, client, services, query, wanted):
        assert client.get(f"/invocations?{query}").status_code == 200
        assert services.store.searches == [{"wanted": wanted, "limit": 50, "before": None}]

    def test_as_many_as_asked_for(self, client, services):
        client.get("/invocations?limit=7")
        assert services.store.searches[0]["limit"] == 7

    @pytest.mark.parametrize(
        "query",
        [
            "limit=0",
            "limit=-1",
            "limit=201",
            "limit=1000000000",
            "limit=" + "9" * 5000,
            "limit=1.0",
            "limit=%201",
            "limit=1_0",
            "limit=%D9%A3",
            "limit=",
            "limit=ten",
            "limit=1&limit=2",
            "status=done",
            "status=' OR 1=1",
            "status=",
            "status=SUCCEEDED",
            "status=failed,",
            "status=failed,done",
            "status=failed, lost",
            "status=failed&status=lost",
            "start=hot",
            "start=",
            "since=",
            "since=yesterday",
            "since=24h",
            "since=1767225600",
            "since=2026-01-31",
            "since=2026-01-31T12:34:56",
            "since=2026-01-31T12:34:56+01:00",  # the plus sign is a space in a query
            "since=2026-02-30T12:34:56Z",
            "since=2026-01-31T25:00:00Z",
            "since=2026-01-31T12:34:56%2B99:00",
            "since=0001-01-01T00:00:00%2B02:00",
            "until=9999-12-31T23:59:59-02:00",
            "since=2026-01-31T12:34:56Z&until=2026-01-31T12:34:56Z",
            "q=",
            "q=a%00",
            "q=" + "x" * 201,
            "model_version=3",
            "model_name=",
            "model_name=m&model_version=",
            "run_id=",
            "function=",
            "function=Train",
            "function=../train",
            "function=a%00",
            "function=" + "x" * 101,
            "before=garbage",
            "before=",
            "before=" + "x" * 201,
            "state=succeeded",
            "cursor=x",
            "=",
        ],
    )
    def test_a_query_that_is_not_understood_is_refused(self, client, problem, query):
        problem(client.get(f"/invocations?{query}"), 400, "invalid_request")

    def test_the_refusal_names_the_place(self, client, problem):
        document = problem(client.get("/invocations?limit=0&status=x"), 400, "invalid_request")
        assert document["errors"] == [
            {"pointer": "/limit", "detail": "must be at least 1"},
            {
                "pointer": "/status",
                "detail": "must be one or several, with commas between them, of queued, starting, running, succeeded, "
                "failed, timed_out, cancelled, lost",
            },
        ]

    @pytest.mark.parametrize(
        ("query", "pointer"),
        [("model_version=3", "/model_version"), ("since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", "/until")],
    )
    def test_what_does_not_fit_together_is_named(self, client, problem, query, pointer):
        document = problem(client.get(f"/invocations?{query}"), 400, "invalid_request")
        assert [error["pointer"] for error in document["errors"]] == [pointer]


class TestLogs:
    def test_it_works(self, client, services, record):
        write_log(services, record, b"hello\n")
        response = client.get(f"/invocations/{record.id}/logs")
        assert response.status_code == 200
        assert response.content_type == "text/plain; charset=utf-8"
        assert response.headers["X-Invocation-Id"] == record.id
        assert response.text == "hello\n"

    def test_only_the_end(self, client, services, record):
        write_log(services, record, b"1\n2\n3\n4\n")
        assert client.get(f"/invocations/{record.id}/logs?tail=2").text == "3\n4\n"

    def test_bytes_that_are_no_text_are_replaced(self, client, services, record):
        write_log(services, record, b"a\xff\xfe\x1b[31mred\x1b[0m<script>\xc3\xbc\n")
        text = client.get(f"/invocations/{record.id}/logs").data.decode("utf-8")
        assert text == "a\ufffd\ufffd\x1b[31mred\x1b[0m<script>ü\n"

    @pytest.mark.parametrize("query", ["tail=-1", "tail=0", "tail=1e9", "tail=100001", "tail=x", "offset=-5", "tail="])
    def test_a_query_that_is_not_understood_is_refused(self, client, services, record, problem, query):
        write_log(services, record, b"hello\n")
        problem(client.get(f"/invocations/{record.id}/logs?{query}"), 400, "invalid_request")

    def test_ranges_are_ignored(self, client, services, record):
        write_log(services, record, b"hello\n")
        response = client.get(f"/invocations/{record.id}/logs", headers={"Range": "bytes=9-1,-5,x"})
        assert response.status_code == 200
        assert response.text == "hello\n"

    def test_one_that_never_had_a_container_has_no_log(self, client, services, problem):
        record = add(services, container_name=None, status=Status.CANCELLED)
        document = problem(client.get(f"/invocations/{record.id}/logs"), 404, "not_found")
        assert document["invocation_id"] == record.id
        assert "cancelled" in document["detail"]

    def test_a_log_that_was_removed_is_not_found(self, client, record, problem):
        document = problem(client.get(f"/invocations/{record.id}/logs"), 404, "not_found")
        assert record.container_name in document["detail"]

    def test_one_that_expired_is_gone_and_the_answer_says_why(self, client, services, problem):
        record = add(services, log_state=LogState.EXPIRED)
        document = problem(client.get(f"/invocations/{record.id}/logs"), 410, "log_expired")
        assert "for 14 days (RETAIN_LOGS_DAYS), up to 2048 MB together (LOGS_MAX_MB)" in document["detail"]
        assert document["invocation_id"] == record.id
        assert client.get(f"/invocations/{record.id}").get_json()["log_state"] == "expired"

    def test_one_that_expires_while_it_is_read_is_gone_too(self, client, services, monkeypatch, problem):
        record = add(services)

        def removed(*_, **__):
            services.store.records[record.id] = replace(record, log_state=LogState.EXPIRED)
            raise NotFound

        monkeypatch.setattr(services.logs, "read_part", removed)
        problem(client.get(f"/invocations/{record.id}/logs"), 410, "log_expired")

    def test_a_name_in_a_record_never_leads_out_of_the_folder(self, client, services, settings, problem):
        (settings.logs_dir.parent / "secret.log").write_text("secret")
        (settings.logs_dir / "link.log").symlink_to(settings.logs_dir.parent / "secret.log")
        record = add(services, container_name="link")
        problem(client.get(f"/invocations/{record.id}/logs"), 404, "not_found")

    def test_upper_case_ids_are_other_ids(self, client, services, problem):
        record = add(services, id=str(uuid.UUID(UNKNOWN)))
        problem(client.get(f"/invocations/{record.id.upper()}"), 404, "invocation_not_found")


class TestCancel:
    def test_it_works(self, client, services):
        record = add(services, status=Status.RUNNING, result=None, finished_at=None)
        response = client.post(f"/invocations/{record.id}/cancel")
        assert response.status_code == 200
        assert response.get_json()["status"] == "cancelled"
        assert client.post(f"/invocations/{record.id}/cancel").status_code == 200

    def test_too_late(self, client, record, problem):
        problem(client.post(f"/invocations/{record.id}/cancel"), 409, "already_ended")

    def test_unknown(self, client, problem):
        problem(client.post(f"/invocations/{UNKNOWN}/cancel"), 404, "invocation_not_found")


class TestReplay:
    def test_both_are_shown_side_by_side(self, client, services, record):
        response = client.post(f"/invocations/{record.id}/replay")
        assert response.status_code == 200
        both = response.get_json()
        assert both["original"]["invocation_id"] == both["replay"]["replay_of"] == record.id
        assert both["same_result"] is True
        assert response.headers["X-Invocation-Id"] == both["replay"]["invocation_id"]
        assert services.invoker.requests[0].source_hash == record.source_hash

    def test_against_today(self, client, services, record):
        services.invoker.result = "other"
        response = client.post(f"/invocations/{record.id}/replay", json={"against": "today"})
        assert response.get_json()["same_result"] is False
        assert services.invoker.requests[0].source_hash is None

    def test_in_the_background(self, client, record):
        response = client.post(f"/invocations/{record.id}/replay", headers={"Prefer": "respond-async"})
        assert response.status_code == 202
        both = response.get_json()
        assert both["same_result"] is None
        assert response.headers["Location"] == f"/invocations/{both['replay']['invocation_id']}"

    def test_what_it_does_not_know_is_refused(self, client, record, problem):
        response = client.post(f"/invocations/{record.id}/replay", json={"against": "yesterday"})
        assert problem(response, 400, "invalid_request")["errors"][0]["pointer"] == "/against"
        problem(client.post(f"/invocations/{UNKNOWN}/replay"), 404, "invocation_not_found")


def test_one_that_waits_in_the_record_says_its_place(client, services, monkeypatch):
    monkeypatch.setattr(services.pool, "position", lambda _: None, raising=False)
    record = add(services, status=Status.QUEUED, mode=Mode.ASYNC, result=None, finished_at=None, container_name=None)
    assert client.get(f"/invocations/{record.id}").get_json()["queue_position"] == 7
