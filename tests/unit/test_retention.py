"""What is old, or too much, leaves the disk; what is needed stays: real records, real files, made-up containers."""

import os
import time
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from function_runner.docker_spec import ContainerSpec, build_spec
from function_runner.errors import BuildFailed, DiskFull, MlflowUnavailable, NotFound, StoreUnavailable
from function_runner.invocation import (
    Deadline,
    HandOver,
    Invocation,
    LogState,
    Start,
    Status,
    Timings,
    new_invocation_id,
    utc_now,
)
from function_runner.metrics import Metrics
from function_runner.retention import Retention
from support.waiting import wait_until

ECHO = "def handler(event, context):\n    return 'echo'\n"
DAY = 86400


@dataclass
class FakeMlflow:
    """Registered versions came from these runs; ``error`` is raised instead when it is set."""

    runs: set[str] = field(default_factory=set)
    error: Exception | None = None

    def runs_of_versions(self):
        if self.error is not None:
            raise self.error
        return frozenset(self.runs)


class House:
    """A runner with retention, and words to make it look old."""

    def __init__(self, runner):
        self.runner = runner
        self.mlflow = FakeMlflow()
        self.metrics = Metrics()
        self.names = iter(range(1, 10**6))
        self.retention = Retention(
            runner.settings,
            runner.engine,
            runner.catalog,
            runner.store,
            runner.logs,
            runner.images,
            self.mlflow,
            self.metrics,
        )

    def invocation(
        self, days=0.0, *, status=Status.SUCCEEDED, log_state=LogState.COMPLETE, name=None, run_id=None, image_id="i"
    ):
        """The record and the log of an invocation of so many days ago."""
        name = name or f"echo-{next(self.names):012x}"
        accepted = Invocation(
            new_invocation_id(), "echo", {}, Status.QUEUED, utc_now() - timedelta(days=days), timeout_seconds=60
        )
        store = self.runner.store
        store.start(accepted, hand_over=HandOver(name, Start.COLD, accepted.created_at, image_id=image_id))
        if status.is_terminal:
            mlflow = {"run_id": run_id} if run_id else None
            store.finish(accepted.id, status=status, finished_at=utc_now(), timings=Timings(), result=1, mlflow=mlflow)
        if log_state is not None:
            store.note_facts(accepted.id, log_state=log_state)
        self.log(days, name)
        return store.get(accepted.id)

    def log(self, days=0.0, name=None, content="x\n"):
        """A log file that was last written so many days ago."""
        path = self.runner.settings.logs_dir / f"{name or f'echo-{next(self.names):012x}'}.log"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        self.age(path, days)
        return path

    @staticmethod
    def age(path, days):
        os.utime(path, (time.time() - days * DAY,) * 2)

    def image(self, handler, days=0.0, name="echo"):
        """Make this the function's source, and an image of it that was built so many days ago."""
        self.runner.add(name, handler)
        image = self.runner.images.ensure(self.runner.catalog.get(name), Deadline.after(60))
        self.runner.images.forget(image)
        return self.runner.engine.change_image(image.tag, built_at=utc_now() - timedelta(days=days))

    def is_there(self, record):
        return self.runner.store.get(record.id) is not None

    def has_log(self, record):
        return (self.runner.settings.logs_dir / f"{record.container_name}.log").exists()

    def state(self, record):
        return self.runner.store.get(record.id).log_state

    def tags(self):
        return {image.tag for image in self.runner.engine.images()}

    def counts(self, amounts):
        return {kind: amount.count for kind, amount in amounts.items() if amount.count}

    def run(self):
        """What a run removed, after making sure that this is what had been announced."""
        announced = self.counts(self.retention.survey().removable)
        freed = self.counts(self.retention.run().freed)
        assert freed == announced
        return freed


