"""Log files: what is printed is kept as it came, up to the cap; nothing a container does reaches beyond its file."""

import errno
import hashlib
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from function_runner.errors import DiskFull, LogsUnavailable, NotFound
from function_runner.invocation import LogState
from function_runner.logs import BLOCK, LogStore, missing_output, start_line

NAME = "echo-0123456789ab"
BAD_NAMES = ["", ".", "..", "../passwd", "/etc/passwd", "a/b", "a.b", ".hidden", "-a", "a\x00b", "a\n", "ä", "a" * 129]


@pytest.fixture
def logs(tmp_path):
    return LogStore(tmp_path, max_bytes=1000)


@pytest.fixture
def full_disk(monkeypatch):
    """A function that says how many more bytes fit; until it is called, all do."""
    real, room = os.write, None

    def write(descriptor, data):
        nonlocal room
        if room is None:
            return real(descriptor, data)
        if room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real(descriptor, data[:room])
        room -= written
        return written

    def leave(size):
        nonlocal room
        room = size

    monkeypatch.setattr(os, "write", write)
    return leave


def published(logs, name=NAME):
    """The log file of a container that has an invocation."""
    file = logs.create(name)
    logs.publish(name)
    return file


def written(logs, *chunks, name=NAME):
    """What a file holds after these chunks; text is a line of the platform, bytes are output."""
    file = published(logs, name)
    for chunk in chunks:
        file.write(chunk) if isinstance(chunk, bytes) else file.write_line(chunk)
    file.close()
    return logs.read(name)


def test_it_works(logs, tmp_path):
    file = published(logs)
    file.write(b"importing\n")
    file.write_line("START RequestId: 1 Version: 5")
    file.write(b"hello\n")
    file.write_line("END RequestId: 1")
    summary = file.close()
    content = b"importing\nSTART RequestId: 1 Version: 5\nhello\nEND RequestId: 1\n"
    assert (tmp_path / f"{NAME}.log").read_bytes() == logs.read(NAME) == content
    assert summary.state is LogState.COMPLETE
    assert summary.bytes == len(content)
    assert summary.sha256 == hashlib.sha256(content).hexdigest()
    assert summary.problem is None


def test_output_is_there_as_soon_as_it_was_written(logs):
    file = logs.create(NAME)
    assert logs.read(NAME) == b""
    file.write(b"half a li")
    assert logs.read(NAME) == b"half a li"
    file.close()


def test_any_bytes_are_kept_as_they_came(logs):
    data = bytes(set(range(256)) - {13}) * 3
    assert written(logs, data) == data


def test_a_line_of_the_platform_stands_on_a_line_of_its_own(logs):
    assert written(logs, b"no end of line", "END", b"more", "REPORT\tDuration: 1 ms") == (
        b"no end of line\nEND\nmore\nREPORT\tDuration: 1 ms\n"
    )


def test_a_line_of_the_platform_is_one_line(logs):
    assert written(logs, "[The build failed:\nno\r\nspace]") == b"[The build failed: no space]\n"


def test_a_line_of_the_platform_takes_any_text(logs):
    assert written(logs, "é \ud800") == "é \\ud800\n".encode()


def test_a_line_that_was_begun_is_waited_for(logs):
    file = logs.create(NAME)
    file.write(b"echo ")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(file.wait_for_line_end, 20)
        file.write(b"1")
        time.sleep(0.05)
        assert not waiting.done()
        file.write(b"\n")
        waiting.result(15)
    begun = time.monotonic()
    file.wait_for_line_end(20)
    file.write(b"no end")
    file.wait_for_line_end(0.05)
    file.write(b"x" * 2000)
    file.wait_for_line_end(20)  # over the cap: its end will not be written
    file.close()
    file.wait_for_line_end(20)
    assert 0.05 <= time.monotonic() - begun < 15


# --- carriage returns -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "kept"),
    [
        ([b"Traceback\r  File\rError\n"], b"Traceback\n  File\nError\n"),
        ([b"a\r\nb\r\n"], b"a\r\nb\r\n"),
        ([b"a\r", b"\nb"], b"a\r\nb"),
        ([b"a\r", b"b"], b"a\nb"),
        ([b"a\r", b"\r", b"\n"], b"a\n\r\n"),
        ([b"a\r"], b"a\n"),
        ([b"a\r", "END"], b"a\nEND\n"),
        ([b"\r"], b"\n"),
    ],
)
def test_a_carriage_return_without_a_line_end_becomes_one(logs, chunks, kept):
    assert written(logs, *chunks) == kept


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks=st.lists(st.binary(max_size=5) | st.text("\r\na", max_size=5).map(str.encode), max_size=8))
def test_how_output_is_cut_into_chunks_makes_no_difference(logs, tmp_path, chunks):
    one, other = f"a{time.monotonic_ns()}", f"b{time.monotonic_ns()}"
    assert written(logs, *chunks, name=one) == written(logs, b"".join(chunks), name=other)


