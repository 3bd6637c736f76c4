"""A store on a real SQLite file, and the few words that its tests are written in."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from function_runner.invocation import HandOver, Invocation, Start, Status, Timings, new_invocation_id, utc_now
from function_runner.store import Store


class Record:
    """A store with shortcuts: what a test does not care about has a value."""

    def __init__(self, file: Path, owner: str = "runner-1") -> None:
        self.file = file
        self.store = Store(f"sqlite:///{file}", owner=owner)

    def start(
        self,
        function: str = "echo",
        parameters: dict[str, Any] | None = None,
        accepted_at: datetime | None = None,
        **fields: Any,
    ) -> str:
        invocation = Invocation(
            id=new_invocation_id(),
            function=function,
            parameters=parameters or {},
            status=Status.QUEUED,
            created_at=accepted_at or utc_now(),
            timeout_seconds=60.0,
            **fields,
        )
        return self.store.start(invocation).id

    @staticmethod
    def hand_over(container_name: str = "echo-1", start: Start = Start.COLD) -> HandOver:
        return HandOver(
            container_name=container_name,
            start=start,
            started_at=utc_now(),
            source_hash="5" * 64,
            image_tag="smlops/function-echo:555555555555",
            image_id="sha256:1",
            base_image_id="sha256:0",
            memory_limit_mb=512,
        )

    def mark_running(self, invocation_id: str, container_name: str = "echo-1", start: Start = Start.COLD) -> bool:
        return self.store.mark_running(invocation_id, self.hand_over(container_name, start))

    def finish(self, invocation_id: str, status: Status = Status.SUCCEEDED, **outcome: Any) -> bool:
        return self.store.finish(
            invocation_id, **{"status": status, "finished_at": utc_now(), "timings": Timings(), **outcome}
        )

    def run(self, function: str = "echo", status: Status = Status.SUCCEEDED, **outcome: Any) -> str:
        """One whole invocation."""
        invocation_id = self.start(function)
        assert self.mark_running(invocation_id)
        assert self.finish(invocation_id, status, **outcome)
        return invocation_id

    def get(self, invocation_id: str) -> Invocation:
        invocation = self.store.get(invocation_id)
        assert invocation is not None
        return invocation

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What somebody with the file and a shell can do."""
        with closing(sqlite3.connect(self.file, timeout=5)) as connection, connection:
            connection.execute("PRAGMA foreign_keys = ON")
            return connection.execute(statement, values).fetchall()

    def events(self, invocation_id: str) -> list[tuple[int, str]]:
        """Attempt and status of each event, in order."""
        return self.sql(
            "SELECT attempt, status FROM invocation_events WHERE invocation_id = ? ORDER BY sequence", invocation_id
        )


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables and no rows, to be copied."""
    file = tmp_path_factory.mktemp("store") / "empty.db"
    store = Store(f"sqlite:///{file}")
    store.migrate()
    store.close()
    return file


@pytest.fixture
def new_record(migrated: Path, tmp_path: Path) -> Iterator[Callable[..., Record]]:
    """Makes records on one file: several runners that share it."""
    file = tmp_path / "runner.db"
    shutil.copy(migrated, file)
    made: list[Record] = []

    def make(owner: str = "runner-1") -> Record:
        made.append(Record(file, owner))
        return made[-1]

    yield make
    for record in made:
        record.store.close()


@pytest.fixture
def record(new_record: Callable[..., Record]) -> Record:
    return new_record()
