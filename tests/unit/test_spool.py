"""Results on disk: complete or not there, readable by nobody else, left alone when they cannot be read."""

import stat

import pytest

from function_runner.invocation import Timings, new_invocation_id, utc_now
from function_runner.spool import KeptResult, NotKept, NotReadable, Spool


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path)


def kept_in(spool):
    return [spool.read(invocation_id) for invocation_id in spool.ids()]


def a_result(result=None):
    return KeptResult(new_invocation_id(), utc_now(), Timings(run_ms=1.5), result, {"run_id": "r"})


@pytest.mark.parametrize("result", [None, 1.5, "ä \u2028 \U0001f600", {"a": [1, {"b": False}]}, "x" * 6_000_000])
def test_it_comes_back_as_it_was(spool, result):
    kept = a_result(result)
    spool.keep(kept)
    assert kept_in(spool) == [kept]


def test_without_any_there_is_no_folder(spool, tmp_path):
    assert kept_in(spool) == []
    spool.forget(new_invocation_id())
    assert list(tmp_path.iterdir()) == []


def test_again_is_the_newer_one(spool):
    kept = a_result(1)
    spool.keep(kept)
    newer = KeptResult(kept.invocation_id, kept.finished_at, kept.timings, 2, None)
    spool.keep(newer)
    assert kept_in(spool) == [newer]


def test_what_is_forgotten_is_gone(spool):
    first, second = a_result(1), a_result(2)
    spool.keep(first)
    spool.keep(second)
    spool.forget(first.invocation_id)
    assert kept_in(spool) == [second]


def test_only_the_runner_may_read_it(spool, tmp_path):
    kept = a_result("secret")
    spool.keep(kept)
    folder = tmp_path / ".results"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / f"{kept.invocation_id}.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b'{"result": 1}', b"\xff", b"[]", b"null"])
def test_what_makes_no_sense_is_said_and_left(spool, tmp_path, caplog, content):
    kept = a_result(1)
    spool.keep(kept)
    broken = tmp_path / ".results" / "z.json"
    broken.write_bytes(content)
    assert kept_in(spool) == [kept, None]
    assert sum("unreadable" in entry.message for entry in caplog.records) == 1
    assert broken.exists()


def test_what_the_disk_does_not_give_may_be_read_later(spool, monkeypatch):
    kept = a_result(1)
    spool.keep(kept)

    def broken(_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.read_bytes", broken)
        with pytest.raises(NotReadable, match="Input/output error"):
            spool.read(kept.invocation_id)
    assert spool.read(kept.invocation_id) == kept


def test_what_was_recorded_meanwhile_is_not_there(spool):
    assert spool.read(new_invocation_id()) is None


def test_what_a_crash_left_half_written_is_removed_and_nothing_else(spool, tmp_path):
    spool.remove_unfinished()
    kept = a_result(1)
    spool.keep(kept)
    (tmp_path / ".results" / f"{new_invocation_id()}.part").write_bytes(b"{")
    assert kept_in(spool) == [kept]
    spool.remove_unfinished()
    assert [path.name for path in (tmp_path / ".results").iterdir()] == [f"{kept.invocation_id}.json"]


def test_a_folder_that_cannot_be_listed_may_hold_any(spool, monkeypatch):
    def refused(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.iterdir", refused)
    with pytest.raises(NotReadable, match="Permission denied"):
        spool.ids()


def test_a_disk_that_is_full_leaves_nothing_half_written(spool, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(NotKept, match="No space left"):
            spool.keep(a_result(1))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert kept_in(spool) == []


def test_a_folder_that_is_not_one(spool, tmp_path):
    (tmp_path / ".results").write_text("in the way")
    with pytest.raises(NotKept):
        spool.keep(a_result(1))
    assert kept_in(spool) == []