# --- the cap ----------------------------------------------------------------------------------------------------------


def test_output_over_the_cap_is_counted_and_the_file_says_so(logs):
    file = logs.create(NAME)
    file.write_line("START")
    file.write(b"x" * 900)
    file.write(b"y" * 900)
    file.write(b"z" * 900)
    file.write_line("END")
    summary = file.close()
    assert logs.read(NAME) == (
        b"START\n" + b"x" * 900 + b"y" * 100 + b"\n"
        b"[output truncated: 1700 more bytes were discarded after the first 1000]\nEND\n"
    )
    assert summary.state is LogState.TRUNCATED
    assert summary.bytes == len(logs.read(NAME))
    assert summary.sha256 == hashlib.sha256(logs.read(NAME)).hexdigest()


def test_exactly_the_cap_is_not_over_it(logs):
    file = logs.create(NAME)
    file.write(b"x" * 1000)
    assert file.close().state is LogState.COMPLETE
    assert logs.read(NAME) == b"x" * 1000


def test_a_file_that_ends_over_the_cap_says_so_too(logs):
    assert written(logs, b"x" * 1001).endswith(
        b"x\n[output truncated: 1 more bytes were discarded after the first 1000]\n"
    )


def test_lines_of_the_platform_do_not_count(logs):
    content = written(logs, *["LINE"] * 500, b"x" * 1000, *["LINE"] * 500)
    assert content == b"LINE\n" * 500 + b"x" * 1000 + b"\n" + b"LINE\n" * 500


# --- a disk that is full ----------------------------------------------------------------------------------------------


def test_a_full_disk_costs_output_and_nothing_else(logs, full_disk):
    file = logs.create(NAME)
    file.write(b"before\n")
    full_disk(5)
    file.write(b"during, and much more\n")
    file.write(b"still\n")
    file.write_line("END")
    summary = file.close()
    assert logs.read(NAME) == b"before\ndurin"
    assert summary.state is LogState.PARTIAL
    assert summary.problem == "No space left on device"
    assert summary.bytes == 12
    assert summary.sha256 == hashlib.sha256(b"before\ndurin").hexdigest()


def test_when_there_is_room_again_the_file_says_what_is_missing(logs, full_disk):
    file = logs.create(NAME)
    full_disk(0)
    file.write(b"lost\n")
    full_disk(None)
    file.write(b"late\n")
    file.write_line("END")
    assert file.close().state is LogState.PARTIAL
    assert logs.read(NAME) == b"[output lost: 10 bytes could not be written: No space left on device]\nEND\n"


def test_a_disk_that_fails_at_the_end_is_told(logs, monkeypatch):
    file = logs.create(NAME)
    file.write(b"hello\n")

    def fail(_descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    summary = file.close()
    assert (summary.state, summary.problem) == (LogState.PARTIAL, "Input/output error")


# --- the end of a file ------------------------------------------------------------------------------------------------


def test_closing_twice_says_the_same(logs):
    file = logs.create(NAME)
    file.write(b"hello\n")
    assert file.close() == file.close()
    assert file.is_closed


def test_what_comes_after_the_end_is_dropped(logs):
    file = logs.create(NAME)
    file.write(b"hello\n")
    summary = file.close()
    file.write(b"late\n")
    file.write_line("LATE")
    assert logs.read(NAME) == b"hello\n"
    assert file.close() == summary


def test_lines_of_many_threads_do_not_mix(tmp_path):
    file = published(LogStore(tmp_path, max_bytes=10**6))

    def output():
        for _ in range(200):
            file.write(b"o" * 50)

    def lines():
        for _ in range(200):
            file.write_line("LINE " + "l" * 50)

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(work) for work in (output, lines, output, lines)]:
            future.result()
    summary = file.close()
    content = (tmp_path / f"{NAME}.log").read_bytes()
    found = content.split(b"\n")
    assert found.count(b"LINE " + b"l" * 50) == 400
    assert sum(line.count(b"o") for line in found if not line.startswith(b"LINE")) == 20_000
    assert all(set(line) <= {ord("o")} for line in found if not line.startswith(b"LINE"))
    assert summary.sha256 == hashlib.sha256(content).hexdigest()


# --- making files -----------------------------------------------------------------------------------------------------


def test_a_log_is_not_for_everybody_to_read(logs, tmp_path):
    published(logs).close()
    assert stat.S_IMODE((tmp_path / f"{NAME}.log").stat().st_mode) & 0o137 == 0


def test_a_name_is_used_once(logs):
    logs.create(NAME).close()
    with pytest.raises(LogsUnavailable, match="File exists"):
        logs.create(NAME)


