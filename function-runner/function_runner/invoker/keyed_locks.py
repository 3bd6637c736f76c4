"""Locks by name, made when somebody wants one and gone when nobody does."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class KeyedLocks:
    """One lock for each idempotency key in use: from looking whether it is free until it is recorded, one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[tuple[str, str], tuple[threading.Lock, int]] = {}  # with how many hold or want it

    @contextmanager
    def held(self, function: str, key: str | None) -> Iterator[None]:
        """While this is open, nobody else has the key; without one there is nothing to hold."""
        if key is None:
            yield
            return
        name = (function, key)
        with self._lock:
            lock, users = self._held.get(name, (threading.Lock(), 0))
            self._held[name] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, users = self._held.pop(name)
                if users > 1:
                    self._held[name] = (lock, users - 1)
