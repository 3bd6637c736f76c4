"""Following an invocation through NGINX: live, from any position, by many at once, without losing a byte."""

import contextlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import requests

from support.stack import Stack

HANDLER = """
    import json, time

    def handler(event, context):
        steps = event["steps"]
        for done in range(steps):
            print(json.dumps({"progress": {"done": done, "total": steps, "message": f"step {done}"}}), flush=True)
            print(f"{done}: " + "grüße " * event["words"], flush=True)
            time.sleep(event["pause"])
        return "done"
"""
MANIFEST = "timeout: 60\nmemory: 64\n"


@dataclass
class Event:
    """One event of a stream."""

    id: str
    kind: str
    data: dict
    at: float


def follow(stack: Stack, invocation_id: str, **headers: str) -> Iterator[Event]:
    """The events as they come, until the server closes the stream."""
    with requests.Session() as session:
        session.trust_env = False
        address = f"{stack.url}/invocations/{invocation_id}/logs"
        headers["Accept"] = "text/event-stream"
        with session.get(address, headers=headers, stream=True, timeout=60) as response:
            assert response.status_code == 200, response.text
            assert response.headers["Content-Type"] == "text/event-stream"
            fields: dict[str, str] = {}
            for line in response.iter_lines(chunk_size=None):
                name, _, value = line.decode().partition(": ")
                if name:
                    fields[name] = value
                elif "event" in fields:
                    yield Event(fields["id"], fields["event"], json.loads(fields["data"]), time.monotonic())
                    fields = {}


def text_of(events: list[Event]) -> str:
    return "".join(event.data["text"] for event in events if event.kind == "log")


@pytest.fixture
def begin(stack, drop):
    """Begin an invocation; returns its id, which is known before there is a container."""
    drop("steps", handler=HANDLER, manifest=MANIFEST)

    def start(steps, pause, words=1):
        body = {"function": "steps", "parameters": {"steps": steps, "pause": pause, "words": words}}
        answer = stack.post("/invoke", json=body, headers={"Prefer": "respond-async"})
        assert answer.status == 202, answer.text
        return answer.json["invocation_id"]

    return start


def log_bytes(stack, invocation_id):
    name = stack.settled(invocation_id)["container_name"]
    return (stack.logs_path / f"{name}.log").read_bytes()


@pytest.mark.timeout(180)
def test_it_is_followed_from_before_there_is_a_container_until_its_end(stack, begin):
    invocation_id = begin(steps=5, pause=0.4)

    events = list(follow(stack, invocation_id))

    kinds = [event.kind for event in events]
    assert kinds[0] == "status"
    assert events[0].data["status"] in ("queued", "starting")
    statuses = [event.data["status"] for event in events if event.kind == "status"]
    assert "running" in statuses
    assert events[-1].kind == "end"
    assert events[-1].data == {"status": "succeeded", "log_state": "complete"}
    content = log_bytes(stack, invocation_id)
    assert text_of(events) == content.decode()
    assert events[-1].id == str(len(content))
    # As it happened, and not all of it at the end.
    logged = [event for event in events if event.kind == "log"]
    assert logged[-1].at - logged[0].at > 1
    progress = [event.data for event in events if event.kind == "progress"]
    assert len(progress) >= 3
    assert (progress[-1]["done"], progress[-1]["total"], progress[-1]["message"]) == (4, 5, "step 4")
    assert stack.record(invocation_id)["progress"] == progress[-1]

    # From every position on the way comes exactly the rest.
    for event in logged:
        rest = text_of(list(follow(stack, invocation_id, **{"Last-Event-ID": event.id})))
        assert rest == content[int(event.id) :].decode()


def test_a_follower_that_lost_its_connection_goes_on_where_it_was(stack, begin):
    invocation_id = begin(steps=5, pause=0.3)

    seen = []
    with contextlib.closing(follow(stack, invocation_id)) as stream:
        for event in stream:
            seen.append(event)
            if "2: " in text_of(seen):
                break
    assert stack.record(invocation_id)["status"] == "running"
    rest = list(follow(stack, invocation_id, **{"Last-Event-ID": seen[-1].id}))

    assert rest[-1].kind == "end"
    assert text_of(seen) + text_of(rest) == log_bytes(stack, invocation_id).decode()


@pytest.mark.timeout(180)
def test_a_hundred_followers_get_every_byte(stack, begin):
    invocation_id = begin(steps=20, pause=0.1, words=100)

    with ThreadPoolExecutor(100) as pool:
        following = [pool.submit(lambda: list(follow(stack, invocation_id))) for _ in range(100)]
        waits = []
        while not all(one.done() for one in following):
            waits.append(stack.get("/health").seconds)
            time.sleep(0.05)
        streams = [one.result(60) for one in following]

    content = log_bytes(stack, invocation_id).decode()
    assert {text_of(events) for events in streams} == {content}
    assert {events[-1].kind for events in streams} == {"end"}
    assert sorted(waits)[len(waits) // 2] < 0.5