def test_a_link_is_not_followed_when_making_a_file(logs, tmp_path):
    (tmp_path / f"{NAME}.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LogsUnavailable, match="File exists"):
        published(logs)
    assert not (tmp_path / "elsewhere").exists()


def test_a_log_is_aside_until_its_container_has_an_invocation(logs, tmp_path):
    file = logs.create(NAME)
    file.write(b"loading\n")
    assert not (tmp_path / f"{NAME}.log").exists()
    assert logs.read(NAME) == b"loading\n"
    for _ in range(2):
        logs.publish(NAME)
    file.write(b"serving\n")
    assert (tmp_path / f"{NAME}.log").read_bytes() == b"loading\nserving\n"
    assert list((tmp_path / ".ready").iterdir()) == []


def test_a_container_without_an_invocation_leaves_no_log(logs, tmp_path):
    for name in (NAME, "echo-000000000000", "echo-111111111111"):
        logs.create(name).close()
    logs.forget(NAME)
    with pytest.raises(NotFound):
        logs.read(NAME)
    logs.forget(NAME)
    logs.publish("echo-000000000000")
    assert logs.unused() == ["echo-111111111111"]
    logs.forget("echo-111111111111")
    assert logs.unused() == []
    assert [path.name for path in tmp_path.rglob("*.log")] == ["echo-000000000000.log"]


def test_a_log_that_somebody_removed_is_missed(logs, tmp_path):
    file = logs.create(NAME)
    file.write(b"loading\n")
    logs.forget(NAME)
    with pytest.raises(LogsUnavailable, match="cannot be put into its place: No such file"):
        logs.publish(NAME)
    assert file.end_part().state is LogState.MISSING
    assert file.close().state is LogState.MISSING
    file = published(logs)
    (tmp_path / f"{NAME}.log").unlink()
    assert file.close().state is LogState.MISSING


def test_a_log_of_several_invocations_is_read_in_parts(logs):
    file = published(logs)
    file.write(b"loading\n")
    for number in (1, 2, 3):
        file.write_line(f"START RequestId: id-{number} Version: 0")
        file.write(f"output of {number}\n".encode())
        file.write_line(f"REPORT RequestId: id-{number}\tStatus: succeeded")
        file.end_part()
    file.close()
    assert logs.read_part(NAME, "id-1").splitlines() == [
        b"loading",
        b"START RequestId: id-1 Version: 0",
        b"output of 1",
        b"REPORT RequestId: id-1\tStatus: succeeded",
    ]
    parts = [logs.read_part(NAME, f"id-{number}", is_reused=number > 1) for number in (1, 2, 3)]
    assert b"".join(parts) == logs.read(NAME)
    tail = logs.read_part(NAME, "id-2", is_reused=True, tail_lines=2)
    assert tail == b"output of 2\nREPORT RequestId: id-2\tStatus: succeeded\n"


def test_one_that_never_began_has_no_part_in_the_log_of_others(logs):
    written(logs, "START RequestId: id-1 Version: 0", b"secret\n")
    assert logs.read_part(NAME, "id-2", is_reused=True) == b""


def test_what_is_printed_before_the_start_ends_no_part(logs):
    content = written(logs, b"START RequestId: id-9 made up\n", "START RequestId: id-1 Version: 0", b"output\n")
    assert logs.read_part(NAME, "id-1") == content


def test_each_invocation_has_the_whole_cap_for_itself(logs):
    file = published(logs)
    for _ in range(2):
        file.write(b"x" * 1500)
        assert file.end_part().state is LogState.TRUNCATED
    file.write(b"y" * 900)
    assert file.end_part().state is LogState.COMPLETE
    file.close()
    assert logs.read(NAME).count(b"x") == 2000


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_cannot_leave_the_folder(logs, tmp_path, name):
    with pytest.raises(ValueError, match="name of a log"):
        logs.create(name)
    with pytest.raises(NotFound):
        logs.read(name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_said(tmp_path):
    logs = LogStore(tmp_path / "nowhere", max_bytes=1000)
    for call in (lambda: logs.create(NAME), lambda: logs.read(NAME), logs.check, logs.free_bytes):
        with pytest.raises(LogsUnavailable, match="nowhere cannot be opened: No such file or directory"):
            call()


def test_a_check_leaves_nothing_behind(logs, tmp_path):
    logs.check()
    assert list(tmp_path.iterdir()) == []


def test_a_check_notices_a_full_disk(logs, tmp_path, full_disk):
    full_disk(0)
    with pytest.raises(DiskFull, match="what invocations print is lost, but they still run"):
        logs.check()
    assert list(tmp_path.iterdir()) == []


def test_a_check_notices_that_no_file_can_be_made(logs, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = os.open
    monkeypatch.setattr(
        os, "open", lambda name, *rest, **more: (refuse if ".check" in str(name) else real)(name, *rest, **more)
    )
    with pytest.raises(LogsUnavailable, match="No space left on device"):
        logs.check()


def test_free_bytes_is_what_is_left(logs):
    assert logs.free_bytes() > 0


# --- looking through, and removing ------------------------------------------------------------------------------------


def test_what_is_stored_is_listed_with_what_it_takes(logs, tmp_path):
    written(logs, b"x" * 900)
    logs.create("echo-0123456789ac")  # waits for its invocation
    (tmp_path / "notes.log").write_text("mine")
    logs.create_build("echo", "0123456789ab").close()
    (found,) = logs.stored()
    assert found == logs.find(NAME)
    assert found.bytes >= 900
    assert found.modified_at == (tmp_path / f"{NAME}.log").stat().st_mtime
    assert [entry.name for entry in logs.stored_builds()] == ["echo-0123456789ab"]
    assert logs.find("echo-000000000000") is None


def test_before_the_first_build_there_are_no_build_logs(logs):
    assert list(logs.stored_builds()) == []


def test_removing_is_safe_twice(logs):
    written(logs, b"x")
    (found,) = logs.stored()
    assert logs.remove(found)
    assert logs.remove(found)
    assert list(logs.stored()) == []


def test_what_is_being_written_is_not_removed(logs):
    file = published(logs)
    (found,) = logs.stored()
    assert logs.is_open(NAME)
    assert not logs.remove(found)
    file.close()
    assert not logs.is_open(NAME)
    assert logs.remove(found)


def test_what_was_written_to_since_it_was_listed_is_not_removed(logs, tmp_path):
    logs.create_build("echo", "0123456789ab").close()
    (found,) = logs.stored_builds()
    os.utime(tmp_path / "builds" / f"{found.name}.log", (1, 1))
    assert not logs.remove_build(found)
    (found,) = logs.stored_builds()
    assert logs.remove_build(found)
    assert list(logs.stored_builds()) == []


def test_what_cannot_be_removed_is_told_and_stays(logs, monkeypatch, caplog):
    written(logs, b"x")
    (found,) = logs.stored()

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "unlink", refuse)
    assert not logs.remove(found)
    assert "Read-only file system" in caplog.text


# --- reading ----------------------------------------------------------------------------------------------------------


def test_there_is_no_log_of_what_never_ran(logs):
    with pytest.raises(NotFound, match=NAME):
        logs.read(NAME)


@pytest.mark.parametrize("kind", ["link", "broken link", "folder", "pipe"])
def test_only_regular_files_are_logs(logs, tmp_path, kind):
    path = tmp_path / f"{NAME}.log"
    (tmp_path / "secret").write_text("secret")
    match kind:
        case "link":
            path.symlink_to(tmp_path / "secret")
        case "broken link":
            path.symlink_to(tmp_path / "nowhere")
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
    with pytest.raises(NotFound):
        logs.read(NAME)


@pytest.mark.parametrize(
    ("content", "lines", "tail"),
    [
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc", 2, b"b\nc"),
        (b"a\nb\nc\n", 3, b"a\nb\nc\n"),
        (b"a\nb\nc\n", 99, b"a\nb\nc\n"),
        (b"a\nb\nc\n", 0, b""),
        (b"a\n\n\n", 2, b"\n\n"),
        (b"\n", 1, b"\n"),
        (b"", 5, b""),
    ],
)
def test_a_tail_is_the_last_lines(logs, content, lines, tail):
    assert written(logs, content) == content
    assert logs.read(NAME, tail_lines=lines) == tail


@pytest.mark.parametrize("length", [10, BLOCK - 1, BLOCK, BLOCK + 1])
def test_a_tail_of_long_lines(tmp_path, length):
    logs = LogStore(tmp_path, max_bytes=10**7)
    line = b"x" * length + b"\n"
    written(logs, line * 20)
    for lines in (1, 3, 20):
        assert logs.read(NAME, tail_lines=lines) == line * lines


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.lists(st.sampled_from([b"", b"a", b"bc"]), max_size=12), lines=st.integers(1, 14))
def test_a_tail_is_what_the_whole_file_ends_with(logs, content, lines):
    data = b"\n".join(content)
    name = f"t{time.monotonic_ns()}"
    written(logs, data, name=name)
    assert logs.read(name, tail_lines=lines) == b"".join(data.splitlines(keepends=True)[-lines:])


def test_reading_goes_on_from_an_offset(logs):
    written(logs, b"0123456789")
    assert logs.read(NAME, offset=4) == b"456789"
    assert logs.read(NAME, offset=4, max_bytes=3) == b"456"
    assert logs.read(NAME, offset=99) == b""


def test_a_tail_that_is_too_long_loses_its_beginning(logs):
    written(logs, b"aaaa\nbbbb\n")
    assert logs.read(NAME, tail_lines=2, max_bytes=7) == b"a\nbbbb\n"


# --- following --------------------------------------------------------------------------------------------------------


def pieces(part, *, is_all=False):
    """All pieces there are right now."""
    return list(iter(lambda: part.read(is_all=is_all), b""))


def test_a_part_is_read_as_it_grows(logs):
    file = published(logs)
    part = logs.part(NAME, "id-1", is_reused=False)
    assert pieces(part) == []
    file.write(b"loading\n")
    assert pieces(part) == [b"loading\n"]
    file.write_line("START RequestId: id-1 Version: 0")
    file.write(b"half a li")
    assert pieces(part) == [b"START RequestId: id-1 Version: 0\nhalf a li"]
    file.close()
    assert pieces(part, is_all=True) == []
    assert part.offset == logs.size(NAME)


def test_a_part_is_read_in_blocks(logs, tmp_path):
    (tmp_path / f"{NAME}.log").write_bytes(b"x" * (3 * BLOCK))
    assert [len(piece) for piece in pieces(logs.part(NAME, "id-1", is_reused=False))] == [BLOCK] * 3


def test_a_part_is_read_on_from_where_it_was_left(logs):
    content = written(logs, "START RequestId: id-1 Version: 0", b"0123456789\n", "START RequestId: id-2 Version: 0")
    end = content.index(b"START RequestId: id-2")
    for offset in range(1, end + 1):
        part = logs.part(NAME, "id-1", is_reused=False, offset=offset)
        assert b"".join(pieces(part)) == content[offset:end]
        assert part.is_over


def test_a_position_beyond_the_end_is_the_end(logs):
    file = published(logs)
    file.write(b"one\n")
    part = logs.part(NAME, "id-1", is_reused=False, offset=1000)
    assert pieces(part) == []
    file.write(b"two\n")
    assert pieces(part) == [b"two\n"]
    file.close()


def test_a_later_part_waits_for_its_start_line(logs):
    file = published(logs)
    file.write_line("START RequestId: id-1 Version: 0")
    file.write(b"x" * 200 + b"\n")
    part = logs.part(NAME, "id-2", is_reused=True)
    assert pieces(part) == []
    file.write(b"late\nSTART RequestId: id-2")
    assert pieces(part) == []
    file.write(b"9 no\n")
    assert pieces(part) == []
    file.write_line("START RequestId: id-2 Version: 0")
    file.write(b"mine\n")
    assert b"".join(pieces(part)) == b"START RequestId: id-2 Version: 0\nmine\n"
    assert not part.is_over
    file.close()


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1000])
def test_a_part_ends_before_the_next_one_however_it_comes(logs, size):
    own = b"loading\nSTART RequestId: id-1 Version: 0\nSTART RequestId: id-1 again\n\nSTART Re\nSTART\n"
    content = own + b"START RequestId: id-12 Version: 0\nof another\n"
    file = published(logs)
    part = logs.part(NAME, "id-1", is_reused=False)
    got = b""
    for begin in range(0, len(content), size):
        file.write(content[begin : begin + size])
        got += b"".join(pieces(part))
    assert got == own
    assert part.is_over
    file.close()


