"""Finding records: by function and status, page by page, newest first."""

import base64
import contextlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from function_runner.errors import InvalidRequest
from function_runner.invocation import Mention, Start, Status
from function_runner.store import Wanted


def pages(record, wanted=None, **query):
    """All pages, until the last."""
    found, before = record.store.search(wanted, **query)
    yield found
    while before is not None:
        found, before = record.store.search(wanted, **query, before=before)
        yield found


def ids(record, **wanted):
    """What is found on all pages."""
    return [invocation.id for page in pages(record, Wanted(**wanted)) for invocation in page]


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

    assert ids(record, function="train") == [waiting, failed, train]
    assert ids(record, function="train", statuses=[Status.FAILED]) == [failed]
    assert ids(record, statuses=[Status.QUEUED]) == [waiting]
    assert ids(record, function="nobody") == []


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


def plans(record, wanted):
    """How SQLite finds the records of a page after the first: the steps of each statement."""
    statements = []
    _, before = record.store.search(limit=1)

    def note(connection, cursor, statement, parameters, context, executemany):
        statements.append((statement, parameters))

    event.listen(record.store._reader, "before_cursor_execute", note)
    record.store.search(wanted, before=before)
    event.remove(record.store._reader, "before_cursor_execute", note)
    for statement, parameters in statements:
        if statement.startswith("SELECT"):
            yield [step[3] for step in record.sql(f"EXPLAIN QUERY PLAN {statement}", *parameters)]


NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
LISTINGS = {
    "nothing": (Wanted(), None),
    "function": (Wanted(function="a"), "ix_invocations_function_sequence"),
    "status": (Wanted(statuses=[Status.FAILED]), "ix_invocations_status_sequence"),
    "statuses": (Wanted(statuses=[Status.FAILED, Status.LOST]), "ix_invocations_status_sequence"),
    "function and statuses": (
        Wanted(function="a", statuses=[Status.FAILED, Status.LOST]),
        "ix_invocations_function_status_sequence",
    ),
    "time": (Wanted(since=NOON, until=NOON), None),
    "function and time": (Wanted(function="a", since=NOON), "ix_invocations_function_sequence"),
    "start": (Wanted(start=Start.COLD), None),
    "model": (Wanted(model_name="m"), "ix_invocations_model_name_sequence_model_version"),
    "version": (Wanted(model_name="m", model_version="1"), "ix_invocations_model_name_sequence_model_version"),
    "run": (Wanted(run_id="r", function="a"), "ix_invocations_mlflow_run_id"),
    "text": (Wanted(text="x"), None),
    "everything": (
        Wanted("a", [Status.FAILED, Status.LOST], Start.COLD, NOON, NOON, "x", "m", "1"),
        "ix_invocations_model_name_sequence_model_version",
    ),
    "users": (
        Wanted(model_name="m", model_version="1", not_run_id="r", finished_since=NOON),
        "ix_invocations_model_name_sequence_model_version",
    ),
}


@pytest.mark.parametrize(("wanted", "index"), LISTINGS.values(), ids=LISTINGS)
def test_listing_is_a_walk_along_an_index(record, wanted, index):
    """However many records there are, a page costs a page: nothing is sorted, and no other row is read."""
    record.start()
    record.start()
    found = list(plans(record, wanted))
    assert found
    steps = [step for plan in found for step in plan]
    assert index is None or any(f"INDEX {index} " in step for step in steps), steps
    assert not any("SCAN invocations" in step for step in steps), steps
    for plan in found:
        # Where branches are merged, what each gives for this page is sorted.
        assert "TEMP B-TREE" not in " ".join(plan) or "MERGE (UNION ALL)" in plan, plan


