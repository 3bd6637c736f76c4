"""After everything the other tests did: what the records, the log files and the engine say must agree.

Runs last (the name sees to it): it also stops the system and starts it again.
"""

import re
import time
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from support.docker_cli import container_ids, network_ids
from support.waiting import wait_until

TERMINAL = {"succeeded", "failed", "timed_out", "cancelled", "lost"}


@pytest.fixture(autouse=True)
def nothing_stays():
    """These tests count for themselves."""


def every_record(stack):
    before, records = None, []
    while True:
        page = stack.get("/invocations", params={"limit": 200, **({"before": before} if before else {})}).json
        records += page["invocations"]
        before = page["next"]
        if before is None:
            return records


def test_every_record_has_ended_once(stack):
    records = wait_until(
        lambda: (found := every_record(stack)) and all(r["status"] in TERMINAL for r in found) and found,
        seconds=60,
        what="every invocation has ended",
    )

    identifiers = [record["invocation_id"] for record in records]
    assert len(set(identifiers)) == len(identifiers)
    created = [datetime.fromisoformat(record["created_at"]) for record in records]
    # Newest first by the order of acceptance; the stamps of calls that arrive together may differ by a little.
    assert all(later > earlier - timedelta(seconds=1) for later, earlier in pairwise(created))
    for record in records:
        assert record["finished_at"], record
        assert (record["error"] is None) == (record["status"] == "succeeded"), record


def test_every_record_that_ran_names_a_log_file_that_tells_its_story(stack):
    checked = 0
    for record in every_record(stack):
        if not record["started_at"]:
            continue
        log = stack.logs_path / f"{record['container_name']}.log"
        assert record["log_file"] == f"logs/{log.name}"
        assert log.is_file(), record
        assert not log.is_symlink()
        content = log.read_bytes()
        identifier = record["invocation_id"].encode()
        assert b"START RequestId: " + identifier in content, record
        if record["status"] != "lost":
            assert re.search(rb"^END RequestId: " + identifier + rb"$", content, re.M), record
            assert re.search(rb"^REPORT RequestId: " + identifier + rb"\t", content, re.M), record
            assert record["log_state"] in ("complete", "truncated"), record
        checked += 1
    assert checked > 20


def test_the_gauges_are_at_rest(stack):
    metrics = stack.get("/metrics").text

    for name in ("smlops_invocations_in_flight", "smlops_queue_depth"):
        values = [float(line.split()[-1]) for line in metrics.splitlines() if line.startswith(name)]
        assert values, name
        assert all(value == 0 for value in values), [line for line in metrics.splitlines() if line.startswith(name)]


def test_the_debug_page_agrees_and_keeps_secrets(stack):
    page = stack.get("/debug")

    assert page.status == 200
    assert {"version", "engine", "images", "containers", "pool", "mlflow", "database", "disk"} <= set(page.json)
    assert not re.search(r"password|secret|token", page.text, re.I) or "***" in page.text


@pytest.mark.timeout(300)
def test_stopping_leaves_no_container_and_starting_again_brings_everything_back(stack):
    newest = stack.record(every_record(stack)[0]["invocation_id"])
    latest = stack.get("/models/iris_model").json["latest_version"]

    status, output = stack.run_start_script("--stop")

    assert status == 0, output[-3000:]
    assert container_ids(f"smlops.stack={stack.name}") == []
    assert container_ids(f"com.docker.compose.project={stack.name}") == []
    assert network_ids(f"com.docker.compose.project={stack.name}") == []

    started = time.monotonic()
    stack.start()
    assert time.monotonic() - started < 60
    assert stack.record(newest["invocation_id"]) == newest
    assert stack.get("/models/iris_model").json["latest_version"] == latest