@pytest.mark.parametrize("shift", range(-40, 5))
def test_a_start_line_across_two_blocks_ends_the_part(logs, tmp_path, shift):
    start = b"START RequestId: id-1 Version: 0\n"
    own = start + b"x" * (BLOCK + shift - len(start) - 1) + b"\n"
    (tmp_path / f"{NAME}.log").write_bytes(own + b"START RequestId: id-2 Version: 0\nof another\n")
    assert logs.read_part(NAME, "id-1") == own


def test_a_line_that_only_begins_like_a_start_line_is_kept_when_the_file_ends(logs):
    for ending in (b"START", b"START RequestId: ", b"START RequestId: id-1"):
        name = f"{NAME}-{len(ending)}"
        file = published(logs, name)
        file.write(b"START RequestId: id-1 Version: 0\n" + ending)
        part = logs.part(name, "id-1", is_reused=False)
        assert b"".join(pieces(part)) == b"START RequestId: id-1 Version: 0\n"
        assert b"".join(pieces(part, is_all=True)) == ending
        file.close()


def test_only_the_last_lines_and_what_comes_then(logs):
    file = published(logs)
    file.write(b"1\n2\n3\n4")
    part = logs.part(NAME, "id-1", is_reused=False)
    part.skip_to_tail(2)
    assert pieces(part) == [b"3\n4"]
    file.write(b"\n5\n")
    assert pieces(part) == [b"\n5\n"]
    file.close()