def test_a_page_of_large_results_ends_early(record, monkeypatch):
    monkeypatch.setattr("function_runner.store.record.PAGE_BYTES", 1000)
    large = [record.start() for _ in range(3)]
    for invocation_id in large:
        record.mark_running(invocation_id)
        record.finish(invocation_id, Status.SUCCEEDED, result="x" * 600)
    small = [record.start() for _ in range(3)]
    found = [[invocation.id for invocation in page] for page in pages(record, limit=10)]
    assert found == [[*reversed(small), large[2]], [large[1]], [large[0]]]


def add(record, minutes=0, *, function="echo", status=Status.SUCCEEDED, start=Start.COLD, parameters=None, **outcome):
    """A whole invocation, accepted so many minutes after noon. Returns its id."""
    accepted = NOON + timedelta(minutes=minutes)
    invocation_id = record.start(function, parameters, accepted_at=accepted)
    if not status.is_terminal:
        return invocation_id
    assert record.mark_running(invocation_id, f"{function}-{minutes:012x}", start)
    assert record.finish(invocation_id, status, finished_at=accepted + timedelta(seconds=1), **outcome)
    return invocation_id


@pytest.fixture
def small_steps(monkeypatch):
    """Every search is broken off after the first portion, and portions are small."""
    monkeypatch.setattr("function_runner.store.search.LOOKED_AT_FIRST", 2)
    monkeypatch.setattr("function_runner.store.search.LOOKED_AT_ONCE", 2)
    monkeypatch.setattr("function_runner.store.search.FILTER_SECONDS", 0.0)
    monkeypatch.setattr("function_runner.store.search.TEXT_SECONDS", 0.0)


class TestTime:
    def test_from_a_moment_on_and_before_another_one(self, record):
        found = [add(record, minutes) for minutes in range(0, 60, 10)]
        assert ids(record, since=NOON + timedelta(minutes=20)) == found[:1:-1]
        assert ids(record, until=NOON + timedelta(minutes=20)) == found[1::-1]
        assert ids(record, since=NOON + timedelta(minutes=20), until=NOON + timedelta(minutes=40)) == found[3:1:-1]
        assert ids(record, since=NOON + timedelta(hours=2)) == ids(record, until=NOON) == []

    def test_an_empty_record_has_no_time(self, record):
        assert ids(record, since=NOON, until=NOON + timedelta(days=1)) == []

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_times_need_not_follow_the_order_of_acceptance_exactly(self, record, data):
        jitter = st.lists(st.floats(-25, 25), min_size=1, max_size=30)
        began = record.store.search(limit=1)[0]
        offset = (began[0].created_at - NOON).total_seconds() + 500 if began else 0
        accepted = {
            record.start(accepted_at=NOON + timedelta(seconds=offset + 20 * number + seconds)): None
            for number, seconds in enumerate(data.draw(jitter))
        }
        everything = {one: record.get(one).created_at for one in accepted}
        since = data.draw(st.sampled_from(sorted(everything.values())))
        until = data.draw(st.sampled_from(sorted(everything.values()))) + timedelta(microseconds=1)
        expected = [one for one, at in reversed(everything.items()) if since <= at < until]
        assert ids(record, since=since, until=until) == expected

    def test_records_that_were_deleted_leave_gaps_and_nothing_else(self, record):
        found = [add(record, minutes) for minutes in range(0, 200, 10)]
        for invocation_id in [*found[:5], *found[7:12]]:
            record.sql("DELETE FROM invocations WHERE id = ?", invocation_id)
        assert ids(record, since=NOON + timedelta(minutes=60), until=NOON + timedelta(minutes=130)) == [
            found[12],
            found[6],
        ]


