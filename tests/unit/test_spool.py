"""Results on disk: complete or not there, readable by nobody else, left alone when they cannot be read."""

import stat

import pytest

from function_runner.invocation import Timings, new_invocation_id, utc_now
from function_runner.spool import KeptResult, NotKept, Spool


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path)


def a_result(result=None):
    return KeptResult(new_invocation_id(), utc_now(), Timings(run_ms=1.5), result, {"run_id": "r"})


@pytest.mark.parametrize("result", [None, 1.5, "ä \u2028 \U0001f600", {"a": [1, {"b": False}]}, "x" * 6_000_000])
def test_it_comes_back_as_it_was(spool, result):
    kept = a_result(result)
    spool.keep(kept)
    assert spool.kept() == [kept]


def test_without_any_there_is_no_folder(spool, tmp_path):
    assert spool.kept() == []
    spool.forget(new_invocation_id())
    assert list(tmp_path.iterdir()) == []


def test_again_is_the_newer_one(spool):
    kept = a_result(1)
    spool.keep(kept)
    newer = KeptResult(kept.invocation_id, kept.finished_at, kept.timings, 2, None)
    spool.keep(newer)
    assert spool.kept() == [newer]


def test_what_is_forgotten_is_gone(spool):
    first, second = a_result(1), a_result(2)
    spool.keep(first)
    spool.keep(second)
    spool.forget(first.invocation_id)
    assert spool.kept() == [second]


def test_only_the_runner_may_read_it(spool, tmp_path):
    kept = a_result("secret")
    spool.keep(kept)
    folder = tmp_path / ".results"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / f"{kept.invocation_id}.json").stat().st_mode) == 0o600


def test_what_cannot_be_read_is_said_and_left(spool, tmp_path, caplog):
    kept = a_result(1)
    spool.keep(kept)
    for name, content in (("a.json", b""), ("b.json", b'{"result": 1}'), ("c.json", b"\xff"), ("d.part", b"{")):
        (tmp_path / ".results" / name).write_bytes(content)
    assert spool.kept() == [kept]
    assert sum("unreadable" in entry.message for entry in caplog.records) == 3
    assert (tmp_path / ".results" / "a.json").exists()


def test_a_disk_that_is_full_leaves_nothing_half_written(spool, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(NotKept, match="No space left"):
            spool.keep(a_result(1))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert spool.kept() == []


def test_a_folder_that_is_not_one(spool, tmp_path):
    (tmp_path / ".results").write_text("in the way")
    with pytest.raises(NotKept):
        spool.keep(a_result(1))
    assert spool.kept() == []