def test_there_is_nothing_to_read_of_what_never_ran(logs):
    with pytest.raises(NotFound):
        logs.part(NAME, "id-1", is_reused=False).read()
    with pytest.raises(NotFound):
        logs.part(NAME, "id-1", is_reused=True, offset=5).read()


def test_waiting_ends_when_something_is_added(logs):
    file = published(logs)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(logs.wait_beyond, NAME, 0, 20)
        time.sleep(0.05)
        assert not waiting.done()
        file.write(b"x")
        waiting.result(15)
        waiting = pool.submit(logs.wait_beyond, NAME, 1, 20)
        file.close()
        waiting.result(15)


def test_waiting_for_a_file_that_nobody_writes_takes_the_time_given(logs):
    written(logs, b"x")
    begun = time.monotonic()
    logs.wait_beyond(NAME, 0, 0.05)
    logs.wait_beyond("other", 0, 0.05)
    assert time.monotonic() - begun >= 0.1


# --- after a crash ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "kept", "recovered"),
    [
        # All of it is there; the runner died just before it could say so.
        (b"one\n", b"one\n", b"one\n[note]\n"),
        # The engine has more than the file.
        (b"one\n", b"one\ntwo\n", b"one\ntwo\n[note]\n"),
        (b"init\nSTART RequestId: 1 Version: 5\none\n", b"init\none\ntwo", b"two\n[note]\n"),
        (b"a\nb", b"a\rb\rc", b"a\nb\nc\n[note]\n"),
        # The file has more than the engine: it rotated, or lost the container.
        (b"one\ntwo\n", b"", b"one\ntwo\n[note]\n"),
        (b"one\ntwo\n", b"one\n", b"one\ntwo\n[note]\n"),
        # A line was cut by lines of the platform: the line end before them may be ours or the container's.
        (b"a\nEND RequestId: 1\n\nb\n", b"a\nb\nc\n", b"\nb\nc\n[note]\n"),
        (b"a\nEND RequestId: 1\n\nb\n", b"a\n\nb\nc\n", b"\nb\nc\n[note]\n"),
        (b"echo\nEND RequestId: 1\n 1\n", b"echo 1\necho 2\n", b" 1\necho 2\n[note]\n"),
        (b"one\n", b"two\n", b"one\n\n[the file does not fit what the container engine kept of the output, which"),
    ],
)
def test_a_log_is_completed_after_a_crash(logs, tmp_path, content, kept, recovered):
    path = tmp_path / f"{NAME}.log"
    path.write_bytes(content)
    assert logs.recover(NAME, kept, "[note]") is LogState.PARTIAL
    assert path.read_bytes().startswith(content)
    assert recovered in path.read_bytes()
    assert path.read_bytes().endswith(b"\n[note]\n")


