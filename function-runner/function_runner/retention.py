"""Keeps the disk from filling up: removes records, logs and images that are old, or more than there may be.

What the settings bound is removed; nothing is removed that

- a registered model version in MLflow came from: the record of the run, its log, and the image that ran;
- is in use or not over: open records, logs being written, images of present sources or of any container;
- does not carry our names and labels.

While MLflow does not answer, everything that a model version may have come from stays. Records are removed in small
batches, so that no invocation waits for long; a log is marked in its record first and removed then.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from heapq import nsmallest
from typing import NamedTuple, TypeVar

from function_runner.catalog import Catalog
from function_runner.docker_engine import ContainerEngine, Image
from function_runner.docker_spec import LABEL_FUNCTION, cache_tag, image_tag
from function_runner.errors import DiskFull, MlflowUnavailable, RunnerError
from function_runner.images import Images
from function_runner.invocation import utc_now
from function_runner.logs import LogStore, StoredLog
from function_runner.metrics import Metrics
from function_runner.rounds import Rounds
from function_runner.settings import MEBIBYTE, Settings
from function_runner.store import LogOnRecord, Store, StoreSize
from function_runner.tracking import Tracking

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_SECONDS = 20.0  # after the start, which has enough to do
INTERVAL_SECONDS = 600.0
SHORT_OF_ROOM_SECONDS = 60.0  # instead, while new invocations are refused
RECORDS_AT_ONCE = 50  # with one commit: a few milliseconds
LOGS_AT_ONCE = 200
LOGS_IN_ONE_GO = 20_000  # the oldest; the names of all might not fit into memory
PAUSE_SECONDS = 0.05  # between batches, for others


@dataclass(frozen=True)
class Amount:
    """So many things of one kind, and what they take of the disk."""

    count: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Run:
    """What one run of retention did."""

    at: datetime
    seconds: float
    freed: Mapping[str, Amount]  # by kind
    problem: str | None  # why something was left


@dataclass(frozen=True)
class Survey:
    """What there is, and what a run would remove now; both by kind.

    Sizes of images count what images share for each of them, and what records would free is an estimate, without the
    young logs that they would take along.
    """

    stored: Mapping[str, Amount]
    removable: Mapping[str, Amount]
    problem: str | None  # why something would be left
    last_run: Run | None


class _LogToRemove(NamedTuple):
    log: StoredLog
    invocation_ids: tuple[str, ...]  # whose records do not know it yet
    is_orphan: bool


@dataclass
class _Found:
    """What is kept because of MLflow, and what a look around found."""

    runs: frozenset[str] | None = None  # that registered versions came from; None: MLflow did not say
    problems: list[str] = field(default_factory=list)

    @property
    def problem(self) -> str | None:
        return " ".join(self.problems) or None

    def keeps(self, run_id: str | None) -> bool:
        """True for what a record of this run has to do with."""
        return run_id is not None and (self.runs is None or run_id in self.runs)


class Retention:
    """Works in a thread of its own, a little after the start and then every ten minutes."""

    def __init__(
        self,
        settings: Settings,
        engine: ContainerEngine,
        catalog: Catalog,
        store: Store,
        logs: LogStore,
        images: Images,
        tracking: Tracking,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._catalog = catalog
        self._store = store
        self._logs = logs
        self._images = images
        self._tracking = tracking
        self._metrics = metrics
        self._last_run: Run | None = None
        self._pause = INTERVAL_SECONDS
        self._rounds = Rounds(
            "retention",
            self._round,
            pause=lambda: self._pause,
            first_pause=FIRST_SECONDS,
            failure="retention_failed",
        )

    def start(self) -> None:
        """Go on in the background until `stop`."""
        self._rounds.start()

    def stop(self) -> None:
        """Remove nothing more; what is being removed is finished."""
        self._rounds.stop()

    def survey(self) -> Survey:
        """What there is and what would be removed now. Removes nothing; takes a moment where there is much."""
        found = self._ask_mlflow()
        stored = _Stored()
        size = self._store.size()
        removable = {"records": self._removable_records(size, found)}
        logs = list(self._removable_logs(stored, found))
        removable["logs"] = _amount(entry.log.bytes for entry in logs if not entry.is_orphan)
        removable["orphaned_logs"] = _amount(entry.log.bytes for entry in logs if entry.is_orphan)
        images, untagged = self._engine.images(), self._engine.untagged_images()
        removable["images"] = _amount(image.size_bytes for image in self._removable_images(images, found))
        removable["untagged_images"] = _amount(image.size_bytes for image in self._removable_untagged(untagged, found))
        cache = self._engine.build_cache()
        removable["build_cache"] = _amount(image.size_bytes for image in self._removable_cache(cache))
        removable["build_logs"] = _amount(entry.bytes for entry in self._removable_build_logs(images))
        return Survey(
            stored={
                "records": Amount(size.records, size.bytes),
                "logs": stored.logs,
                "build_logs": stored.build_logs,
                "images": _amount(image.size_bytes for image in images),
                "untagged_images": _amount(image.size_bytes for image in untagged),
                "build_cache": _amount(image.size_bytes for image in cache),
            },
            removable=removable,
            problem=found.problem,
            last_run=self._last_run,
        )

    def run(self) -> Run:
        """Remove what may go. What cannot be done, because somebody does not answer, is left for the next time."""
        at, started = utc_now(), time.monotonic()
        found = self._ask_mlflow()
        freed: dict[str, Amount] = {}
        for step in (self._remove_records, self._remove_logs, self._remove_images, self._remove_build_logs):
            try:
                step(found, freed)
            except RunnerError as error:
                found.problems.append(error.detail)
        for kind, amount in freed.items():
            self._metrics.removed(kind, amount.count, amount.bytes)
        run = Run(at, round(time.monotonic() - started, 3), freed, found.problem)
        if freed or run.problem:
            log.info(
                "retention removed %s%s",
                ", ".join(f"{amount.count} {kind}" for kind, amount in freed.items()) or "nothing",
                f"; {run.problem}" if run.problem else "",
                extra={"action": "retention"},
            )
        self._last_run = run
        return run

    def _round(self) -> None:
        self._pause = INTERVAL_SECONDS
        try:
            self.run()
            self._measure()
            self._store.require_room()
        except DiskFull as error:
            log.warning("%s", error, extra={"action": "disk_full"})
            self._pause = SHORT_OF_ROOM_SECONDS

    def _measure(self) -> None:
        sizes = {
            "records": self._store.size().bytes,
            "logs": sum(entry.bytes for entry in self._logs.stored()),
            "build_logs": sum(entry.bytes for entry in self._logs.stored_builds()),
            "images": sum(
                image.size_bytes
                for images in (self._engine.images(), self._engine.untagged_images(), self._engine.build_cache())
                for image in images
            ),
        }
        for kind, size in sizes.items():
            self._metrics.set_disk_usage(kind, size)

    def _ask_mlflow(self) -> _Found:
        try:
            return _Found(self._tracking.runs_of_versions())
        except MlflowUnavailable as error:
            return _Found(None, [f"What a model version may have come from was left: {error.detail}"])

    # --- records ------------------------------------------------------------------------------------------------------

    def _removable_records(self, size: StoreSize, found: _Found) -> Amount:
        def removable(below: int) -> int:
            kept = sum(maker.sequence < below for maker in self._store.makers(found.runs))
            return self._store.count_ended(below=below) - kept

        old = removable(self._store.first_since(cutoff)) if (cutoff := self._cutoff("records")) else 0
        surplus = max(0, size.records - self._settings.records_max) if self._settings.records_max else 0
        count = old if old >= surplus else min(surplus, removable(_ALL))
        return Amount(count, round(size.used_bytes * count / size.records) if count else 0)

    def _remove_records(self, found: _Found, freed: dict[str, Amount]) -> None:
        size = self._store.size()
        cutoff = self._cutoff("records")
        removed = 0
        if cutoff is not None:
            removed = self._remove_oldest(found, freed, below=self._store.first_since(cutoff), before=cutoff)
        if self._settings.records_max:
            surplus = size.records - removed - self._settings.records_max
            removed += self._remove_oldest(found, freed, below=_ALL, at_most=surplus)
        if removed:
            freed["records"] = Amount(removed, round(size.used_bytes * removed / size.records))

    def _remove_oldest(
        self,
        found: _Found,
        freed: dict[str, Amount],
        *,
        below: int,
        before: datetime | None = None,
        at_most: int | None = None,
    ) -> int:
        """Remove the oldest records, batch by batch, and the logs that no other record names. Returns how many."""
        removed, after = 0, 0
        while at_most is None or removed < at_most:
            limit = RECORDS_AT_ONCE if at_most is None else min(RECORDS_AT_ONCE, at_most - removed)
            batch = self._store.remove_ended(after=after, below=below, before=before, kept_runs=found.runs, limit=limit)
            if batch is None:
                break
            removed, after = removed + batch.count, batch.last_sequence
            named = {entry.container_name for entry in self._store.logs_on_record(batch.containers)}
            for name in batch.containers - named:
                stored = self._logs.find(name)
                if stored is not None and self._logs.remove(stored):
                    _add(freed, "logs", stored.bytes)
            if self._rounds.rest(PAUSE_SECONDS):
                break
        return removed

    # --- logs ---------------------------------------------------------------------------------------------------------

    def _removable_logs(self, stored: "_Stored", found: _Found) -> Iterator[_LogToRemove]:
        """The logs that may go, oldest first, of those that are old or too much. Fills in what there is."""
        for entry in self._logs.stored_builds():
            stored.build_logs = _plus(stored.build_logs, entry.bytes)
        oldest = nsmallest(LOGS_IN_ONE_GO, stored.seen(self._logs.stored()), key=lambda entry: entry.modified_at)
        cutoff = self._cutoff("logs")
        size = stored.logs.bytes + stored.build_logs.bytes
        limit = self._settings.logs_max_mb * MEBIBYTE or None
        containers: frozenset[str] | None = None  # asked for when an orphan is found
        for batch in _batches(oldest, LOGS_AT_ONCE):
            on_record: dict[str, list[LogOnRecord]] = {}
            for record in self._store.logs_on_record(entry.name for entry in batch):
                on_record.setdefault(record.container_name, []).append(record)
            for entry in batch:
                is_old = cutoff is not None and entry.modified_at < cutoff.timestamp()
                if not is_old and (limit is None or size <= limit):
                    return
                records = on_record.get(entry.name, [])
                if not records:
                    containers = self._container_names() if containers is None else containers
                    is_removable = is_old and entry.name not in containers
                else:
                    # A container that serves many goes on writing after an invocation of it is settled.
                    is_removable = not self._logs.is_open(entry.name) and all(
                        one.is_settled and not found.keeps(one.run_id) for one in records
                    )
                if is_removable:
                    size -= entry.bytes
                    unmarked = tuple(one.invocation_id for one in records if not one.is_expired)
                    yield _LogToRemove(entry, unmarked, not records)

    def _remove_logs(self, found: _Found, freed: dict[str, Amount]) -> None:
        while not self._rounds.is_stopped:
            # All are chosen before the first is removed: the size that decides is that of a folder at rest.
            chosen = list(self._removable_logs(_Stored(), found))
            removed = 0
            for batch in _batches(chosen, LOGS_AT_ONCE):
                marked = [one for entry in batch for one in entry.invocation_ids]
                if marked:
                    self._store.note_logs_expired(marked)
                for entry in batch:
                    if self._logs.remove(entry.log):
                        _add(freed, "orphaned_logs" if entry.is_orphan else "logs", entry.log.bytes)
                        removed += 1
                if self._rounds.rest(PAUSE_SECONDS):
                    return
            if removed < LOGS_IN_ONE_GO:
                return

    def _container_names(self) -> frozenset[str]:
        return frozenset(container.name for container in self._engine.containers())

    # --- images -------------------------------------------------------------------------------------------------------

    def _removable_images(self, images: Iterable[Image], found: _Found) -> list[Image]:
        """Images of earlier sources, which another one replaced so long ago. All stay while MLflow does not answer."""
        cutoff = self._cutoff("images")
        if cutoff is None or found.runs is None:
            return []
        entries = self._catalog.list()
        present = {image_tag(entry.function, self._settings) for entry in entries if entry.function is not None}
        # Of a folder that cannot be read nobody knows the present source.
        unknown = {entry.name for entry in entries if entry.function is None}
        prefix = f"{self._settings.stack}/function-"
        # A replay that waits can be run by the image of then only; what runs right now has a container.
        awaited = {f"{prefix}{function}:{source[:12]}" for function, source in self._store.sources_in_use()}
        kept = self._kept_images(found.runs) | awaited
        by_function: dict[str, list[Image]] = {}
        for image in images:
            function = image.labels[LABEL_FUNCTION]
            # Other names for our images, and images made from ours, are somebody else's.
            if image.tag.startswith(f"{prefix}{function}:") and function not in unknown:
                by_function.setdefault(function, []).append(image)
        return [
            image
            for made in by_function.values()
            for image, replaced_at in _with_their_ends(made)
            if replaced_at < cutoff and image.tag not in present and not {image.id, image.tag} & kept
        ]

    def _removable_untagged(self, images: Iterable[Image], found: _Found) -> list[Image]:
        """Images whose name went over to a newer build."""
        cutoff = self._cutoff("images")
        if cutoff is None or found.runs is None:
            return []
        kept = self._kept_images(found.runs)
        return [image for image in images if image.built_at < cutoff and image.id not in kept]

    def _removable_cache(self, images: Iterable[Image]) -> list[Image]:
        """What building earlier sources left. A model version came from none of it, and what an image needs stays."""
        cutoff = self._cutoff("images")
        if cutoff is None:
            return []
        entries = self._catalog.list()
        versions = {entry.name: entry.function.version if entry.function else "*" for entry in entries}
        present = [cache_tag(self._settings.stack, name, f"{version}-*") for name, version in versions.items()]
        return [
            image
            for image in images
            if image.built_at < cutoff and not any(fnmatchcase(image.tag, pattern) for pattern in present)
        ]

    def _kept_images(self, runs: frozenset[str]) -> set[str]:
        """Ids of images that model versions came from, ids and names of those that containers of ours use."""
        made = {maker.image_id for maker in self._store.makers(runs) if maker.image_id is not None}
        return made | {container.image for container in self._engine.containers()}

    def _remove_images(self, found: _Found, freed: dict[str, Amount]) -> None:
        choices: tuple[tuple[str, Callable[[], list[Image]]], ...] = (
            ("images", lambda: self._removable_images(self._engine.images(), found)),
            ("untagged_images", lambda: self._removable_untagged(self._engine.untagged_images(), found)),
            ("build_cache", lambda: self._removable_cache(self._engine.build_cache())),
        )
        for kind, choose in choices:
            for image in choose():
                if self._rounds.is_stopped:
                    return
                # The engine itself refuses to remove what any container uses, also one that is nothing of ours.
                if self._images.remove(image):
                    _add(freed, kind, image.size_bytes)
                    log.info("image removed: %s", image.tag, extra={"action": "image_removed", "image": image.tag})

    def _removable_build_logs(self, images: Iterable[Image]) -> list[StoredLog]:
        """Old logs of builds whose image is not there and not to be made either."""
        cutoff = self._cutoff("logs")
        if cutoff is None:
            return []
        entries = self._catalog.list()
        names = {f"{entry.name}-{entry.function.version}" for entry in entries if entry.function is not None}
        names |= {f"{image.labels[LABEL_FUNCTION]}-{image.tag.rpartition(':')[2]}" for image in images}
        unknown = {entry.name for entry in entries if entry.function is None}
        return [
            entry
            for entry in self._logs.stored_builds()
            if entry.modified_at < cutoff.timestamp()
            and entry.name not in names
            and entry.name.rpartition("-")[0] not in unknown
        ]

    def _remove_build_logs(self, _found: _Found, freed: dict[str, Amount]) -> None:
        for entry in self._removable_build_logs(self._engine.images()):
            if self._logs.remove_build(entry):
                _add(freed, "build_logs", entry.bytes)

    def _cutoff(self, kind: str) -> datetime | None:
        """What is older than this may go; None: nothing goes because of its age."""
        days: float = getattr(self._settings, f"retain_{kind}_days")
        return utc_now() - timedelta(days=days) if days else None


_ALL = 2**62  # a sequence beyond every record


@dataclass
class _Stored:
    """What there is of logs; filled in while they are looked through."""

    logs: Amount = Amount()
    build_logs: Amount = Amount()

    def seen(self, entries: Iterable[StoredLog]) -> Iterator[StoredLog]:
        """The same entries, counted."""
        for entry in entries:
            self.logs = _plus(self.logs, entry.bytes)
            yield entry


def _batches(entries: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(entries), size):
        yield entries[start : start + size]


def _with_their_ends(images: list[Image]) -> Iterator[tuple[Image, datetime]]:
    """Each image with the moment in which a newer one of the function took its place; of the newest, its own."""
    ordered = sorted(images, key=lambda image: image.built_at)
    for image, newer in zip(ordered, [*ordered[1:], ordered[-1]], strict=True):
        yield image, newer.built_at


def _amount(sizes: Iterable[int]) -> Amount:
    listed = list(sizes)
    return Amount(len(listed), sum(listed))


def _plus(amount: Amount, size: int) -> Amount:
    return Amount(amount.count + 1, amount.bytes + size)


def _add(freed: dict[str, Amount], kind: str, size: int) -> None:
    freed[kind] = _plus(freed.get(kind, Amount()), size)
