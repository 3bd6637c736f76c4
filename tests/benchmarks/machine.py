"""The machine: what it is, the CPU time it spends, the memory of its processes."""

import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from support.docker_cli import docker

TICKS = os.sysconf("SC_CLK_TCK")
MEBIBYTE = 1024 * 1024


class CpuMeter:
    """CPU time of the whole machine within a ``with`` block: every process, the engine and the kernel included."""

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        self._at_begin = _busy_ticks()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_seconds = (_busy_ticks() - self._at_begin) / TICKS
        self.seconds = time.perf_counter() - self._began

    @property
    def cores_busy(self) -> float:
        """How many cores were busy on average."""
        return self.cpu_seconds / self.seconds


def _busy_ticks() -> int:
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return user + nice + system + irq + softirq


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def memory_mb(field: str = "MemTotal") -> int:
    """A line of /proc/meminfo in MiB."""
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) // 1024


def describe() -> str:
    """One sentence for the reader of a table."""
    engine = docker("version", "--format", "{{.Server.Version}}").strip()
    driver, cgroup = docker("info", "--format", "{{.Driver}} {{.CgroupVersion}}").split()
    kernel = ".".join(platform.release().split(".")[:2])
    return (
        f"{cores()} cores ({_processor()}), {round(memory_mb() / 1024)} GiB, {_system()}, kernel {kernel}, "
        f"Docker Engine {engine} ({driver}, cgroup v{cgroup})"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


@dataclass(frozen=True)
class Memory:
    """Of some processes, in bytes. What several processes share counts in part for each (PSS), or in full (RSS)."""

    pss: int
    rss: int

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(self.pss + other.pss, self.rss + other.rss)


NOTHING = Memory(0, 0)


def memory_of(pids: Iterable[int]) -> Memory:
    """Of these processes; those that have ended count nothing.

    Raises:
        PermissionError: only root may look into processes of others.
    """
    return sum((_memory_of(pid) for pid in pids), NOTHING)


def _memory_of(pid: int) -> Memory:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return NOTHING
    sizes = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines[1:])}
    return Memory(sizes["Pss"], sizes["Rss"])


def processes_of(container: str) -> list[int]:
    """Process ids, as this machine sees them, of a running container."""
    return [int(pid) for pid in docker("top", container, "-eo", "pid").split()[1:]]


def parent_of(pid: int) -> int:
    """The process that started this one."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