WITH_OURS = b"""loading
START RequestId: 1 Version: 5
one
[Function 'a' raised: ValueError]
END RequestId: 1
REPORT RequestId: 1\tStatus: failed
START RequestId: 2 Version: 5
two
"""


@pytest.mark.parametrize(
    ("content", "pieces", "missing"),
    [
        (b"", [b"one\n", b"two\n"], b"one\ntwo\n"),
        (b"one\n", [b"one\ntw", b"o\n"], b"two\n"),
        # Before the platform's line there was no line end, and a note of its own.
        (WITH_OURS, [b"loadingone\ntwo\nthree\n"], b"three\n"),
        (WITH_OURS, [b"load", b"ingone\n[Function 'a' ", b"raised: ValueError]\ntwo\nthree\n"], b"three\n"),
        (WITH_OURS, [b"loadingone\n", b"two\n", b"three\n"], b"three\n"),
        (b"one\r\n", [b"one\r", b"\ntwo\n"], b"two\n"),
        (b"one\ntwo\n", [b"one\n"], b""),
        (b"a\nEND RequestId: 1\n\nb\n", [b"a\n", b"b\n", b"c\n"], b"c\n"),
        (b"a\nEND RequestId: 1\n\n", [b"a", b"\n", b"\n", b"c\n"], b"c\n"),
    ],
)
def test_what_of_the_output_of_an_adopted_container_is_missing(content, pieces, missing):
    assert b"".join(missing_output(content, iter(pieces))) == missing


def test_what_is_missing_comes_at_once():
    """Whoever follows the log is not kept waiting for more than it takes to see what is missing."""
    pieces = iter([b"loadingone\ntwo\n", b"three\n", b"four\n"])
    output = missing_output(WITH_OURS, pieces)
    assert next(output) == b""
    assert next(output) == b"three\n"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chunks=st.lists(st.text("a\n", max_size=4).map(str.encode) | st.sampled_from(["END RequestId: 1", "[note]"])),
    rest=st.text("a\n", max_size=4).map(str.encode),
    cuts=st.integers(1, 5),
)
def test_whatever_the_lines_of_the_platform_cut_nothing_but_a_line_end_is_missed(logs, chunks, rest, cuts):
    held = []
    for chunk in chunks:
        held += [chunk] if isinstance(chunk, bytes) or chunk != "[note]" else [chunk, "END RequestId: 1"]
    content = written(logs, *held, name=f"c{time.monotonic_ns()}")
    output = b"".join(chunk for chunk in chunks if isinstance(chunk, bytes)) + rest
    pieces = [output[at : at + cuts] for at in range(0, len(output), cuts)]
    for missing in (b"".join(missing_output(content, iter(pieces))), b"".join(missing_output(content, iter([output])))):
        assert missing.replace(b"\n", b"") == rest.replace(b"\n", b"")
        assert rest.endswith(missing)


