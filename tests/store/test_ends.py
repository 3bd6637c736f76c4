"""What statistics read: each end once, in the order in which they ended."""

from datetime import timedelta

from function_runner.invocation import Start, Status, Timings, utc_now
from function_runner.statistics import Statistics


def test_it_works(record):
    first, second = record.start("echo"), record.start("train")
    record.mark_running(second, start=Start.WARM)
    record.finish(second, Status.FAILED, timings=Timings(run_ms=5.0, total_ms=7.0), error={"code": "x"})
    record.finish(first, Status.CANCELLED)
    failed, cancelled = record.store.ends(after=0, limit=10)
    assert (failed.function, failed.status, failed.start) == ("train", Status.FAILED, Start.WARM)
    assert (failed.run_ms, failed.total_ms) == (5.0, 7.0)
    assert failed.created_at == record.get(second).created_at
    assert abs(utc_now() - failed.at) < timedelta(minutes=1)
    assert (cancelled.status, cancelled.start, cancelled.total_ms) == (Status.CANCELLED, None, None)
    assert record.store.ends(after=failed.position, limit=10) == [cancelled]
    assert record.store.ends(after=0, limit=1) == [failed]
    assert record.store.ends(after=cancelled.position, limit=10) == []


def test_the_first_event_since_a_moment(record):
    assert record.store.first_event_since(utc_now() - timedelta(days=7)) is None
    record.run()
    assert record.store.first_event_since(utc_now() - timedelta(days=7)) == 1
    assert record.store.first_event_since(utc_now() + timedelta(minutes=1)) is None


def test_what_is_open_is_counted_by_status(record):
    record.run()
    record.start("echo")
    record.mark_running(record.start("train"))
    assert record.store.count_open() == {"queued": 1, "starting": 0, "running": 1}
    assert record.store.count_open("echo") == {"queued": 1, "starting": 0, "running": 0}
    assert record.store.count_open("nobody") == {"queued": 0, "starting": 0, "running": 0}


def test_statistics_of_a_real_record(record, monkeypatch):
    monkeypatch.setattr("function_runner.statistics.SETTLE_SECONDS", -60.0)
    monkeypatch.setattr("function_runner.statistics.KEEP_SECONDS", 0.0)
    statistics = Statistics(record.store)
    assert statistics.of("1h")["total"]["count"] == 0
    for _ in range(3):
        record.run(timings=Timings(run_ms=5.0, total_ms=7.0))
    record.run("train", Status.FAILED, error={"code": "x"})
    record.start()
    found = statistics.of("1h")
    assert found["total"]["statuses"] == {"succeeded": 3, "failed": 1}
    assert found["open"] == {"queued": 1, "starting": 0, "running": 0}
    record.run()
    assert statistics.of("7d", "echo")["total"]["count"] == 4
