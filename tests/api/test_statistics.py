"""``/statistics``: how invocations went."""

from datetime import timedelta

import pytest

from function_runner.errors import StoreUnavailable
from function_runner.invocation import Status, utc_now
from support.api import finished


@pytest.fixture
def records(services):
    minute_ago = utc_now() - timedelta(minutes=1)
    for changes in ({}, {"status": Status.FAILED}, {"function": "train"}):
        record = finished(created_at=minute_ago, finished_at=minute_ago, **changes)
        services.store.records[record.id] = record


@pytest.mark.usefixtures("records")
def test_it_works(client):
    answer = client.get("/statistics").get_json()
    assert (answer["window"], answer["function"], answer["bucket_seconds"]) == ("1h", None, 60)
    assert (answer["total"]["count"], answer["total"]["failures"]) == (3, 1)
    assert answer["total"]["statuses"] == {"succeeded": 2, "failed": 1}
    assert answer["total"]["starts"]["cold"]["count"] == 3
    assert answer["total"]["total_ms"]["p50"] == pytest.approx(452.1, rel=0.02)
    assert answer["total"]["run_ms"]["p95"] == pytest.approx(50, rel=0.02)
    assert [part["function"] for part in answer["functions"]] == ["echo", "train"]
    assert answer["open"] == {"queued": 0, "starting": 0, "running": 1}
    assert len(answer["buckets"]) == 60
    assert sum(bucket["count"] for bucket in answer["buckets"]) == 3
    assert answer["is_complete"]


@pytest.mark.usefixtures("records")
def test_one_function_and_another_window(client):
    answer = client.get("/statistics?window=7d&function=train").get_json()
    assert (answer["total"]["count"], answer["function"], len(answer["buckets"])) == (1, "train", 56)


@pytest.mark.parametrize("query", ["window=2h", "window=", "function=A%20B", "limit=1", "window=1h&window=7d"])
def test_a_query_that_is_not_understood_is_refused(client, problem, query):
    problem(client.get(f"/statistics?{query}"), 400, "invalid_request")


def test_the_record_being_away_is_told(client, services, problem):
    services.store.error = StoreUnavailable()
    problem(client.get("/statistics"), 503, "store_unavailable")