def test_what_may_mean_much_is_compared_quickly(logs):
    content = b"\nEND RequestId: 1\n" * 5000
    begun = time.monotonic()
    assert b"".join(missing_output(content, iter([b"\n" * 5000 + b"late\n"]))) == b"late\n"
    assert time.monotonic() - begun < 5


def test_recovering_keeps_to_the_cap(logs):
    logs.recover(NAME, b"x" * 1500, "[note]")
    assert logs.read(NAME) == (
        b"x" * 1000 + b"\n[output truncated: 500 more bytes were discarded after the first 1000]\n[note]\n"
    )


@pytest.mark.parametrize(
    ("content", "output", "added"),
    [
        (b"one\nEND RequestId: 1\n", b"one\ntwo\n", b"two\n"),
        (b"one\nEND RequestId: 1\n", b"one\n", b""),
        (b"one\nEND RequestId: 1\n", b"other\n", b""),
        (b"x" * 1000 + b"\n[output truncated: 5 more]\nEND RequestId: 1\n", b"x" * 1005, b""),
    ],
)
def test_what_is_missing_at_the_end_is_added(logs, tmp_path, content, output, added):
    (tmp_path / f"{NAME}.log").write_bytes(content)
    logs.append_missing(NAME, output)
    assert logs.read(NAME) == content + added
    logs.append_missing("nothing-1", output)
    assert not (tmp_path / "nothing-1.log").exists()


def shared(parts):
    """A log in which so many invocations have ended, and the output of their container."""
    output = [f"{number}".encode() * 400 + b"\n" for number in range(parts)]
    ours = "START RequestId: {0} Version: 5\n", "END RequestId: {0}\nREPORT RequestId: {0}\tStatus: succeeded\n"
    content = [ours[0].format(n).encode() + text + ours[1].format(n).encode() for n, text in enumerate(output)]
    return b"".join(content), b"".join(output)


def test_what_others_printed_does_not_count_towards_the_cap_after_a_crash(logs, tmp_path):
    content, output = shared(9)
    for name in ("recovered-1", "appended-1", "reopened-1"):
        (tmp_path / f"{name}.log").write_bytes(content)
    late = b"x" * 900 + b"\n"
    assert logs.recover("recovered-1", output + late, "[note]") is LogState.PARTIAL
    assert logs.read("recovered-1") == content + late + b"[note]\n"
    logs.append_missing("appended-1", output + late)
    assert logs.read("appended-1") == content + late
    file = logs.reopen("reopened-1")
    for piece in file.missing(iter([output, late[:400], late[400:]])):
        file.write(piece)
    file.write(b"y" * 900)
    summary = file.close()
    kept = content + late + b"y" * 99
    assert logs.read("reopened-1").startswith(kept + b"\n[output truncated: 801 more bytes")
    assert summary.sha256 == hashlib.sha256(logs.read("reopened-1")).hexdigest()


def test_what_was_left_out_is_not_missing(logs, tmp_path):
    file = published(logs)
    file.write(b"x" * 1700)
    file.write_line("END RequestId: 1")
    file.write_line("REPORT RequestId: 1\tStatus: succeeded")
    file.end_part()
    file.write(b"late\n")
    file.close()
    content = logs.read(NAME)
    assert b"[output truncated: 700 more" in content
    printed = b"x" * 1700 + b"late\nlater\n"
    assert b"".join(missing_output(content, iter([printed]))) == b"later\n"
    assert b"".join(missing_output(content, iter([b"x" * 1200]))) == b""
    logs.append_missing(NAME, printed)
    assert logs.read(NAME) == content + b"later\n"


def test_a_log_that_is_too_long_is_not_compared(logs, tmp_path, monkeypatch):
    monkeypatch.setattr("function_runner.logs.file.COMPARED_LINES", 0)
    content, output = shared(9)
    (tmp_path / f"{NAME}.log").write_bytes(content)
    logs.append_missing(NAME, output + b"late\n")
    assert logs.read(NAME) == content
    logs.recover(NAME, b"late\n", start_line("8", "5"), start_line("9", "5"))
    assert logs.read(NAME).startswith(content + b"\n[the file does not fit what the container engine kept")
    assert logs.read(NAME).endswith(b"late\nSTART RequestId: 9 Version: 5\n")


@pytest.mark.parametrize("length", [BLOCK - 40, BLOCK - 1, BLOCK, 2 * BLOCK])
def test_a_line_is_found_wherever_it_stands(tmp_path, length):
    logs = LogStore(tmp_path, max_bytes=10**6)
    file = published(logs)
    file.write(b"x" * (length - 1) + b"\n")
    assert not file.holds("START RequestId: 1 Version: 5")
    file.write_line("START RequestId: 1 Version: 5")
    assert file.holds("START RequestId: 1 Version: 5")
    assert not file.holds("START RequestId: 1")
    file.close()


