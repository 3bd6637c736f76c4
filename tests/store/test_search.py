"""Finding records: by function and status, page by page, newest first."""

import base64
import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from function_runner.errors import InvalidRequest
from function_runner.invocation import Status


def pages(record, **query):
    """All pages, until the last."""
    found, before = record.store.search(**query)
    yield found
    while before is not None:
        found, before = record.store.search(**query, before=before)
        yield found


def test_it_works(record):
    ids = [record.start() for _ in range(5)]
    found = [[invocation.id for invocation in page] for page in pages(record, limit=2)]
    assert found == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]


def test_an_empty_record_has_one_empty_page(record):
    assert record.store.search() == ([], None)


def test_a_full_last_page_has_no_next(record):
    record.start()
    record.start()
    assert record.store.search(limit=2)[1] is None


def test_the_default_is_fifty(record):
    for _ in range(51):
        record.start()
    assert [len(page) for page in pages(record)] == [50, 1]


def test_by_function_and_status(record):
    train, _ = record.run("train"), record.run("predict")
    failed = record.run("train", Status.FAILED)
    waiting = record.start("train")

    def ids(**query):
        return [invocation.id for invocation in record.store.search(**query)[0]]

    assert ids(function="train") == [waiting, failed, train]
    assert ids(function="train", status=Status.FAILED) == [failed]
    assert ids(status="queued") == [waiting]
    assert ids(function="nobody") == []


def test_found_records_are_whole(record):
    invocation_id = record.run(result=[1], exit_code=3, mlflow={"run_id": "r"})
    [found], _ = record.store.search()
    assert found == record.get(invocation_id)
    assert found.exit_code == 3


def test_a_page_neither_repeats_nor_misses_when_others_are_accepted_meanwhile(record):
    old = [record.start() for _ in range(6)]
    seen = []
    for page in pages(record, limit=2):
        seen += [invocation.id for invocation in page]
        record.start()
    assert seen == list(reversed(old))


def test_a_page_stays_where_it_is_when_records_are_deleted(record):
    ids = [record.run() for _ in range(4)]
    _, before = record.store.search(limit=2)
    record.sql("DELETE FROM invocations WHERE id = ?", ids[2])
    assert [invocation.id for invocation in record.store.search(before=before)[0]] == [ids[1], ids[0]]


@pytest.mark.parametrize("cursor", ["", "?", "nonsense", "MQ==x", "LTE", "é", "A" * 10_000, base64.b64encode(b"1e9")])
def test_a_cursor_of_somebody_else_is_refused(record, cursor):
    cursor = cursor if isinstance(cursor, str) else cursor.decode()
    with pytest.raises(InvalidRequest) as refused:
        record.store.search(before=cursor)
    assert refused.value.errors[0].pointer == "/before"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cursor=st.text())
def test_any_text_is_a_cursor_or_is_refused(record, cursor):
    with contextlib.suppress(InvalidRequest):
        assert record.store.search(before=cursor) == ([], None)


def test_open_invocations_come_oldest_first(record):
    queued, starting, running = record.start(), record.start(), record.start()
    record.run()
    record.store.mark_starting(starting, container_name="echo-1")
    record.mark_running(running)
    assert [invocation.id for invocation in record.store.open_invocations()] == [queued, starting, running]


def test_every_status_is_counted(record):
    record.start()
    record.run()
    record.run()
    assert record.store.count_by_status() == {**dict.fromkeys(Status, 0), "queued": 1, "succeeded": 2}


@pytest.mark.parametrize(
    "where",
    ["function = 'train'", "status = 'failed'", "function = 'train' AND status = 'failed'"],
)
def test_listing_is_a_walk_along_an_index(record, where):
    """However many records there are, a page costs a page: nothing is sorted and no other row is read."""
    plan = record.sql(
        f"EXPLAIN QUERY PLAN SELECT * FROM invocations WHERE {where} AND sequence < 100 ORDER BY sequence DESC LIMIT 51"
    )
    steps = " ".join(step[3] for step in plan)
    assert "USING INDEX" in steps
    assert "TEMP B-TREE" not in steps
    assert "SCAN" not in steps


def test_a_page_of_large_results_ends_early(record, monkeypatch):
    monkeypatch.setattr("function_runner.store.PAGE_BYTES", 1000)
    large = [record.start() for _ in range(3)]
    for invocation_id in large:
        record.mark_running(invocation_id)
        record.finish(invocation_id, Status.SUCCEEDED, result="x" * 600)
    small = [record.start() for _ in range(3)]
    found = [[invocation.id for invocation in page] for page in pages(record, limit=10)]
    assert found == [[*reversed(small), large[2]], [large[1]], [large[0]]]
