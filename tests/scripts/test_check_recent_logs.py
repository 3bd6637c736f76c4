"""check_recent_logs.sh: how the latest invocations ended."""

from typing import Any

import pytest


def content(identity: str, status: str = "succeeded") -> str:
    """A whole log."""
    return (
        f"START RequestId: {identity} Version: a\nhello {identity}\nEND RequestId: {identity}\n"
        f"REPORT RequestId: {identity}\tDuration: 12.50 ms\tBilled Duration: 13 ms\tMemory Size: 512 MB\t"
        f"Max Memory Used: 40 MB\tInit Duration: 200.00 ms\tStatus: {status}\n"
    )


def test_it_works(house: Any) -> None:
    house.log("train-000000000001", content("1"))
    ended = house.run("check_recent_logs.sh", "train")
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"==> train-000000000001" in ended.stdout
    assert b"succeeded, 12.50 ms" in ended.stdout
    assert content("1").encode() in ended.stdout


def test_without_arguments_says_usage_and_what_exists(house: Any) -> None:
    house.log("train-000000000001", content("1"), age=10)
    house.log("train-000000000002", content("2"))
    (house.folder / "functions" / "fresh").mkdir(parents=True)
    (house.folder / "functions" / "fresh" / "Dockerfile").touch()
    ended = house.run("check_recent_logs.sh")
    lines = ended.stdout.decode().splitlines()
    assert ended.returncode == 0
    assert lines[0].startswith("Usage: ./check_recent_logs.sh [function] [-n N]")
    assert lines[1].split() == ["fresh", "0", "logs"]
    assert lines[2].split() == ["train", "2", "logs", "newest:", "train-000000000002"]


def test_without_anything(house: Any) -> None:
    house.logs.rmdir()
    ended = house.run("check_recent_logs.sh")
    assert ended.returncode == 0
    assert b"no logs" in ended.stdout


def test_newest_is_last(house: Any) -> None:
    for number in range(1, 8):
        house.log(f"train-00000000000{number}", content(str(number)), age=100 - number)
    ended = house.run("check_recent_logs.sh", "train", "-n", "3")
    shown = [line.split()[1] for line in ended.stdout.decode().splitlines() if line.startswith("==>")]
    assert shown == ["train-000000000005", "train-000000000006", "train-000000000007"]


def test_all_functions_together(house: Any) -> None:
    house.log("train-000000000001", content("1"), age=10)
    house.log("predict-000000000002", content("2"))
    ended = house.run("check_recent_logs.sh", "-n", "2")
    shown = [line.split()[1] for line in ended.stdout.decode().splitlines() if line.startswith("==>")]
    assert shown == ["train-000000000001", "predict-000000000002"]


def test_a_function_whose_name_begins_alike_is_another(house: Any) -> None:
    house.log("train-big-000000000001", content("1"))
    house.log("train-000000000002", content("2"))
    assert b"train-big" not in house.run("check_recent_logs.sh", "train").stdout
    assert b"==> train-big-000000000001" in house.run("check_recent_logs.sh", "train-big").stdout


def test_any_function_that_left_a_log_is_known(house: Any) -> None:
    house.log("dropped-in-000000000001", content("1", "timed_out"))
    ended = house.run("check_recent_logs.sh", "dropped-in")
    assert ended.returncode == 0
    assert b"timed_out, 12.50 ms" in ended.stdout


def test_function_that_never_ran(house: Any) -> None:
    (house.folder / "functions" / "fresh").mkdir(parents=True)
    (house.folder / "functions" / "fresh" / "Dockerfile").touch()
    ended = house.run("check_recent_logs.sh", "fresh")
    assert (ended.returncode, ended.stdout) == (0, b"Nothing has been logged yet.\n")


def test_unknown_function_lists_the_known(house: Any) -> None:
    house.log("train-000000000001", content("1"))
    ended = house.run("check_recent_logs.sh", "tarin")
    assert ended.returncode == 1
    assert b"no function named tarin" in ended.stderr
    assert b"train" in ended.stderr


def test_still_running(house: Any) -> None:
    house.log("train-000000000001", "START RequestId: 1 Version: a\nhello\n")
    assert b"running, or ended without a report" in house.run("check_recent_logs.sh", "train").stdout


def test_other_files_are_no_logs(house: Any) -> None:
    (house.logs / "start.log").write_text("phases")
    (house.logs / "builds").mkdir()
    assert b"start" not in house.run("check_recent_logs.sh").stdout


def test_binary_output_is_no_problem(house: Any) -> None:
    house.log("train-000000000001", bytes(range(256)) + b"\n" + content("1").encode())
    ended = house.run("check_recent_logs.sh", "train")
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"succeeded, 12.50 ms" in ended.stdout


def test_terminal_receives_no_commands(house: Any) -> None:
    house.log("train-000000000001", "\x1b[2Jclear\n" + content("1", "failed\x1b[2J"))
    assert b"\x1b" not in house.on_terminal("check_recent_logs.sh", "train")


@pytest.mark.parametrize("arguments", [["../x"], ["a/b"], ["-n"], ["-n", "0"], ["-n", "x"], ["--bad"], ["a", "b"]])
def test_misuse_is_told(house: Any, arguments: list[str]) -> None:
    ended = house.run("check_recent_logs.sh", *arguments)
    assert ended.returncode == 2
    assert b"Usage" in ended.stderr


def test_logs_path_is_respected(house: Any) -> None:
    house.log("train-000000000001", content("1"))
    ended = house.run("check_recent_logs.sh", "train", LOGS_PATH=str(house.folder / "elsewhere"))
    assert ended.returncode == 1
