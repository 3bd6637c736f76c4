"""The log file: as written, complete, bounded, with Lambda's lines around it."""

import re

import pytest

MIB = 1024 * 1024
REPORT = re.compile(
    r"^REPORT RequestId: (?P<id>[0-9a-f-]{36})\tDuration: (?P<duration>[\d.]+) ms\t"
    r"Billed Duration: (?P<billed>\d+) ms\t"
    r"Memory Size: (?P<size>\d+) MB\tMax Memory Used: (?P<used>\d+) MB\tInit Duration: (?P<init>[\d.]+) ms\t"
    r"Status: (?P<status>\w+)$",
    re.M,
)


def test_the_lines_around_the_output(stack):
    answer = stack.invoke("sleep", {"seconds": 0.5})

    identifier = answer.json["invocation_id"]
    record = stack.settled(identifier)
    lines = stack.log_of(answer).splitlines()
    assert lines[0] == f"START RequestId: {identifier} Version: {record['source_hash'][:12]}"
    assert lines[1:3] == ["sleeping 0.5 s", "awake"]
    assert lines[3] == f"END RequestId: {identifier}"
    report = REPORT.match(lines[4])
    assert report, lines[4]
    assert report["id"] == identifier
    assert 500 <= float(report["duration"]) < 2000
    assert int(report["billed"]) >= float(report["duration"])
    assert int(report["size"]) == 64
    assert 0 < int(report["used"]) <= 64
    assert float(report["init"]) > 0
    assert report["status"] == "succeeded"
    assert len(lines) == 5
    assert record["max_memory_mb"] == pytest.approx(int(report["used"]), abs=1)


def test_the_route_gives_the_file(stack):
    answer = stack.invoke("prints-a-lot", {"bytes": 20_000})

    stack.settled(answer.json["invocation_id"])
    route = stack.get(f"/invocations/{answer.json['invocation_id']}/logs")

    assert route.status == 200
    assert route.headers["Content-Type"].startswith("text/plain")
    assert route.headers["X-Content-Type-Options"] == "nosniff"
    assert route.content == (stack.logs_path / f"{answer.json['container_name']}.log").read_bytes()
    assert route.text.count("\nline ") == 200


def test_the_last_lines(stack):
    answer = stack.invoke("prints-a-lot", {"bytes": 20_000})

    stack.settled(answer.json["invocation_id"])
    tail = stack.get(f"/invocations/{answer.json['invocation_id']}/logs?tail=3").text.splitlines()

    assert len(tail) == 3
    assert tail[0].startswith("line 200 ")
    assert tail[1].startswith("END RequestId")
    assert tail[2].startswith("REPORT RequestId")


@pytest.mark.parametrize("tail", ["-1", "many", "1e9", ""])
def test_a_tail_that_is_not_understood(stack, tail):
    identifier = stack.invoke("echo", {}).json["invocation_id"]

    stack.get(f"/invocations/{identifier}/logs?tail={tail}").problem(400, "invalid_request")


def test_nothing_is_lost_below_the_cap(stack):
    size = 9 * MIB // 100 * 100

    answer = stack.invoke("prints-a-lot", {"bytes": size, "stream": "stderr"})

    assert answer.result["lines"] == size // 100
    log = stack.log_of(answer).encode()
    numbers = [int(number) for number in re.findall(rb"^line (\d+) ", log, re.M)]
    assert numbers == list(range(1, size // 100 + 1))
    assert stack.settled(answer.json["invocation_id"])["log_state"] == "complete"


@pytest.mark.timeout(200)
def test_fifty_megabytes_are_capped_and_it_says_so(stack):
    size = 50_000_000

    answer = stack.invoke("prints-a-lot", {"bytes": size})

    assert answer.result["printed"] == size
    record = stack.settled(answer.json["invocation_id"])
    assert record["log_state"] == "truncated"
    log = (stack.logs_path / f"{answer.json['container_name']}.log").read_bytes()
    assert 10 * MIB <= len(log) < 10 * MIB + 2000
    note = re.search(rb"^\[output truncated: (\d+) more bytes were discarded after the first (\d+)\]$", log, re.M)
    assert note, log[-500:]
    assert int(note[1]) + int(note[2]) == size
    assert int(note[2]) == 10 * MIB
    assert REPORT.search(log[-1000:].decode())


def test_bytes_that_are_no_text_stay_as_they_were(stack):
    answer = stack.invoke("invalid-utf8", {})

    stack.settled(answer.json["invocation_id"])
    log = (stack.logs_path / f"{answer.json['container_name']}.log").read_bytes()
    assert b"broken \xff\xfe\x80 \xc3( \xed\xa0\x80 bytes\n" in log
    assert b"nul \x00 inside\n" in log
    assert b"after, without a newline\nEND RequestId: " in log
    assert log.count(f"END RequestId: {answer.json['invocation_id']}\n".encode()) == 1
    served = stack.get(f"/invocations/{answer.json['invocation_id']}/logs")
    assert served.headers["Content-Type"].startswith("text/plain")


def test_output_appears_while_it_is_written(stack, running):
    from support.waiting import wait_until

    answer, record = running(seconds=5)

    wait_until(
        lambda: "sleeping 5" in stack.logs(record["invocation_id"]), seconds=3, what="the first line is in the log"
    )
    assert not answer.done()
    assert "awake" not in stack.logs(record["invocation_id"])
    assert "awake" in stack.log_of(answer.result())


def test_output_before_the_invocation_belongs_to_the_log(stack, drop):
    drop("chatty", handler="print('while importing')\n\ndef handler(event, context):\n    print('while running')\n")

    answer = stack.invoke("chatty", {})

    lines = stack.log_of(answer).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("START RequestId"))
    assert "while importing" in lines[:start]
    assert lines[start + 1] == "while running"