class TestText:
    @pytest.mark.parametrize(
        "text",
        [
            "needle",
            "NEEDLE",
            "edl",
            "100%",
            "a_b",
            "back\\slash",
            'say "hi"',
            "it's",
            "über",
            "ÜBER",
            "𝄞",
            "/",
            '"key":',
            "\n",
            "; DROP TABLE invocations",
        ],
    )
    def test_wherever_it_stands(self, record, text):
        add(record, parameters={"word": "nothing of it", "more": "100 a.b backslash nothing"}, result="x")
        value = f"..{text}.."
        spelled = {"key": 1} if text == '"key":' else {"a": [value]}
        found = [
            add(record, 1, parameters=spelled),
            add(record, 2, result=spelled),
            add(record, 3, status=Status.FAILED, error={"message": value, "key": 1}),
        ]
        assert ids(record, text=text) == found[::-1]

    def test_the_beginning_of_an_id(self, record):
        invocation_id, *_ = [add(record, minutes) for minutes in range(3)]
        assert ids(record, text=invocation_id[:13]) == ids(record, text=invocation_id[:13].upper()) == [invocation_id]
        assert ids(record, text=invocation_id[10:20]) == []

    def test_a_name_or_a_caller(self, record):
        named, called = add(record, 10), record.start(caller="192.0.2.7")
        assert ids(record, text="o-00000000000a") == [named]
        assert ids(record, text="192.0.2") == [called]

    def test_a_whole_id_or_name_finds_nothing_else(self, record):
        one = add(record, 1)
        add(record, 2, parameters={"of": one, "in": "echo-000000000001"})
        assert ids(record, text=one) == ids(record, text="echo-000000000001") == [one]
        assert ids(record, text=one, function="other") == []
        assert ids(record, text="00000000-0000-4000-8000-000000000000") == []

    def test_an_id_that_is_not_ours_is_a_text_like_any_other(self, record):
        order = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
        assert ids(record, text=order) == []
        invocation_id = add(record, parameters={"order": order})
        assert ids(record, text=order) == [invocation_id]


class TestModels:
    @pytest.fixture
    def made(self, record):
        """Two versions, made and used; and the first one again, after the model was deleted."""
        version = {"model_name": "iris", "model_version": "1"}
        return {
            "made": add(record, 0, function="train", mlflow={**version, "run_id": "r1"}),
            "used": add(record, 1, mlflow=version),
            "evaluated": add(record, 2, mlflow={**version, "run_id": "another run of its own"}),
            "second": add(record, 3, function="train", mlflow={**version, "model_version": "2", "run_id": "r2"}),
            "other": add(record, 4, mlflow={"model_name": "wine", "model_version": "1"}),
            "anew": add(record, 5, function="train", mlflow={**version, "run_id": "r3"}),
            "used_anew": add(record, 6, mlflow=version),
        }

    def test_by_model_version_and_run(self, record, made):
        assert ids(record, model_name="wine") == [made["other"]]
        assert ids(record, model_name="iris", model_version="2") == [made["second"]]
        assert ids(record, model_name="iris", function="train") == [made["anew"], made["second"], made["made"]]
        assert ids(record, run_id="r1") == [made["made"]]
        assert ids(record, run_id="r1", function="echo") == ids(record, model_name="iri") == []

    def test_those_that_used_a_version_did_not_make_it(self, record, made):
        of_first = {"model_name": "iris", "model_version": "1"}
        before = NOON + timedelta(minutes=5)
        assert ids(record, **of_first, not_run_id="r3", finished_since=before) == [made["used_anew"]]
        assert ids(record, **of_first, not_run_id="r1", until=before) == [made["evaluated"], made["used"]]

    def test_what_records_say_of_models(self, record, made):
        mentions = record.store.mentions(ids=[made["used"], "nobody", made["made"]], run_ids=["r1", "r3", "nobody"])
        assert [mention.id for mention in mentions] == [made["made"], made["used"], made["anew"]]
        assert mentions[0] == Mention(made["made"], "train", Status.SUCCEEDED, NOON, "r1", "iris", "1")
        assert record.store.mentions(ids=[], run_ids=[]) == []


