"""Old images leave the real engine; what is new, in use, or somebody else's stays."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from function_runner.catalog import Catalog
from function_runner.docker_engine import DockerEngine
from function_runner.images import Images
from function_runner.invocation import Deadline
from function_runner.logs import LogStore
from function_runner.metrics import Metrics
from function_runner.retention import Retention
from function_runner.settings import Settings
from function_runner.store import Store
from support.docker_cli import docker, image_tags
from support.waiting import wait_until

NAME = f"smlops-retention-{secrets.token_hex(3)}"
A_MOMENT = 1e-7  # days


@dataclass
class Mlflow:
    """Nothing is registered."""

    runs: frozenset[str] = field(default_factory=frozenset)

    def runs_of_versions(self) -> frozenset[str]:
        return self.runs


@pytest.fixture
def house(stack, tmp_path) -> Iterator[tuple[Retention, Images, Catalog]]:
    """Retention of a stack that is nothing but images, on the same engine."""
    (tmp_path / "functions" / "probe").mkdir(parents=True)
    (tmp_path / "logs").mkdir()
    settings = Settings(
        stack=NAME,
        functions_dir=tmp_path / "functions",
        logs_dir=tmp_path / "logs",
        database_url=f"sqlite:///{tmp_path}/runner.db",
        python_image=stack.python_image,
        retain_images_days=A_MOMENT,
    )
    engine = DockerEngine(settings.docker_host, stack=NAME, network="none")
    catalog, metrics = Catalog(settings), Metrics()
    logs = LogStore(settings.logs_dir, max_bytes=settings.log_max_bytes)
    store = Store(settings.database_url)
    store.migrate()
    images = Images(settings, engine, catalog, logs, metrics)
    yield Retention(settings, engine, catalog, store, logs, images, Mlflow(), metrics), images, catalog
    images.close()
    store.close()
    engine.close()
    for tag in [*image_tags(f"{NAME}/*"), *image_tags(f"{NAME}-mine")]:
        docker("rmi", "-f", tag)


def test_it_works(house, tmp_path):
    retention, images, catalog = house
    folder = tmp_path / "functions" / "probe"
    (folder / "Dockerfile").write_text('ARG PYTHON_IMAGE\nFROM ${PYTHON_IMAGE}\nCOPY handler.py /\nCMD ["true"]\n')
    made = []
    for text in ("used", "old", "present"):
        (folder / "handler.py").write_text(f"# {text}\n")
        made.append(images.ensure(catalog.get("probe"), Deadline.after(60)))
    used, old, present = made
    foreign = f"{NAME}-mine:latest"
    (tmp_path / "Dockerfile").write_text(f"FROM {old.tag}\nLABEL mine=1\n")  # it inherits our labels
    docker("build", "-q", "-t", foreign, str(tmp_path))
    container = docker("create", used.tag).strip()
    try:
        assert retention.survey().removable["images"].count == 2
        run = retention.run()
    finally:
        docker("rm", container)

    assert run.problem is None
    assert run.freed["images"].count == 1
    assert sorted(image_tags(f"{NAME}/*")) == sorted([used.tag, present.tag])
    assert image_tags(f"{NAME}-mine") == [foreign]


def test_the_running_system_says_what_it_keeps(stack):
    def after_a_run():
        found = stack.get("/debug").json["retention"]
        return found if found.get("last_run") else None

    retention = wait_until(after_a_run, seconds=60, what="retention ran")

    assert (retention["problem"], retention["last_run"]["problem"]) == (None, None)
    assert retention["settings"]["retain_records_days"] == 30
    assert {"records", "logs", "images"} <= set(retention["stored"])
