"""When a schedule is due: plain days, the two days on which the clock changes, and what is no schedule at all."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from function_runner.schedule import Schedule

BERLIN = ZoneInfo("Europe/Berlin")  # 29 March 2026: 2:00 -> 3:00; 25 October 2026: 3:00 -> 2:00


def times(cron, start, number, timezone="Europe/Berlin"):
    """The next times at which it is due, each looked for from the one before, as local time."""
    schedule, found, moment = Schedule(cron=cron, timezone=timezone), [], start
    for _ in range(number):
        moment = schedule.next_after(moment)
        found.append(moment.astimezone(ZoneInfo(timezone)).strftime("%d %H:%M:%S %Z"))
    return found


def test_it_works():
    schedule = Schedule(cron="0 3 * * *")
    assert schedule.next_after(datetime(2026, 1, 31, 3, 0, tzinfo=UTC)) == datetime(2026, 2, 1, 3, 0, tzinfo=UTC)
    assert schedule.next_after(datetime(2026, 1, 31, 2, 59, 59, 999999, tzinfo=UTC)).day == 31
    assert (schedule.name, schedule.timezone, schedule.overlap, schedule.parameters) == ("default", "UTC", "forbid", {})


def test_a_time_is_one_of_its_zone():
    due = Schedule(cron="0 3 * * *", timezone="Europe/Berlin").next_after(datetime(2026, 7, 1, tzinfo=UTC))
    assert due == datetime(2026, 7, 1, 1, 0, tzinfo=UTC)


def test_a_time_that_is_skipped_in_spring_is_made_up_for_when_the_clock_has_jumped():
    assert times("30 2 * * *", datetime(2026, 3, 28, 0, 0, tzinfo=BERLIN), 3) == [
        "28 02:30:00 CET",
        "29 03:00:00 CEST",
        "30 02:30:00 CEST",
    ]


def test_a_time_that_comes_twice_in_autumn_counts_once():
    assert times("30 2 * * *", datetime(2026, 10, 24, 12, 0, tzinfo=BERLIN), 3) == [
        "25 02:30:00 CEST",
        "26 02:30:00 CET",
        "27 02:30:00 CET",
    ]


def test_what_is_looked_for_in_the_second_passage_of_that_hour_is_not_in_the_past():
    between = datetime(2026, 10, 25, 2, 15, fold=1, tzinfo=BERLIN)
    due = Schedule(cron="30 2 * * *", timezone="Europe/Berlin").next_after(between.astimezone(UTC))
    assert due == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_what_is_due_all_the_time_follows_real_time():
    assert times("*/30 * * * *", datetime(2026, 10, 25, 2, 0, tzinfo=BERLIN), 4) == [
        "25 02:30:00 CEST",
        "25 02:00:00 CET",
        "25 02:30:00 CET",
        "25 03:00:00 CET",
    ]
    assert times("*/30 * * * *", datetime(2026, 3, 29, 1, 0, tzinfo=BERLIN), 3) == [
        "29 01:30:00 CET",
        "29 03:00:00 CEST",
        "29 03:30:00 CEST",
    ]


def test_seconds_may_stand_in_front():
    assert times("*/20 * * * * *", datetime(2026, 1, 1, 0, 0, 15, tzinfo=UTC), 3, "UTC") == [
        "01 00:00:20 UTC",
        "01 00:00:40 UTC",
        "01 00:01:00 UTC",
    ]


@pytest.mark.parametrize(
    ("cron", "first", "now", "latest"),
    [
        ("0 3 * * *", "2026-01-01T03:00", "2026-01-01T03:00", "2026-01-01T03:00"),
        ("0 3 * * *", "2026-01-01T03:00", "2026-01-09T02:59", "2026-01-08T03:00"),
        ("0 3 * * *", "2026-01-01T03:00", "2026-01-09T03:00", "2026-01-09T03:00"),
        ("* * * * *", "2026-01-01T03:00", "2036-01-09T03:00:59", "2036-01-09T03:00"),
        ("* * * * * *", "2016-01-01T03:00", "2026-01-09T03:00:59.5", "2026-01-09T03:00:59"),
    ],
)
def test_the_latest_time_of_many(cron, first, now, latest):
    schedule = Schedule(cron=cron)
    found = schedule.latest(*(datetime.fromisoformat(moment).replace(tzinfo=UTC) for moment in (first, now)))
    assert found == datetime.fromisoformat(latest).replace(tzinfo=UTC)


@pytest.mark.parametrize("day", [28, 29, 30])
@pytest.mark.parametrize("month", [3, 10])
def test_the_latest_time_is_never_in_the_future_nor_before_the_first(month, day):
    schedule = Schedule(cron="30 2 * * *", timezone="Europe/Berlin")
    start = datetime(2026, month, day - 4, tzinfo=UTC)
    first = schedule.next_after(start)
    for minutes in range(0, 3 * 24 * 60, 7):
        now = first + timedelta(minutes=minutes)
        latest = schedule.latest(first, now)
        assert first <= latest <= now
        assert schedule.next_after(latest) > now  # so nothing is due twice


def test_another_way_to_write_the_same_is_the_same():
    one, other = Schedule(cron="0 3 * * mon", overlap="allow"), Schedule(cron=" 0  3 * * MON ", parameters={"a": 1})
    assert one.timing == other.timing
    assert one.timing != Schedule(cron="0 3 * * mon", timezone="Europe/Berlin").timing


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({}, "Field required"),
        ({"cron": "0 25 * * *"}, "'0 25 \\* \\* \\*' is not a cron expression .*: Bad hour"),
        ({"cron": "0 3 * *"}, "Wrong number of fields"),
        ({"cron": ""}, "Wrong number of fields"),
        ({"cron": "@daily"}, "Wrong number of fields"),
        ({"cron": "0 0 31 2 *"}, "Bad day-of-month"),
        ({"cron": "0 0 * * " + "1," * 200 + "1"}, "at most 100"),
        ({"cron": "9" * 99 + " * * * *"}, "at most 100"),
        ({"cron": 5}, "string"),
        ({"cron": "0 3 * * *", "timezone": "Berlin"}, "'Berlin' is not a time zone"),
        ({"cron": "0 3 * * *", "timezone": ""}, "is not a time zone"),
        ({"cron": "0 3 * * *", "timezone": "Europe"}, "is not a time zone"),
        ({"cron": "0 3 * * *", "timezone": "../../etc/passwd"}, "is not a time zone"),
        ({"cron": "0 3 * * *", "timezone": "a\0b"}, "is not a time zone"),
        ({"cron": "0 3 * * *", "overlap": "maybe"}, "'forbid' or 'allow'"),
        ({"cron": "0 3 * * *", "name": "Night"}, "pattern"),
        ({"cron": "0 3 * * *", "every": 1}, "Extra inputs"),
        ({"cron": "0 3 * * *", "parameters": {"day": date(2026, 1, 1)}}, "must be plain JSON"),
        ({"cron": "0 3 * * *", "parameters": {"n": float("nan")}}, "must be plain JSON"),
        ({"cron": "0 3 * * *", "parameters": []}, "dictionary|mapping"),
    ],
)
def test_what_is_no_schedule_is_refused_with_the_reason(said, complaint):
    with pytest.raises(ValidationError, match=complaint):
        Schedule.model_validate(said)
