"""Fixtures of the tests that run against the whole system."""

import shutil
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from support.client import Answer
from support.stack import Stack
from support.waiting import wait_until


@pytest.fixture(autouse=True)
def nothing_stays(request: pytest.FixtureRequest, stack: Stack) -> Iterator[None]:
    """After each test its containers are gone; one that stays is a failure."""
    yield
    wait_until(lambda: not stack.used_containers(), seconds=30, what="the containers of this test are removed")


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    """Threads for calls that go on while the test looks at something else."""
    with ThreadPoolExecutor(max_workers=64) as pool:
        yield pool


@pytest.fixture
def running(stack: Stack, background: ThreadPoolExecutor) -> Callable[..., tuple["Future[Answer]", dict]]:
    """Invoke ``sleep`` in the background and return once it runs: the coming answer, and the record so far."""

    def start(seconds: float = 60, **options: object) -> tuple["Future[Answer]", dict]:
        options.setdefault("timeout", seconds + 30)
        known = {record["invocation_id"] for record in sleeping(stack)}
        answer = background.submit(stack.invoke, "sleep", {"seconds": seconds}, **options)

        def record() -> dict | None:
            if answer.done():
                raise AssertionError(f"ended before it ran: {answer.result().text[:1000]}")
            fresh = [found for found in sleeping(stack) if found["invocation_id"] not in known]
            return fresh[0] if fresh else None

        return answer, wait_until(record, seconds=90, what="the function sleep runs")

    return start


def sleeping(stack: Stack) -> list[dict]:
    """Records of ``sleep`` that are running right now."""
    return stack.get("/invocations?function=sleep&status=running&limit=200").json["invocations"]


@pytest.fixture
def drop(stack: Stack) -> Iterator[Callable[..., Path]]:
    """Drop a function's folder into the running system: a copy of ``echo`` with the given files instead of its own."""
    dropped: list[Path] = []

    def put(name: str, *, copy_of: str = "echo", remove: tuple[str, ...] = (), **files: str) -> Path:
        folder = stack.functions_path / name
        made = stack.directory / f"new-{name}"
        shutil.copytree(stack.functions_path / copy_of, made)
        for file_name in remove:
            (made / file_name).unlink(missing_ok=True)
        for file_name, text in files.items():
            (made / FILE_NAMES[file_name]).write_text(textwrap.dedent(text))
        made.rename(folder)  # at once, as a person would move it there
        dropped.append(folder)
        return folder

    yield put
    for folder in dropped:
        shutil.rmtree(folder, ignore_errors=True)


FILE_NAMES = {"handler": "handler.py", "manifest": "function.yaml", "dockerfile": "Dockerfile"}
