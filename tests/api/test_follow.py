"""``/invocations/{id}/logs`` as ``text/event-stream``."""

import json
import threading
from dataclasses import replace
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import requests

from function_runner.errors import StoreUnavailable
from function_runner.invocation import LogState, Progress, Start, Status
from support.api import NOW, finished
from support.waiting import wait_until

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
def record(services):
    """One that has ended and whose log is complete."""
    record = finished(log_state=LogState.COMPLETE, progress=Progress(2, 3, "two", NOW))
    services.store.records[record.id] = record
    file = services.logs.create(record.container_name)
    file.write("grüße\n\rzwei".encode())
    file.close()
    return record


def events_of(response):
    """The events of a stream: id, kind, data."""
    assert response.content_type == "text/event-stream"
    blocks = response.data.decode().split("\n\n")
    assert blocks[0] == "retry: 2000"
    assert blocks[-1] == ""
    return [event_of(block) for block in blocks[1:-1]]


def event_of(block):
    identifier, kind, data = block.split("\n")
    return (
        identifier.removeprefix("id: "),
        kind.removeprefix("event: "),
        json.loads(data.removeprefix("data: ")),
    )


def test_it_works(client, record):
    response = client.get(f"/invocations/{record.id}/logs", headers=STREAM)
    assert response.status_code == 200
    assert response.headers["X-Invocation-Id"] == record.id
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.headers["Cache-Control"] == "no-store"
    status = {"status": "succeeded", "attempt": 1, "container_name": record.container_name}
    assert events_of(response) == [
        ("0", "status", status),
        ("0", "progress", {"done": 2, "total": 3, "message": "two", "at": "2026-01-31T12:34:56.789Z"}),
        ("13", "log", {"text": "grüße\n\nzwei"}),
        ("13", "end", {"status": "succeeded", "log_state": "complete"}),
    ]


@pytest.mark.parametrize(
    "accept",
    [None, "*/*", "text/plain", "application/json, text/plain;q=0.9", "text/*", "text/plain, text/event-stream"],
)
def test_text_unless_the_stream_is_asked_for(client, record, accept):
    response = client.get(f"/invocations/{record.id}/logs", headers={"Accept": accept} if accept else {})
    assert response.content_type == "text/plain; charset=utf-8"


@pytest.mark.parametrize("accept", ["text/event-stream", "text/event-stream, */*;q=0.1", "text/event-stream;q=1"])
def test_the_stream_for_who_asks(client, record, accept):
    response = client.get(f"/invocations/{record.id}/logs", headers={"Accept": accept})
    assert response.content_type == "text/event-stream"


class TestGoingOn:
    def test_by_header(self, client, record):
        response = client.get(f"/invocations/{record.id}/logs", headers={**STREAM, "Last-Event-ID": "9"})
        assert ("13", "log", {"text": "zwei"}) in events_of(response)

    def test_by_query(self, client, record):
        response = client.get(f"/invocations/{record.id}/logs?last_event_id=9", headers=STREAM)
        assert ("13", "log", {"text": "zwei"}) in events_of(response)

    def test_the_header_wins(self, client, record):
        address = f"/invocations/{record.id}/logs?last_event_id=0&tail=1"
        response = client.get(address, headers={**STREAM, "Last-Event-ID": "13"})
        assert "log" not in [kind for _, kind, _ in events_of(response)]

    def test_only_the_last_lines_at_first(self, client, record):
        response = client.get(f"/invocations/{record.id}/logs?tail=1", headers=STREAM)
        assert ("13", "log", {"text": "zwei"}) in events_of(response)

    @pytest.mark.parametrize("wanted", ["x", "-1", "1.5", "1:2:3", "9" * 30])
    def test_what_was_never_sent_is_refused(self, client, record, problem, wanted):
        address = f"/invocations/{record.id}/logs"
        problem(client.get(address, headers={**STREAM, "Last-Event-ID": wanted}), 400, "invalid_request")
        problem(client.get(f"{address}?last_event_id={wanted}", headers=STREAM), 400, "invalid_request")

    def test_text_has_no_events_to_go_on_from(self, client, record, problem):
        document = problem(client.get(f"/invocations/{record.id}/logs?last_event_id=1"), 400, "invalid_request")
        assert document["errors"] == [{"pointer": "/last_event_id", "detail": "needs Accept: text/event-stream"}]


