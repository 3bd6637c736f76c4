"""Memory of containers that are ready and wait, and of the services."""

from benchmarks.bench import Bench
from benchmarks.figures import number
from benchmarks.machine import MEBIBYTE, NOTHING, Memory, memory_of, parent_of, processes_of
from benchmarks.report import Section
from benchmarks.system import warm

POOLS = {"echo": 4, "predict": 4, "predict-sklearn": 4, "train": 2}
SERVICES = ("runner", "mlflow", "nginx")


def measure(bench: Bench) -> Section:
    """About 1 minute; 20 s when quick."""
    system = bench.system
    copies = [warm(source, containers) for source, containers in POOLS.items()]
    system.serve(*copies)
    section = Section()
    try:
        rows = [row for copy in copies if (row := _environments_row(bench, copy.name, copy.source))]
        services = [_row(name, [memory_of(processes_of(system.container_id(name)))]) for name in SERVICES]
    except PermissionError:
        section.text("Not measured: only root may see the memory of other users' processes.")
        return section
    if rows:
        section.text("An environment that is ready and waits, MiB on average:")
        section.table(["", "measured", "PSS", "RSS", "and its shim, PSS"], rows)
    else:
        section.text("No environment was ready, so none was measured.")
    section.text("The services after a while of use, MiB:")
    section.table(["", "PSS", "RSS"], [[name, *sizes] for name, _, *sizes in services])
    return section


def _environments_row(bench: Bench, function: str, title: str) -> list[str] | None:
    containers = [found for found in bench.system.function_containers(function) if found["State"]["Running"]]
    if not containers:
        return None
    environments = [memory_of(processes_of(found["Id"])) for found in containers]
    shims = [memory_of([parent_of(found["State"]["Pid"])]) for found in containers]
    return [*_row(title, environments), number(sum(shims, NOTHING).pss / len(shims) / MEBIBYTE)]


def _row(title: str, memories: list[Memory]) -> list[str]:
    total = sum(memories, NOTHING)
    return [title, str(len(memories)), *(number(size / len(memories) / MEBIBYTE) for size in (total.pss, total.rss))]
