"""Followers: everything that happens to an invocation, once, in order, and not a byte of its log lost."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from function_runner import followers as module
from function_runner.errors import Draining, InvalidRequest, StoreUnavailable, TooManyFollowers
from function_runner.followers import Followers, Position
from function_runner.invocation import LogState, Progress, Start, Status, utc_now
from function_runner.logs import BLOCK, LogStore
from support.api import finished
from support.waiting import wait_until

NAME = "echo-0123456789ab"


class House:
    """A log and a record that tests change, and followers of them."""

    def __init__(self, folder):
        self.logs = LogStore(folder, max_bytes=10_000_000)
        self.record = finished(
            status=Status.QUEUED, container_name=None, start=None, started_at=None, finished_at=None, log_state=None
        )
        self.said = None
        self.error = None
        self.reads = 0
        self.followers = Followers(self, self.logs, self, most=3)

    def get(self, invocation_id):
        """The store's."""
        assert invocation_id == self.record.id
        self.reads += 1
        if self.error:
            raise self.error
        return None if self.record.status == "removed" else self.record

    def progress(self, invocation_id):
        """The pool's."""
        return self.said

    def become(self, status, **changes):
        self.record = replace(self.record, status=status, **changes)

    def run(self, name=NAME, **changes):
        """Hand it to a container; returns the log's file."""
        file = self.logs.create(name)
        self.logs.publish(name)
        file.write_line(f"START RequestId: {self.record.id} Version: 0")
        self.become(Status.RUNNING, container_name=name, log_state=LogState.OPEN, **changes)
        return file

    def end(self, file, status=Status.SUCCEEDED):
        self.become(status)
        file.write_line(f"REPORT RequestId: {self.record.id}")
        summary = file.close()
        self.become(status, log_state=summary.state)

    def follow(self, **options):
        return self.followers.follow(self.record, **options)


@pytest.fixture
def house(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(module, "GATHER_SECONDS", 0.01)
    return House(tmp_path)


@pytest.fixture
def collect():
    """Follows in a thread: the list of events, which grows, and the future of its end."""
    with ThreadPoolExecutor(max_workers=110) as pool:

        def start(follower):
            events = []

            def work():
                try:
                    events.extend(follower.events())  # one by one, as they come
                finally:
                    follower.close()

            return events, pool.submit(work)

        yield start


def text_of(events):
    return "".join(event.data["text"] for event in events if event and event.kind == "log")


def kinds(events):
    return [event.kind for event in events if event]


def test_it_works(house, collect):
    events, over = collect(house.follow())
    wait_until(lambda: kinds(events) == ["status"])
    file = house.run()
    file.write(b"hello\n")
    wait_until(lambda: "hello" in text_of(events))
    house.end(file)
    over.result(10)

    statuses = [event.data["status"] for event in events if event.kind == "status"]
    assert statuses[0] == "queued"
    assert statuses[1:] in (["running"], ["running", "succeeded"])  # what lasts a moment only may not be seen
    assert text_of(events) == house.logs.read(NAME).decode()
    assert events[-1].kind == "end"
    assert events[-1].data == {"status": "succeeded", "log_state": "complete"}
    assert str(events[-1].position) == str(house.logs.size(NAME))


def test_one_that_has_ended_is_told_at_once(house):
    house.end(house.run())
    follower = house.follow()
    assert kinds(follower.events()) == ["status", "log", "end"]


def test_one_that_never_had_a_container_has_an_end_too(house):
    house.become(Status.CANCELLED)
    events = list(house.follow().events())
    assert kinds(events) == ["status", "end"]
    assert events[-1].data == {"status": "cancelled", "log_state": None}


def test_a_log_that_was_removed_keeps_nobody(house):
    house.become(Status.SUCCEEDED, container_name=NAME, log_state=LogState.COMPLETE)
    assert kinds(house.follow().events()) == ["status", "end"]


def test_a_container_that_is_not_yet_its_own_is_not_followed(house, collect):
    other = house.logs.create("echo-00000000000a")
    other.write(b"of somebody else\n")
    house.become(Status.STARTING, container_name="echo-00000000000a", log_state=LogState.OPEN)
    events, over = collect(house.follow())
    wait_until(lambda: kinds(events) == ["status"])
    file = house.run()
    house.end(file)
    over.result(10)
    assert "somebody else" not in text_of(events)
    other.close()


def test_it_goes_on_from_every_position(house):
    file = house.run()
    file.write("añb€c𝄞\nzwei\n".encode() * 3 + b"\xff\xc3\n")
    house.end(file)
    content = house.logs.read(NAME)
    for offset in range(len(content) + 1):
        follower = house.follow(after=Position(offset))
        events = list(follower.events())
        follower.close()
        assert text_of(events) == content[offset:].decode("utf-8", "replace")
        assert str(events[-1].position) == str(len(content))


def test_a_character_that_comes_in_two_halves_is_one(house, collect):
    events, over = collect(house.follow())
    file = house.run()
    file.write("€".encode()[:2])
    wait_until(lambda: "START" in text_of(events))
    time.sleep(0.05)
    halfway = events[-1].position
    file.write("€".encode()[2:] + b"\n")
    house.end(file)
    over.result(10)
    content = house.logs.read(NAME)
    assert text_of(events) == content.decode()
    assert content[: halfway.offset].endswith(b"Version: 0\n")  # before the character: who goes on there gets all of it


def test_every_position_on_the_way_is_a_place_to_go_on(house):
    file = house.run()
    file.write("grüße\n".encode() * 40_000)
    house.end(file)
    content = house.logs.read(NAME)
    events = list(house.follow().events())
    logged = [event for event in events if event.kind == "log"]
    assert len(logged) > len(content) // BLOCK
    text = ""
    for event in logged:
        text += event.data["text"]
        assert text == content[: event.position.offset].decode()


def test_only_the_last_lines(house):
    file = house.run()
    file.write(b"1\n2\n3\n")
    house.end(file)
    assert text_of(house.follow(tail_lines=2).events()) == f"3\nREPORT RequestId: {house.record.id}\n"
    with_position = house.follow(tail_lines=1, after=Position(0))
    assert text_of(with_position.events()) == house.logs.read(NAME).decode()


def test_only_its_own_part_of_a_log(house, collect):
    file = house.logs.create(NAME)
    file.write(b"loading\n")
    file.write_line("START RequestId: another Version: 0")
    file.write(b"secret\n")
    house.become(Status.RUNNING, container_name=NAME, log_state=LogState.OPEN, start=Start.REUSED)
    events, over = collect(house.follow())
    wait_until(lambda: kinds(events) == ["status"])
    file.write_line(f"START RequestId: {house.record.id} Version: 0")
    file.write(b"mine\n")
    wait_until(lambda: "mine" in text_of(events))
    file.write_line("START RequestId: third Version: 0")
    file.write(b"secret\n")
    house.become(Status.SUCCEEDED, log_state=LogState.COMPLETE)
    over.result(10)
    assert text_of(events) == f"START RequestId: {house.record.id} Version: 0\nmine\n"
    file.close()


def test_a_new_attempt_has_a_log_of_its_own(house, collect):
    first = house.run()
    events, over = collect(house.follow())
    wait_until(lambda: "START" in text_of(events))
    assert ":" not in str(events[-1].position)
    first.close()
    second = house.run("echo-00000000000b", attempt=2)
    second.write(b"again\n")
    house.end(second)
    over.result(10)
    assert str(events[-1].position) == f"2:{house.logs.size('echo-00000000000b')}"

    assert text_of(house.follow(after=Position(5, 2)).events()) == house.logs.read("echo-00000000000b")[5:].decode()
    assert text_of(house.follow(after=Position(5, 1)).events()) == house.logs.read("echo-00000000000b").decode()


def test_progress_is_told_when_it_changes(house, collect):
    file = house.run()
    events, over = collect(house.follow())
    first = Progress(1, 3, "one", utc_now())
    house.said = first
    wait_until(lambda: "progress" in kinds(events))
    time.sleep(0.2)
    assert kinds(events).count("progress") == 1
    house.said = Progress(2, 3, None, utc_now())
    wait_until(lambda: kinds(events).count("progress") == 2)
    house.end(file)
    over.result(10)
    assert [event.data["done"] for event in events if event.kind == "progress"] == [1, 2]


def test_a_sign_of_life_after_some_silence(house, collect, monkeypatch):
    monkeypatch.setattr(module, "KEEP_ALIVE_SECONDS", 0.1)
    events, over = collect(house.follow())
    wait_until(lambda: events.count(None) >= 2)
    house.become(Status.CANCELLED)
    over.result(10)


def test_a_log_that_nobody_closes_does_not_keep_a_follower_for_ever(house, monkeypatch):
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.2)
    file = house.run()
    house.become(Status.LOST)
    events = list(house.follow().events())
    assert events[-1].data == {"status": "lost", "log_state": "open"}
    assert "START" in text_of(events)
    file.close()