def test_one_without_a_log_has_an_end_too(client, services):
    record = finished(status=Status.CANCELLED, container_name=None, log_state=None)
    services.store.records[record.id] = record
    events = events_of(client.get(f"/invocations/{record.id}/logs", headers=STREAM))
    assert [kind for _, kind, _ in events] == ["status", "end"]


def test_what_is_not_there_cannot_be_followed(client, services, problem):
    unknown = "0b6e7a52-95a0-4f0c-9d0e-5b2f6f6e7a11"
    problem(client.get(f"/invocations/{unknown}/logs", headers=STREAM), 404, "invocation_not_found")
    services.store.error = StoreUnavailable()
    problem(client.get(f"/invocations/{unknown}/logs", headers=STREAM), 503, "store_unavailable")


def test_the_text_of_a_reused_container_is_the_own_part(client, services, record):
    other = replace(record, id="0b6e7a52-95a0-4f0c-9d0e-5b2f6f6e7a11", start=Start.REUSED)
    services.store.records[other.id] = other
    assert client.get(f"/invocations/{other.id}/logs").text == ""


class TestLimit:
    """The fixture lets two follow."""

    @pytest.fixture
    def running(self, services):
        record = finished(status=Status.RUNNING, log_state=LogState.OPEN, finished_at=None)
        services.store.records[record.id] = record
        return record

    def test_one_too_many_is_refused(self, client, running, problem):
        address = f"/invocations/{running.id}/logs"
        following = [client.get(address, headers=STREAM) for _ in range(2)]
        refused = client.get(address, headers=STREAM)
        assert problem(refused, 503, "too_many_followers")["retry_after"] == 5
        assert refused.headers["Retry-After"] == "5"
        assert client.get("/health").status_code == 200
        following[0].close()  # never read from
        following.append(client.get(address, headers=STREAM))
        assert following[-1].status_code == 200
        for one in following:
            one.close()

    def test_asking_for_headers_only_takes_no_place(self, client, running):
        for _ in range(5):
            with client.head(f"/invocations/{running.id}/logs", headers=STREAM) as response:
                assert response.status_code == 200

    def test_after_closing_nobody_is_let_in(self, client, services, running, problem):
        services.followers.close()
        problem(client.get(f"/invocations/{running.id}/logs", headers=STREAM), 503, "draining")


def test_a_client_that_hung_up_gives_its_place_back(server, services, monkeypatch):
    monkeypatch.setattr("function_runner.followers.KEEP_ALIVE_SECONDS", 0.1)
    record = finished(status=Status.RUNNING, log_state=LogState.OPEN, finished_at=None)
    services.store.records[record.id] = record
    with requests.get(f"{server}/invocations/{record.id}/logs", headers=STREAM, stream=True, timeout=20) as response:
        assert next(response.iter_lines(chunk_size=1)).startswith(b"retry:")
        assert services.followers.count == 1
    wait_until(lambda: services.followers.count == 0)


class _Quiet(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(app):
    """The app behind a socket."""
    with make_server("127.0.0.1", 0, app, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_is_printed_arrives_while_it_runs(server, services):
    record = finished(status=Status.RUNNING, log_state=LogState.OPEN, finished_at=None)
    services.store.records[record.id] = record
    file = services.logs.create(record.container_name)
    with requests.get(f"{server}/invocations/{record.id}/logs", headers=STREAM, stream=True, timeout=20) as response:
        lines = (line for line in response.iter_lines(chunk_size=1, decode_unicode=True) if line.startswith("data: "))
        assert json.loads(next(lines)[6:])["status"] == "running"
        for word in ("one", "two"):
            file.write(f"{word}\n".encode())
            assert json.loads(next(lines)[6:]) == {"text": f"{word}\n"}
        file.close()
        services.store.records[record.id] = replace(record, status=Status.SUCCEEDED, log_state=LogState.COMPLETE)
        assert [json.loads(line[6:]) for line in lines][-1] == {"status": "succeeded", "log_state": "complete"}
    wait_until(lambda: services.followers.count == 0)