@pytest.mark.parametrize(("printed", "note"), [(b"x" * 900, b""), (b"x" * 1700, b"[output truncated: 706 more")])
def test_a_file_is_completed_while_it_is_written(logs, printed, note):
    file = published(logs)
    file.write(b"init\r")
    file.write(b"\n")
    file.write_line("START RequestId: 1 Version: 5")
    file.write(printed[:1500])
    assert not file.complete(b"other\n")
    assert not file.complete(b"init\r\n")  # there is more than that in the file
    assert file.complete(b"init\r\n" + printed)
    file.write(b"late")  # it has come already
    file.write_line("END RequestId: 1")
    summary = file.close()
    assert logs.read(NAME).count(b"x") == min(len(printed), 994)
    assert note in logs.read(NAME)
    assert summary.state is (LogState.TRUNCATED if note else LogState.COMPLETE)
    assert b"late" not in logs.read(NAME)
    assert not file.complete(b"init\r\n" + printed)


def test_a_part_that_had_not_begun_begins(logs, tmp_path):
    """In a log that is shared, what is said of one must not look as if it were said of the one before."""
    (tmp_path / f"{NAME}.log").write_bytes(b"START RequestId: 1 Version: 5\nREPORT RequestId: 1\tStatus: succeeded\n")
    logs.recover(NAME, b"", start_line("1", "5"), "REPORT RequestId: 1\tStatus: lost")
    logs.recover(NAME, b"", start_line("2", "5"), "REPORT RequestId: 2\tStatus: lost")
    assert logs.read(NAME).count(b"START RequestId: 1") == 1
    assert (
        logs.read_part(NAME, "2", is_reused=True)
        == b"START RequestId: 2 Version: 5\nREPORT RequestId: 2\tStatus: lost\n"
    )


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (b"one\n", None),
        (b"END RequestId: 1\nREPORT RequestId: 1\tStatus: failed\n", LogState.COMPLETE),
        (b"[output truncated: 5 more]\n[why]\nEND RequestId: 1\nREPORT RequestId: 1\tx\n", LogState.TRUNCATED),
        (b"[output lost: 5 bytes]\nEND RequestId: 1\nREPORT RequestId: 1\tx\n", LogState.PARTIAL),
        (b"[the runner stopped]\nREPORT RequestId: 1\tStatus: lost\n", LogState.PARTIAL),
    ],
)
def test_the_end_of_a_part_says_what_is_known_of_it(logs, tmp_path, end, state):
    (tmp_path / f"{NAME}.log").write_bytes(b"START RequestId: 1 Version: 5\n" + end)
    assert logs.state_of_part(NAME, "1") is state
    assert logs.state_of_part("nothing-1", "1") is None


def test_a_log_that_is_missing_is_made(logs):
    assert logs.recover(NAME, b"hello", "[note]") is LogState.PARTIAL
    assert logs.read(NAME) == b"hello\n[note]\n"


def test_recovering_never_raises(logs, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / f"{NAME}.log").symlink_to(tmp_path / "secret")
    assert logs.recover(NAME, b"hello", "[note]") is LogState.MISSING
    assert LogStore(tmp_path / "nowhere", max_bytes=1).recover(NAME, b"", "[note]") is LogState.MISSING
    assert (tmp_path / "secret").read_text() == "secret"


# --- builds -----------------------------------------------------------------------------------------------------------


def test_a_build_log(logs, tmp_path):
    build = logs.create_build("train", "0123456789ab")
    build.write("Step 1/3 : FROM ")
    assert logs.read_build("train", "0123456789ab") == "Step 1/3 : FROM "
    build.write("é \ud800\n")
    build.close()
    assert logs.read_build("train", "0123456789ab") == "Step 1/3 : FROM é \\ud800\n"
    assert (tmp_path / "builds" / "train-0123456789ab.log").is_file()


def test_a_newer_build_replaces_the_log_but_not_under_a_reader(logs, tmp_path):
    logs.create_build("train", "0").write("old")
    with (tmp_path / "builds" / "train-0.log").open() as reader:
        logs.create_build("train", "0").write("new")
        assert reader.read() == "old"
    assert logs.read_build("train", "0") == "new"


def test_there_is_no_log_of_what_was_never_built(logs):
    assert logs.read_build("train", "0") is None
    assert logs.read_build("../train", "0") is None


def test_a_build_log_is_capped(logs):
    build = logs.create_build("train", "0")
    build.write("x" * 2000)
    build.close()
    assert "[output truncated: 1000 more bytes" in logs.read_build("train", "0")


def test_a_link_in_place_of_the_builds_folder_is_not_followed(logs, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "builds").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LogsUnavailable):
        logs.create_build("train", "0")
    assert list((tmp_path / "elsewhere").iterdir()) == []