@pytest.fixture
def make_house(make_runner, monkeypatch):
    monkeypatch.setattr("function_runner.retention.PAUSE_SECONDS", 0)
    bounds = {"records_max": 0, "logs_max_mb": 0, "retain_records_days": 0, "retain_logs_days": 0}
    return lambda **values: House(make_runner(**{**bounds, "retain_images_days": 0, **values}))


def test_it_works(make_house):
    house = make_house(retain_records_days=30, retain_logs_days=14)
    old, middle, young = house.invocation(40), house.invocation(20), house.invocation(1)
    survey = house.retention.survey()
    assert survey.stored["records"].count == survey.stored["logs"].count == 3
    assert survey.last_run is None
    run = house.retention.run()
    assert house.counts(run.freed) == {"records": 1, "logs": 2}
    assert not house.is_there(old)
    assert not house.has_log(old)
    assert (house.state(middle), house.has_log(middle)) == (LogState.EXPIRED, False)
    assert (house.state(young), house.has_log(young)) == (LogState.COMPLETE, True)
    assert house.retention.survey().last_run == run
    assert house.counts(house.retention.run().freed) == {}


def test_without_bounds_nothing_goes(make_house):
    house = make_house()
    house.invocation(20_000)
    house.log(20_000)
    house.image(ECHO, 20_000)
    house.image(ECHO + "#\n", 20_000)
    assert house.run() == {}


def test_what_was_removed_is_counted(make_house):
    house = make_house(retain_logs_days=14)
    record = house.invocation(20)
    size = house.runner.logs.find(record.container_name).bytes
    house.retention.run()
    shown = house.metrics.render()[0].decode()
    assert 'smlops_retention_removed_total{kind="logs"} 1.0' in shown
    assert f'smlops_retention_freed_bytes_total{{kind="logs"}} {float(size)}' in shown


class TestRecords:
    def test_more_than_may_be_are_removed_from_the_oldest_on(self, make_house):
        house = make_house(records_max=3)
        made = [house.invocation(5 - age) for age in range(5)]
        assert house.retention.survey().removable["records"].count == 2
        assert house.counts(house.retention.run().freed) == {"records": 2, "logs": 2}
        assert [house.is_there(record) for record in made] == [False, False, True, True, True]
        assert [house.has_log(record) for record in made] == [False, False, True, True, True]

    def test_open_ones_stay_and_do_not_keep_others(self, make_house):
        house = make_house(records_max=1, retain_records_days=30)
        running = house.invocation(40, status=Status.RUNNING, log_state=None)
        ended = house.invocation(35)
        house.retention.run()
        assert house.is_there(running)
        assert house.has_log(running)
        assert not house.is_there(ended)

    def test_many_batches(self, make_house, monkeypatch):
        monkeypatch.setattr("function_runner.retention.RECORDS_AT_ONCE", 2)
        house = make_house(retain_records_days=30)
        made = [house.invocation(40, run_id="kept" if age % 2 else None) for age in range(7)]
        house.mlflow.runs = {"kept"}
        run = house.retention.run()
        assert run.freed["records"].count == 4
        assert [house.is_there(record) for record in made] == [False, True] * 3 + [False]

    def test_what_a_registered_version_came_from_stays_with_its_log(self, make_house):
        house = make_house(retain_records_days=30, retain_logs_days=14, logs_max_mb=1, records_max=1)
        kept, other = house.invocation(40, run_id="kept"), house.invocation(40, run_id="deleted")
        house.mlflow.runs = {"kept"}
        house.retention.run()
        assert house.is_there(kept)
        assert (house.state(kept), house.has_log(kept)) == (LogState.COMPLETE, True)
        assert not house.is_there(other)

    def test_while_mlflow_is_away_what_may_have_made_a_version_stays(self, make_house):
        house = make_house(retain_records_days=30, retain_logs_days=14)
        perhaps, surely_not = house.invocation(40, run_id="perhaps"), house.invocation(40)
        house.mlflow.error = MlflowUnavailable("MLflow is away.")
        survey = house.retention.survey()
        assert "MLflow is away." in survey.problem
        assert survey.removable["records"].count == 1
        run = house.retention.run()
        assert "MLflow is away." in run.problem
        assert house.is_there(perhaps)
        assert house.has_log(perhaps)
        assert not house.is_there(surely_not)

    def test_a_log_that_another_record_names_stays(self, make_house):
        house = make_house(retain_records_days=30)
        old = house.invocation(40, name="echo-0123456789ab")
        young = house.invocation(1, name="echo-0123456789ab")
        assert house.run() == {"records": 1}
        assert not house.is_there(old)
        assert house.has_log(young)

    def test_a_result_that_comes_meanwhile_is_not_lost(self, make_house):
        house = make_house(retain_records_days=30)
        running = house.invocation(40, status=Status.RUNNING, log_state=None)
        house.retention.run()
        assert house.runner.store.finish(
            running.id, status=Status.SUCCEEDED, finished_at=utc_now(), timings=Timings(), result=1
        )