FILTERS = {
    "function": st.sampled_from(["a", "b", "c"]),
    "statuses": st.lists(st.sampled_from([Status.QUEUED, Status.SUCCEEDED, Status.FAILED, Status.LOST]), max_size=3),
    "start": st.sampled_from(Start),
    "since": st.integers(0, 40).map(lambda minutes: NOON + timedelta(minutes=minutes)),
    "until": st.integers(0, 40).map(lambda minutes: NOON + timedelta(minutes=minutes)),
    "text": st.sampled_from(["n1", "N2", "nobody"]),
    "model_name": st.sampled_from(["x", "y"]),
    "run_id": st.sampled_from(["r1", "r2", "r3"]),
}


@pytest.mark.parametrize("how", ["at_once", "in_small_steps"])
def test_any_filters_together_find_what_fits_all_of_them(record, request, how):
    if how == "in_small_steps":
        request.getfixturevalue("small_steps")
    for minutes in range(40):
        names = {"model_name": "xy"[minutes % 2], "model_version": str(minutes % 3)} if minutes % 5 else None
        add(
            record,
            minutes,
            function="ab"[minutes % 7 < 2],
            status=[Status.SUCCEEDED, Status.SUCCEEDED, Status.FAILED, Status.QUEUED][minutes % 4],
            start=[Start.COLD, Start.WARM][minutes % 3 == 0],
            parameters={"n": f"n{minutes}"},
            mlflow=names and {**names, "run_id": f"r{minutes % 6}"},
        )
    everything, _ = record.store.search(limit=100)

    def fits(found, wanted):
        mlflow = found.mlflow or {}
        return (
            wanted.function in (None, found.function)
            and (not wanted.statuses or found.status in wanted.statuses)
            and wanted.start in (None, found.start)
            and (wanted.since is None or found.created_at >= wanted.since)
            and (wanted.until is None or found.created_at < wanted.until)
            and (wanted.text is None or wanted.text.lower() in json.dumps(found.parameters))
            and wanted.model_name in (None, mlflow.get("model_name"))
            and wanted.run_id in (None, mlflow.get("run_id"))
        )

    @settings(max_examples=80, deadline=None)
    @given(filters=st.fixed_dictionaries({}, optional=FILTERS), limit=st.integers(1, 10))
    def check(filters, limit):
        wanted = Wanted(**filters)
        found = list(pages(record, wanted, limit=limit))
        assert [one.id for page in found for one in page] == [one.id for one in everything if fits(one, wanted)]
        assert max(map(len, found)) <= limit

    check()


def test_a_search_that_takes_long_is_broken_off_and_goes_on_from_there(record, small_steps):
    old, *_ = [add(record, minutes, parameters={"n": minutes}) for minutes in range(9)]
    found = list(pages(record, Wanted(text='"n":0}')))
    assert [len(page) for page in found] == [0, 0, 0, 0, 1]
    assert found[-1][0].id == old


def test_a_filtered_page_neither_repeats_nor_misses_when_others_are_accepted_meanwhile(record, small_steps):
    old = [add(record, minutes, start=[Start.COLD, Start.WARM][minutes % 2]) for minutes in range(10)]
    seen = []
    for page in pages(record, Wanted(start=Start.WARM), limit=2):
        seen += [invocation.id for invocation in page]
        add(record, 20, start=Start.WARM)
    assert seen == old[::-2]


def test_the_states_an_invocation_went_through(record):
    invocation_id = record.start()
    record.store.mark_starting(invocation_id, container_name="echo-1")
    record.store.mark_starting(invocation_id, container_name="echo-2")
    record.mark_running(invocation_id, "echo-2")
    record.finish(invocation_id)
    events = record.store.events(invocation_id)
    assert [(event.status, event.attempt) for event in events] == [
        (Status.QUEUED, 1),
        (Status.STARTING, 1),
        (Status.STARTING, 2),
        (Status.RUNNING, 2),
        (Status.SUCCEEDED, 2),
    ]
    moments = [event.at for event in events]
    assert moments == sorted(moments)
    assert moments[0].tzinfo is UTC
    assert record.store.events("nobody") == []
