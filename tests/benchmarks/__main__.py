"""Runs the benchmarks that were asked for, in one go on one system, and writes what they find. Use run.sh."""

import argparse
import logging
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from benchmarks.bench import Bench
from benchmarks.figures import number
from benchmarks.system import System
from support.stack import remove

NAMES = ("peers", "overhead", "sustained", "burst", "memory", "train", "growth")
ON_REQUEST = ("soak", "crashes")  # too long for every time
IDLE_SECONDS = 5.0

log = logging.getLogger(__name__)


def main() -> None:
    """Measure. A benchmark that fails leaves its table as it was and does not keep the others from being done."""
    arguments = _arguments()
    _on_interruption(signal.default_int_handler)
    try:
        with _running_system() as system:
            bench = Bench(system, arguments.quick, _cache(), system.directory)
            circumstances = _circumstances(bench)
            failed = [name for name in arguments.names if not _measure(name, bench, circumstances)]
    except KeyboardInterrupt:
        sys.exit("Interrupted. The tables of what was finished are written.")
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}")


def _measure(name: str, bench: Bench, circumstances: str) -> bool:
    began = time.monotonic()
    _say(f"{name}: {datetime.now(UTC):%H:%M:%S}")
    try:
        section = import_module(f"benchmarks.measurements.{name}").measure(bench)
        report.write(name, section, circumstances)
    except Exception:  # an edge: whatever went wrong with one, the others are worth having
        log.exception("%s failed\n%s", name, bench.system.describe())
        return False
    _say(f"{name}: done after {time.monotonic() - began:.0f} s")
    return True


@contextmanager
def _running_system() -> Iterator[System]:
    name = os.environ.get("BENCHMARK_STACK") or f"smlops-bench-{secrets.token_hex(2)}"
    directory = Path(tempfile.gettempdir()) / name
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)  # the runner, another user, reads the functions below it
    system = System(name, directory)
    _say(f"The system that is measured is called {name}; its files are in {directory}")
    try:
        system.start_with_models()
        yield system
    finally:
        if os.environ.get("KEEP"):
            _say(f"Kept: stack {name}, files in {directory}")
        else:
            _on_interruption(signal.SIG_IGN)  # it takes seconds, and is what an impatient person wants too
            _say("Removing it")
            system.run_start_script("--stop")
            remove(name, directory)


def _on_interruption(act: Any) -> None:
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, act)


def _circumstances(bench: Bench) -> str:
    quick = " Quick run with small samples: not to be quoted." if bench.quick else ""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, version {bench.system.version()}. {machine.describe()}; "
        f"{number(_idle_load(bench))} cores were busy before the first measurement.{quick}"
    )


def _idle_load(bench: Bench) -> float:
    """Cores that are busy although nobody calls: whatever else the machine does is in every figure."""
    bench.system.settle()
    with machine.CpuMeter() as meter:
        time.sleep(IDLE_SECONDS)
    return meter.cores_busy


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(base) / "smlops-benchmarks"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/benchmarks/run.sh")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("names", nargs="*", metavar="name")
    arguments = parser.parse_args()
    known = (*NAMES, *ON_REQUEST)
    unknown = set(arguments.names) - set(known)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    arguments.names = [name for name in known if name in (arguments.names or NAMES)]
    return arguments


def _say(text: str) -> None:
    print(f"==> {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
