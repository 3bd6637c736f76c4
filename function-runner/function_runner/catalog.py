"""The functions that can be invoked: reads ``functions/``, its manifests, and notices every change.

There is no cache to expire: each look-up compares the folder's files (name, size, time of change) with what was seen
last and reads again what differs. A folder of ten files costs about 50 microseconds, so an edited function is never
served from old code and a dropped-in folder needs no restart.
"""

import hashlib
import os
import re
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from pydantic import ValidationError

from function_runner.errors import FieldError, FunctionInvalid, FunctionNotFound, ParametersInvalid
from function_runner.function import NAME_PATTERN, WARM_GROWTH, WARM_LIMIT, Function, Manifest
from function_runner.settings import Settings

MANIFEST_NAMES = ("function.yaml", "function.yml")
MAX_FILES = 5000
MAX_MANIFEST_BYTES = 256 * 1024

# What editors, Python and version control leave in a folder; it is not part of the source.
IGNORED_FOLDERS = frozenset(
    {"__pycache__", ".git", ".ipynb_checkpoints", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
)
IGNORED_SUFFIXES = (".pyc", ".swp", "~", ".DS_Store")

_NAME = re.compile(NAME_PATTERN)

# One entry per file: path below the folder, mode, size, inode, and both times of change in nanoseconds. The inode's own
# time of change cannot be set back, so that `cp -p` and its like are noticed too.
_Fingerprint = tuple[tuple[str, int, int, int, int, int], ...]


@dataclass(frozen=True)
class CatalogEntry:
    """One folder of the catalog: a function, or the reason why it is none."""

    name: str
    function: Function | None = None
    problem: FunctionInvalid | None = None


class Catalog:
    """Knows every function in ``settings.functions_dir``. Safe to use from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[_Fingerprint, CatalogEntry]] = {}

    def get(self, name: str) -> Function:
        """The function as its folder stands right now.

        Raises:
            FunctionNotFound: there is no such folder; the message names those that exist.
            FunctionInvalid: the folder is there but cannot be used; the message says why.
        """
        # The name is checked before it goes near a path.
        folder = self._settings.functions_dir / name if _NAME.fullmatch(name) else None
        if folder is None or not folder.is_dir():
            entries = self.list()
            for entry in entries:
                if entry.name == name and entry.problem is not None:
                    raise entry.problem.again()  # a folder whose name cannot be a function's
            known = ", ".join(entry.name for entry in entries) or "none yet"
            shown = name if len(name) <= 60 else name[:57] + "..."
            raise FunctionNotFound(f"There is no function {shown!r}. Known functions: {known}.")
        entry = self._entry(folder)
        if entry.function is None:
            raise (entry.problem or FunctionInvalid(function=name)).again()
        return entry.function

    @property
    def is_there(self) -> bool:
        """False while the folder of all functions is missing: then nothing is known of any."""
        return self._settings.functions_dir.is_dir()

    def list(self) -> list[CatalogEntry]:
        """Every function folder, by name. Folders whose name starts with a dot or underscore are skipped."""
        try:
            folders = sorted(
                (Path(item.path) for item in os.scandir(self._settings.functions_dir) if item.is_dir()),
                key=lambda folder: folder.name,
            )
        except FileNotFoundError:
            return []
        entries = [self._entry(folder) for folder in folders if not folder.name.startswith((".", "_"))]
        with self._lock:
            gone = set(self._seen) - {folder.name for folder in folders}
            for name in gone:
                del self._seen[name]
        return entries

    def _entry(self, folder: Path) -> CatalogEntry:
        try:
            fingerprint = _fingerprint(folder)
            with self._lock:
                seen = self._seen.get(folder.name)
            if seen is not None and seen[0] == fingerprint:
                return seen[1]
            entry = self._read(folder, fingerprint)
        except OSError as error:
            # For example a file the runner may not read, or a folder deleted meanwhile: nothing to remember.
            return _invalid(folder.name, f"cannot be read: {error.strerror} ({Path(error.filename or folder).name})")
        with self._lock:
            self._seen[folder.name] = (fingerprint, entry)
        return entry

    def _read(self, folder: Path, fingerprint: _Fingerprint) -> CatalogEntry:
        name = folder.name
        if not _NAME.fullmatch(name):
            return _invalid(name, f"folder names of functions must match {NAME_PATTERN}")
        if len(fingerprint) > MAX_FILES:
            return _invalid(name, f"has more than {MAX_FILES} files; functions are built from their whole folder")
        if not any(path == "Dockerfile" for path, *_ in fingerprint):
            return _invalid(name, "has no Dockerfile")
        try:
            manifest = _read_manifest(folder)
        except ValidationError as error:
            return _invalid_manifest(
                name,
                [
                    FieldError("/" + "/".join(map(str, item["loc"])), item["msg"].removeprefix("Value error, "))
                    for item in error.errors()
                ],
            )
        except ValueError as error:
            return _invalid(name, f"function.yaml: {error}")
        settings = self._settings
        if manifest.timeout is not None and manifest.timeout > settings.max_timeout:
            return _invalid(name, f"function.yaml: /timeout: must be at most MAX_TIMEOUT ({settings.max_timeout:g} s)")
        function = Function(
            name=name,
            folder=folder,
            source_hash=_source_hash(folder, fingerprint, settings.python_image),
            description=manifest.description.strip(),
            timeout=manifest.timeout or settings.default_timeout,
            memory_mb=manifest.memory or settings.default_memory_mb,
            cpus=manifest.cpus or settings.default_cpus,
            warm=manifest.warm,
            warm_max=min(WARM_LIMIT, manifest.warm * WARM_GROWTH) if manifest.warm_max is None else manifest.warm_max,
            warm_max_age=manifest.warm_max_age,
            max_concurrency=manifest.max_concurrency,
            invocations_per_container=manifest.invocations_per_container,
            max_idle=manifest.max_idle,
            schema=manifest.parameters,
            retry_on=frozenset(manifest.retry_on),
            model=manifest.model,
            examples=tuple(example.model_dump() for example in manifest.examples),
            environment={key: _as_variable(value) for key, value in manifest.environment.items()},
        )
        return _with_schedules(function, manifest)


def _with_schedules(function: Function, manifest: Manifest) -> CatalogEntry:
    """The function with what it runs by itself, the parameters checked and completed like those of any caller."""
    schedules, errors = [], []
    for place, schedule in enumerate(manifest.schedule):
        try:
            complete = function.validate(schedule.parameters)
        except ParametersInvalid as error:
            at = f"/schedule/{place}/parameters"
            errors += [FieldError(at + complaint.pointer, complaint.detail) for complaint in error.errors]
        else:
            schedules.append(schedule.model_copy(update={"parameters": complete}))
    if errors:
        return _invalid_manifest(function.name, errors)
    return CatalogEntry(function.name, replace(function, schedules=tuple(schedules)))


def _invalid_manifest(name: str, errors: list[FieldError]) -> CatalogEntry:
    words = "; ".join(f"{error.pointer}: {error.detail}" for error in errors)
    return _invalid(name, f"function.yaml: {words}", errors)


def _invalid(name: str, reason: str, errors: list[FieldError] | None = None) -> CatalogEntry:
    return CatalogEntry(
        name, problem=FunctionInvalid(f"Function {name!r} {reason}.", errors=errors or (), function=name)
    )


def _fingerprint(folder: Path) -> _Fingerprint:
    """What the folder's files look like from outside. Symbolic links are not followed."""
    return tuple(sorted(_walk(str(folder), "")))


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, int, int, int, int, int]]:
    with os.scandir(folder) as items:
        for item in items:
            if item.name in IGNORED_FOLDERS or item.name.endswith(IGNORED_SUFFIXES):
                continue
            path = prefix + item.name
            if item.is_dir(follow_symlinks=False):
                yield from _walk(item.path, path + "/")
            else:
                status = item.stat(follow_symlinks=False)
                yield path, status.st_mode, status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def _source_hash(folder: Path, fingerprint: _Fingerprint, python_image: str) -> str:
    """SHA-256 over every file that can go into the image, and over the name of the image it is built from."""
    digest = hashlib.sha256(f"base {python_image}\n".encode())
    for path, mode, *_ in fingerprint:
        # Of the mode only "executable" counts: a checkout under another umask is the same source.
        digest.update(f"{path}\0{mode & 0o100:o}\0".encode())
        full = folder / path
        if stat.S_ISLNK(mode):
            digest.update(str(full.readlink()).encode())
        elif stat.S_ISREG(mode):
            with full.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        digest.update(b"\n")
    return digest.hexdigest()


def _read_manifest(folder: Path) -> Manifest:
    """The manifest, or an empty one when there is none.

    Raises:
        ValueError: it is not YAML, or not an object (``ValidationError`` when its fields are wrong).
    """
    path = next((folder / name for name in MANIFEST_NAMES if (folder / name).is_file()), None)
    if path is None:
        return Manifest()
    data = path.read_bytes()
    if len(data) > MAX_MANIFEST_BYTES:
        raise ValueError(f"is larger than {MAX_MANIFEST_BYTES // 1024} KiB")
    try:
        content = yaml.safe_load(data)
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f" in line {place.line + 1}" if place else ""
        raise ValueError(f"is not YAML{where}: {getattr(error, 'problem', None) or 'it cannot be parsed'}") from error
    except UnicodeDecodeError as error:
        raise ValueError("is not UTF-8") from error
    if content is None:
        return Manifest()
    if not isinstance(content, dict):
        raise ValueError("must be a mapping with fields such as description and parameters")
    return Manifest.model_validate(content)


def _as_variable(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