class TestLogs:
    @pytest.mark.parametrize("log_state", [LogState.COMPLETE, LogState.TRUNCATED, LogState.PARTIAL])
    def test_old_ones_go_and_the_record_says_so(self, make_house, log_state):
        house = make_house(retain_logs_days=14)
        record = house.invocation(15, log_state=log_state)
        assert house.run() == {"logs": 1}
        assert (house.state(record), house.has_log(record)) == (LogState.EXPIRED, False)

    @pytest.mark.parametrize(
        ("status", "log_state"),
        [(Status.RUNNING, None), (Status.RUNNING, LogState.COMPLETE), (Status.SUCCEEDED, None), (Status.LOST, "open")],
    )
    def test_what_is_not_over_stays(self, make_house, status, log_state):
        house = make_house(retain_logs_days=14)
        record = house.invocation(15, status=status, log_state=log_state and LogState(log_state))
        assert house.run() == {}
        assert house.has_log(record)

    def test_too_much_goes_from_the_oldest_on(self, make_house):
        house = make_house(logs_max_mb=1)
        made = [house.invocation(5 - age) for age in range(5)]
        for number, record in enumerate(made):
            house.log(5 - number, record.container_name, "x" * 400_000)
        assert house.run() == {"logs": 3}
        assert [house.has_log(record) for record in made] == [False, False, False, True, True]
        assert [house.state(record) for record in made] == [LogState.EXPIRED] * 3 + [LogState.COMPLETE] * 2

    def test_what_is_kept_counts_and_others_go_instead(self, make_house):
        house = make_house(logs_max_mb=1)
        made = [house.invocation(5 - age, run_id="kept" if age == 0 else None) for age in range(4)]
        for number, record in enumerate(made):
            house.log(5 - number, record.container_name, "x" * 400_000)
        house.mlflow.runs = {"kept"}
        assert house.run() == {"logs": 2}
        assert [house.has_log(record) for record in made] == [True, False, False, True]

    def test_more_than_fit_into_one_go(self, make_house, monkeypatch):
        monkeypatch.setattr("function_runner.retention.LOGS_IN_ONE_GO", 3)
        monkeypatch.setattr("function_runner.retention.LOGS_AT_ONCE", 2)
        house = make_house(retain_logs_days=14)
        for _ in range(7):
            house.invocation(15)
        assert house.retention.run().freed["logs"].count == 7

    def test_a_log_that_is_being_written_stays_unmarked(self, make_house):
        house = make_house(retain_logs_days=14)
        name = "echo-0123456789ab"
        file = house.runner.logs.create(name)
        house.runner.logs.publish(name)
        (house.runner.settings.logs_dir / f"{name}.log").unlink()
        record = house.invocation(15, name=name)
        assert house.run() == {}
        assert house.state(record) is LogState.COMPLETE
        file.close()
        assert house.run() == {"logs": 1}

    def test_who_is_reading_it_is_told_that_it_is_gone(self, make_house):
        house = make_house(retain_logs_days=14)
        record = house.invocation(15)
        house.log(15, record.container_name, "x" * 200_000)
        part = house.runner.logs.part(record.container_name, record.id, is_reused=False)
        assert part.read()
        assert house.run() == {"logs": 1}
        with pytest.raises(NotFound):
            part.read()

    def test_what_was_marked_and_not_removed_is_removed_the_next_time(self, make_house):
        house = make_house(retain_logs_days=14)
        record = house.invocation(15, log_state=LogState.EXPIRED)
        assert house.run() == {"logs": 1}
        assert not house.has_log(record)

    def test_without_the_database_no_log_is_removed(self, make_house, monkeypatch):
        house = make_house(retain_logs_days=14)
        record = house.invocation(15)

        def refuse(_):
            raise StoreUnavailable("locked")

        monkeypatch.setattr(house.runner.store, "note_logs_expired", refuse)
        run = house.retention.run()
        assert run.problem == "locked"
        assert house.has_log(record)

    def test_orphans_go_by_age_only(self, make_house):
        house = make_house(retain_logs_days=14, logs_max_mb=1)
        old, young = house.log(15), house.log(1, content="x" * 2_000_000)
        assert house.run() == {"orphaned_logs": 1}
        assert (old.exists(), young.exists()) == (False, True)

    def test_the_log_of_a_container_of_ours_is_no_orphan(self, make_house):
        house = make_house(retain_logs_days=14)
        image = house.image(ECHO)
        path = house.log(15)
        labels = {"smlops.stack": "smlops", "smlops.function": "echo", "smlops.environment": path.stem}
        container_id = house.runner.engine.create(ContainerSpec(path.stem, image.tag, {"Labels": labels, "Env": []}))
        assert house.run() == {}
        house.runner.engine.remove(container_id)
        assert house.run() == {"orphaned_logs": 1}

    @pytest.mark.parametrize(
        "name", ["start.log", "notes.txt", "echo.log", "echo-0123456789AB.log", "echo-0123456789abc.log", ".gitkeep"]
    )
    def test_other_files_stay(self, make_house, name):
        house = make_house(retain_logs_days=14, logs_max_mb=1)
        path = house.runner.settings.logs_dir / name
        path.write_text("x")
        house.age(path, 1000)
        assert house.run() == {}
        assert path.exists()

    def test_links_and_folders_stay(self, make_house, tmp_path):
        house = make_house(retain_logs_days=14)
        target = tmp_path / "target"
        target.write_text("x")
        house.age(target, 1000)
        link = house.runner.settings.logs_dir / "echo-0123456789ab.log"
        link.symlink_to(target)
        folder = house.runner.settings.logs_dir / "echo-0123456789ac.log"
        folder.mkdir()
        assert house.run() == {}
        assert link.is_symlink()
        assert target.exists()
        assert folder.exists()


