"""Where the names of models point right now: which version is ``latest``, which one an alias means.

Invocations must not wait for MLflow only to learn that. So what MLflow said is remembered, and asked again every second
for as long as somebody is interested. What a function of ours registers is known at once, because its result says so;
a change from outside is known a second later.
"""

import logging
import threading
import time
from dataclasses import dataclass

from function_runner.errors import ModelNotFound, RunnerError
from function_runner.invocation import ModelVersion
from function_runner.rounds import Rounds
from function_runner.tracking import NUMBER, Tracking

log = logging.getLogger(__name__)

REFRESH_SECONDS = 1.0
# An answer this old is not used any more: refreshing has fallen behind, or nobody had been interested.
MAX_AGE_SECONDS = 2.5
INTEREST_SECONDS = 120.0  # how long a name is kept fresh after somebody asked for it
AWAY_SECONDS = 2.0  # how long MLflow is left alone after it did not answer
MAX_NAMES = 32  # kept fresh at the same time; callers choose the names
ASK_SECONDS = 2.0  # how long an invocation waits for an answer that is not remembered


@dataclass(frozen=True)
class _Pointers:
    """What MLflow said about one model."""

    name: str
    latest: str | None
    aliases: dict[str, str]
    registered: str | None
    at: float  # time.monotonic() before it was asked

    def version(self, wanted: str) -> ModelVersion | None:
        number = self.latest if wanted == "latest" else self.aliases.get(wanted.removeprefix("@"))
        return ModelVersion(self.name, number, self.registered) if number is not None else None


class ModelVersions:
    """Answers from memory where it can. Safe to use from any thread."""

    def __init__(self, tracking: Tracking) -> None:
        """Nothing is asked yet; `start` begins to refresh."""
        self._tracking = tracking
        self._lock = threading.Lock()
        # Guarded by the lock:
        self._known: dict[str, _Pointers] = {}
        self._interest: dict[str, float] = {}  # when somebody last asked for this model
        self._not_before: dict[str, float] = {}  # after a failure
        self._forgotten_at: dict[str, float] = {}  # an answer asked for before this moment is out of date
        self._rounds = Rounds(
            "model-versions", self._refresh, pause=lambda: REFRESH_SECONDS, failure="model_refresh_failed"
        )

    def start(self) -> None:
        """Refresh in the background until `stop`."""
        self._rounds.start()

    def stop(self) -> None:
        """Refresh no more."""
        self._rounds.stop()

    def resolve(self, name: str, version: str) -> ModelVersion | None:
        """The version that is meant by a number, ``latest`` or ``@alias``.

        None when it cannot be told: MLflow is away, or there is no such thing. Whoever needs to know then asks MLflow
        itself, and gets a better answer. A number is taken as it is; that there is such a version is not checked.
        """
        if NUMBER.fullmatch(version):
            return ModelVersion(name, str(int(version)))
        if not (version == "latest" or version.startswith("@")):
            return None
        now = time.monotonic()
        with self._lock:
            self._interest[name] = now
            known = self._known.get(name)
            may_ask = now >= self._not_before.get(name, 0.0)
        if known is None or now - known.at > MAX_AGE_SECONDS:
            known = self._ask(name) if may_ask else None
        return known.version(version) if known is not None else None

    def remembered(self, name: str, version: str) -> ModelVersion | None:
        """As `resolve`, but from memory only, however old; it also keeps the name fresh from now on."""
        with self._lock:
            self._interest[name] = time.monotonic()
            known = self._known.get(name)
        return known.version(version) if known is not None else None

    def learn(self, name: str, version: str) -> bool:
        """A function says that it made or used this version. True when that is news, so that `latest` has moved."""
        if not NUMBER.fullmatch(version):
            return False
        with self._lock:
            known = self._known.get(name)
            if known is not None and known.latest is not None and int(version) <= int(known.latest):
                return False
            # Not simply noted: an alias may have been moved as well.
            self._known.pop(name, None)
            self._not_before.pop(name, None)
            self._forgotten_at[name] = time.monotonic()
            return True

    def moved(self, name: str) -> None:
        """An alias of this model was moved just now: what is remembered is out of date. MLflow is asked at once."""
        with self._lock:
            self._forgotten_at[name] = self._interest[name] = time.monotonic()
            self._known.pop(name, None)
            self._not_before.pop(name, None)
        self._ask(name)

    def _ask(self, name: str) -> _Pointers | None:
        at = time.monotonic()
        try:
            model = self._tracking.model(name, within=ASK_SECONDS)
            pointers = _Pointers(name, model["latest_version"], model["aliases"], model["created_at"], at)
        except ModelNotFound:
            with self._lock:
                self._interest.pop(name, None)  # callers name what they like
                self._known.pop(name, None)
            return None
        except RunnerError as error:
            log.info("MLflow was asked about a model in vain: %s", error, extra={"action": "model_unknown"})
            with self._lock:
                self._not_before[name] = time.monotonic() + AWAY_SECONDS
                self._known.pop(name, None)
            return None
        with self._lock:
            if at >= self._forgotten_at.get(name, 0.0):
                self._known[name] = pointers
        return pointers

    def _refresh(self) -> None:
        now = time.monotonic()
        with self._lock:
            newest = sorted(self._interest, key=lambda name: self._interest[name], reverse=True)
            forgettable = {name for name in newest if now - self._interest[name] > INTEREST_SECONDS}
            for name in forgettable.union(newest[MAX_NAMES:]):
                for memory in (self._interest, self._known, self._not_before, self._forgotten_at):
                    memory.pop(name, None)
            names = [name for name in self._interest if now >= self._not_before.get(name, 0.0)]
        for name in names:
            if self._rounds.is_stopped:
                return
            self._ask(name)