def test_a_database_that_is_away_ends_nothing(house, collect):
    events, over = collect(house.follow())
    house.error = StoreUnavailable()
    before = house.reads
    wait_until(lambda: house.reads > before + 2)
    assert not over.done()
    house.error = None
    house.become(Status.CANCELLED)
    over.result(10)
    assert events[-1].kind == "end"


def test_a_record_that_was_removed_ends_it(house):
    follower = house.follow()
    house.record = replace(house.record, status="removed")
    time.sleep(0.06)
    assert "end" not in kinds(follower.events())


def test_there_are_only_so_many(house):
    three = [house.follow() for _ in range(3)]
    with pytest.raises(TooManyFollowers) as refusal:
        house.follow()
    assert refusal.value.retry_after
    three[0].close()
    three[0].close()  # again: nothing more is given back
    house.follow()
    with pytest.raises(TooManyFollowers):
        house.follow()


def test_closing_sends_them_away_without_an_end(house, collect):
    file = house.run()
    events, over = collect(house.follow())
    wait_until(lambda: "log" in kinds(events))
    house.followers.close()
    over.result(10)
    assert "end" not in kinds(events)
    with pytest.raises(Draining):
        house.follow()
    file.close()


def test_closing_does_not_take_away_an_end_that_is_there(house):
    follower = house.follow()
    house.end(house.run())
    house.followers.close()
    assert kinds(follower.events())[-1] == "end"


def test_followers_of_one_invocation_share_what_is_read(tmp_path, collect):
    house = House(tmp_path)
    house.followers = Followers(house, house.logs, house, most=100)
    file = house.run()
    started = time.monotonic()
    following = [collect(house.follow()) for _ in range(100)]
    for _ in range(200):
        file.write(b"a line of output\n" * 10)
        time.sleep(0.002)
    house.end(file)
    for events, over in following:
        over.result(30)
        assert text_of(events) == house.logs.read(NAME).decode()
        assert kinds(events)[-1] == "end"
    assert house.reads <= 10 * (time.monotonic() - started) + 20


@pytest.mark.parametrize("text", ["", "-1", "x", "1:", ":1", "0:1", "1:2:3", "1.5", " 1", "1\n", "٣", "9" * 16])
def test_a_position_that_was_never_sent_is_refused(text):
    with pytest.raises(InvalidRequest):
        Position.parse(text)


@pytest.mark.parametrize("position", [Position(), Position(7), Position(7, 2)])
def test_a_position_is_read_as_it_was_written(position):
    assert Position.parse(str(position)) == position