class TestImages:
    def test_that_of_an_earlier_source_goes_a_while_after_a_newer_one_came(self, make_house):
        house = make_house(retain_images_days=7)
        oldest, older = house.image(ECHO, 40), house.image(ECHO + "#1\n", 20)
        newer, present = house.image(ECHO + "#2\n", 10), house.image(ECHO + "#3\n", 3)
        assert house.run() == {"images": 2}
        assert house.tags() == {newer.tag, present.tag}
        assert not {oldest.tag, older.tag} & house.tags()

    def test_that_of_the_present_source_stays_however_old(self, make_house):
        house = make_house(retain_images_days=7)
        present = house.image(ECHO, 400)
        house.image(ECHO + "#1\n", 300)
        house.runner.add("echo", ECHO)
        assert house.run() == {"images": 1}
        assert house.tags() == {present.tag}

    def test_that_of_a_function_that_is_gone_goes(self, make_house):
        house = make_house(retain_images_days=7)
        house.image(ECHO, 8)
        for path in sorted(house.runner.settings.functions_dir.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        assert house.run() == {"images": 1}

    def test_those_of_a_folder_that_cannot_be_read_stay(self, make_house):
        house = make_house(retain_images_days=7, retain_logs_days=14)
        image = house.image(ECHO, 40)
        log = house.runner.settings.logs_dir / "builds" / f"echo-{image.tag[-12:]}.log"
        house.age(log, 40)
        house.runner.add("echo", ECHO, "timeout: soon")
        assert house.run() == {}
        assert house.tags() == {image.tag}

    def test_one_that_a_container_uses_stays(self, make_house):
        house = make_house(retain_images_days=7)
        used = house.image(ECHO, 40)
        house.image(ECHO + "#1\n", 20)
        labels = {"smlops.stack": "smlops", "smlops.function": "echo", "smlops.environment": "echo-1"}
        house.runner.engine.create(ContainerSpec("echo-1", used.tag, {"Labels": labels, "Env": []}))
        assert house.run() == {}

    def test_one_that_a_container_of_somebody_else_uses_stays(self, make_house):
        house = make_house(retain_images_days=7)
        used = house.image(ECHO, 40)
        house.image(ECHO + "#1\n", 20)
        house.runner.engine.create(ContainerSpec("mine", used.tag, {"Labels": {}, "Env": []}))
        assert house.retention.run().freed == {}
        assert used.tag in house.tags()

    def test_one_that_a_model_came_from_stays(self, make_house):
        house = make_house(retain_images_days=7)
        kept, other = house.image(ECHO, 40), house.image(ECHO + "#1\n", 30)
        present = house.image(ECHO + "#2\n", 20)
        house.invocation(40, run_id="kept", image_id=kept.id)
        house.invocation(30, run_id="deleted", image_id=other.id)
        house.mlflow.runs = {"kept"}
        assert house.run() == {"images": 1}
        assert house.tags() == {kept.tag, present.tag}

    def test_one_that_a_replay_waits_for_stays(self, make_house):
        house = make_house(retain_images_days=7)
        awaited = house.image(ECHO, 40)
        source = house.runner.catalog.get("echo").source_hash
        house.image(ECHO + "#1\n", 20)
        accepted = Invocation(
            new_invocation_id(), "echo", {}, Status.QUEUED, utc_now(), timeout_seconds=60, source_hash=source
        )
        house.runner.store.start(accepted)
        assert house.run() == {}
        assert awaited.tag in house.tags()
        house.runner.store.finish(accepted.id, status=Status.CANCELLED, finished_at=utc_now(), timings=Timings())
        assert house.run() == {"images": 1}

    def test_while_mlflow_is_away_all_stay(self, make_house):
        house = make_house(retain_images_days=7)
        house.image(ECHO, 40)
        house.image(ECHO + "#1\n", 20)
        house.mlflow.error = MlflowUnavailable()
        assert house.run() == {}

    def test_names_that_somebody_else_gave_stay(self, make_house):
        house = make_house(retain_images_days=7)
        old = house.image(ECHO, 40)
        house.image(ECHO + "#1\n", 20)
        house.runner.engine.change_image(old.tag, tag="mine/echo:keep")
        assert house.run() == {}

    def test_one_without_a_name_goes_when_it_is_old(self, make_house):
        house = make_house(retain_images_days=7)
        for days, handler in ((40, ECHO), (1, ECHO + "#1\n")):
            image = house.image(handler, days)
            house.runner.engine.change_image(image.tag, tag=image.id)
        assert house.run() == {"untagged_images": 1}
        assert len(house.runner.engine.untagged_images()) == 1

    def test_what_building_an_earlier_source_left_goes_when_it_is_old(self, make_house):
        house = make_house(retain_images_days=7)
        for source, days in enumerate((40, 1, 40)):
            house.runner.add("echo", ECHO, dockerfile=f"FROM fake\nRUN exit 1\nENV SOURCE={source}\n")
            function = house.runner.catalog.get("echo")
            with pytest.raises(BuildFailed):
                house.runner.images.ensure(function, Deadline.after(60))
            house.runner.engine.age_what_is_left(build_spec(function, house.runner.settings, base_id=None), days)
        survey = house.retention.survey()
        assert survey.stored["build_cache"].count == 3
        assert survey.removable["build_cache"].count == 1
        assert house.run() == {"build_cache": 1}
        assert len(house.runner.engine.build_cache()) == 2
        house.runner.add("echo", "nobody: [can read this", manifest="nobody: [can read this")
        assert house.run() == {}

    def test_who_needs_it_nevertheless_builds_it_again(self, make_house):
        house = make_house(retain_images_days=7, init_timeout=5, default_timeout=5)
        house.image(ECHO, 40)
        assert house.runner.invoke("echo").result == "echo"
        wait_until(lambda: not house.runner.engine.containers())
        house.image(ECHO + "#1\n", 20)
        assert house.run() == {"images": 1}
        house.runner.add("echo", ECHO)
        assert house.runner.invoke("echo").result == "echo"

    def test_the_engine_may_be_away(self, make_house):
        house = make_house(retain_images_days=7, retain_logs_days=14)
        record = house.invocation(15)
        house.runner.engine.faults.is_away = True
        run = house.retention.run()
        assert "does not answer" in run.problem
        assert not house.has_log(record)


class TestBuildLogs:
    def test_those_without_an_image_go_when_they_are_old(self, make_house):
        house = make_house(retain_logs_days=14)
        house.image(ECHO, 40)
        present = house.image(ECHO + "#1\n", 20)
        builds = house.runner.settings.logs_dir / "builds"
        for path in builds.iterdir():
            house.age(path, 20)
        gone, fresh = house.log(20, "builds/other-0123456789ab"), house.log(1, "builds/other-0123456789ac")
        assert house.run() == {"build_logs": 1}
        assert not gone.exists()
        assert fresh.exists()
        house.runner.engine.remove_image_from_outside(present.tag)
        assert house.run() == {}, "the present source will be built again under this name"


class TestThread:
    def test_it_runs_in_the_background_and_stops(self, make_house, monkeypatch):
        monkeypatch.setattr("function_runner.retention.FIRST_SECONDS", 0.01)
        house = make_house(retain_logs_days=14)
        record = house.invocation(15)
        house.invocation(1)
        house.retention.start()
        wait_until(lambda: not house.has_log(record))
        wait_until(lambda: 'disk_usage_bytes{kind="logs"}' in house.metrics.render()[0].decode())
        house.retention.stop()

    def test_it_stops_at_once(self, make_house):
        house = make_house()
        house.retention.start()
        started = time.monotonic()
        house.retention.stop()
        assert time.monotonic() - started < 10  # its first pause is longer

    def test_it_goes_on_after_a_bug_and_looks_more_often_when_room_is_short(self, make_house, monkeypatch, caplog):
        monkeypatch.setattr("function_runner.retention.FIRST_SECONDS", 0.01)
        monkeypatch.setattr("function_runner.retention.INTERVAL_SECONDS", 0.02)
        monkeypatch.setattr("function_runner.retention.SHORT_OF_ROOM_SECONDS", 0.03)
        house = make_house(retain_logs_days=14)
        house.mlflow.error = ZeroDivisionError("swordfish")

        def full():
            raise DiskFull

        monkeypatch.setattr(house.runner.store, "require_room", full)
        house.retention.start()
        wait_until(lambda: "swordfish" in caplog.text)
        house.mlflow.error = None
        record = house.invocation(15)
        wait_until(lambda: not house.has_log(record))
        wait_until(lambda: "too little room" in caplog.text)
        house.retention.stop()
