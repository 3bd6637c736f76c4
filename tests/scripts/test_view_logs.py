"""view_logs.sh: one log, whole or followed, and never a file outside the logs folder."""

import signal
from typing import Any

import pytest

LOG = "START RequestId: 1 Version: a\nhello\nEND RequestId: 1\nREPORT RequestId: 1\tDuration: 1.00 ms\n"
NAME = "train-0123456789ab"


def test_it_works(house: Any) -> None:
    house.log(NAME, LOG)
    ended = house.run("view_logs.sh", NAME)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, LOG.encode(), b"")


def test_file_name_is_as_good_as_container_name(house: Any) -> None:
    house.log(NAME, LOG)
    assert house.run("view_logs.sh", f"{NAME}.log").stdout == LOG.encode()


def test_without_arguments_says_usage_and_what_exists(house: Any) -> None:
    house.log(NAME, LOG)
    ended = house.run("view_logs.sh")
    assert ended.returncode == 2
    assert b"Usage: ./view_logs.sh <container-name> [-f]" in ended.stderr
    assert NAME.encode() in ended.stderr


def test_without_arguments_and_without_logs(house: Any) -> None:
    ended = house.run("view_logs.sh")
    assert ended.returncode == 2
    assert b"no logs" in ended.stderr


def test_without_logs_folder(house: Any) -> None:
    house.logs.rmdir()
    assert house.run("view_logs.sh").returncode == 2
    assert house.run("view_logs.sh", NAME).returncode == 1


@pytest.mark.parametrize("name", ["../secret", "..", "a/b", "/etc/passwd", "train..x", "./train-0123456789ab"])
def test_paths_are_refused(house: Any, name: str) -> None:
    (house.folder / "secret.log").write_text("secret")
    ended = house.run("view_logs.sh", name)
    assert ended.returncode == 2
    assert b"secret\n" not in ended.stdout
    assert b"may not contain" in ended.stderr


def test_links_are_not_followed(house: Any) -> None:
    (house.folder / "secret").write_text("secret")
    (house.logs / f"{NAME}.log").symlink_to(house.folder / "secret")
    ended = house.run("view_logs.sh", NAME)
    assert (ended.returncode, ended.stdout) == (1, b"")


def test_unknown_name_lists_the_closest_first(house: Any) -> None:
    house.log("predict-aaaaaaaaaaaa", LOG)
    house.log("train-0123456789ab", LOG, age=100)
    house.log("train-fedcba987654", LOG)
    ended = house.run("view_logs.sh", "train-0123456789ff")
    assert ended.returncode == 1
    listed = [line.strip() for line in ended.stderr.decode().splitlines() if line.startswith("  ")]
    assert listed == ["train-0123456789ab", "train-fedcba987654", "predict-aaaaaaaaaaaa"]


@pytest.mark.parametrize("arguments", [["--nonsense"], ["a", "b"]])
def test_misuse_is_told(house: Any, arguments: list[str]) -> None:
    ended = house.run("view_logs.sh", *arguments)
    assert ended.returncode == 2
    assert b"Usage" in ended.stderr


def test_help(house: Any) -> None:
    ended = house.run("view_logs.sh", "--help")
    assert ended.returncode == 0
    assert b"Usage" in ended.stdout


def test_pipe_receives_every_byte(house: Any) -> None:
    content = bytes(range(256)) + b"\n" + LOG.encode()
    house.log(NAME, content)
    assert house.run("view_logs.sh", NAME).stdout == content


def test_terminal_receives_no_commands(house: Any) -> None:
    house.log(NAME, b"\x1b]0;owned\x07\x1b[31mred\x1b[0m\ttab \xc3\xa4\xe2\x82\xac \xc2\x9b2J\r\x00\x08\x7f\nnext\n")
    assert house.on_terminal("view_logs.sh", NAME) == "red\ttab ä€ 2J\nnext\n".encode()


def test_terminal_receives_the_text_around_commands(house: Any) -> None:
    house.log(NAME, b"A \x1b[2J password\n\x1b[K50 % Done\n")
    assert house.on_terminal("view_logs.sh", NAME) == b"A  password\n50 % Done\n"


def test_unknown_name_cannot_command_the_terminal_either(house: Any) -> None:
    assert b"\x1b" not in house.run("view_logs.sh", "x\x1b[2J").stderr


@pytest.mark.parametrize("arguments", [["-f", NAME], [NAME, "-f"]])
def test_following_a_finished_log_ends(house: Any, arguments: list[str]) -> None:
    house.log(NAME, LOG)
    ended = house.run("view_logs.sh", *arguments)
    assert (ended.returncode, ended.stdout) == (0, LOG.encode())


def test_following_shows_what_comes_and_ends_with_the_report(house: Any) -> None:
    start, middle, end = (
        b"START RequestId: 1 Version: a\n",
        b"hello\n",
        b"END RequestId: 1\nREPORT RequestId: 1\tDuration\n",
    )
    path = house.log(NAME, start)
    process = house.start("view_logs.sh", NAME, "-f")
    assert process.stdout.readline() == start
    with path.open("ab", buffering=0) as log:
        log.write(middle)
        assert process.stdout.readline() == middle
        log.write(end)
    rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest, errors) == (0, end, b"")


def test_following_ends_on_interrupt(house: Any) -> None:
    house.log(NAME, "START RequestId: 1 Version: a\n")
    process = house.start("view_logs.sh", NAME, "-f")
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)  # a shell that waits for its child minds Ctrl-C only when the child does
    process.communicate(timeout=20)
    assert process.returncode != 0


def test_logs_path_of_the_environment_wins_over_the_settings(house: Any) -> None:
    for place in ("one", "two"):
        (house.folder / place).mkdir()
        (house.folder / place / f"{NAME}.log").write_text(place)
    (house.folder / ".env").write_text('LOGS_PATH="./one"  # where logs go\n')
    assert house.run("view_logs.sh", NAME).stdout == b"one"
    assert house.run("view_logs.sh", NAME, LOGS_PATH=str(house.folder / "two")).stdout == b"two"


def test_another_settings_file(house: Any) -> None:
    (house.folder / "other").mkdir()
    (house.folder / "other" / f"{NAME}.log").write_text("other")
    (house.folder / "other.env").write_text("LOGS_PATH=./other\n")
    assert house.run("view_logs.sh", NAME, ENV_FILE="other.env").stdout == b"other"
