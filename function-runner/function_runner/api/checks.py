"""Asks several outside systems at once, and waits no longer than told for whoever does not answer."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any


class NoAnswer(Exception):
    """There was no answer in time."""


class Checks:
    """Named calls that may hang. Each is under way at most once, so that one that hangs costs one thread, not many."""

    def __init__(self, calls: Mapping[str, Callable[[], Any]], *, keep_seconds: float) -> None:
        """``keep_seconds``: an answer not older than this is given again."""
        self._calls = dict(calls)
        self._keep_seconds = keep_seconds
        self._workers = ThreadPoolExecutor(len(self._calls), thread_name_prefix="check")
        self._lock = threading.Lock()
        self._latest: dict[str, Future[tuple[float, Any]]] = {}  # guarded by the lock

    def run(self, *, within: float) -> dict[str, Any]:
        """What each call returned; for one that failed, its exception; for one that is late, `NoAnswer`."""
        with self._lock:
            futures = {name: self._current(name) for name in self._calls}
        wait(futures.values(), timeout=within)
        return {name: _outcome(future, within) for name, future in futures.items()}

    def _current(self, name: str) -> Future[tuple[float, Any]]:
        latest = self._latest.get(name)
        if latest is None or (latest.done() and not self._is_fresh(latest)):
            latest = self._latest[name] = self._workers.submit(_timed, self._calls[name])
        return latest

    def _is_fresh(self, future: Future[tuple[float, Any]]) -> bool:
        answered_at, _ = future.result()
        return time.monotonic() - answered_at < self._keep_seconds


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    try:
        outcome = call()
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it is the answer
        outcome = error
    return time.monotonic(), outcome


def _outcome(future: Future[tuple[float, Any]], within: float) -> Any:
    return future.result()[1] if future.done() else NoAnswer(f"no answer within {within:g} s")
