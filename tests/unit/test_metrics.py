"""The numbers of /metrics: each is counted under its name, and none names an invocation."""

import re
import threading

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

from function_runner.metrics import Metrics


@pytest.fixture
def metrics():
    return Metrics()


def values(metrics):
    """Every sample as it is shown, e.g. ``{'smlops_queue_depth{queue="sync"}': 0.0}``."""
    text, _ = metrics.render()
    return {
        sample.name
        + ("{" + ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items())) + "}")
        * bool(sample.labels): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_it_works(metrics):
    metrics.invocation_finished("train", "sync", "succeeded")
    metrics.invocation_finished("train", "sync", "succeeded")
    metrics.invocation_finished("train", "sync", "failed")
    shown = values(metrics)
    assert shown['smlops_invocations_total{function="train",status="succeeded",type="sync"}'] == 2
    assert shown['smlops_invocations_total{function="train",status="failed",type="sync"}'] == 1
    assert metrics.render()[1].startswith("text/plain")


@pytest.mark.parametrize(
    ("count", "name", "value"),
    [
        (lambda m: m.phase("train", "run", 0.3), 'duration_seconds_sum{function="train",phase="run"}', 0.3),
        (lambda m: m.in_flight("train", +1), 'invocations_in_flight{function="train"}', 1),
        (lambda m: m.set_queue_depth(7), 'queue_depth{queue="sync"}', 7),
        (lambda m: m.set_queue_depth(3, queue="async"), 'queue_depth{queue="async"}', 3),
        (lambda m: m.started("train", "cold"), 'cold_starts_total{function="train"}', 1),
        (lambda m: m.started("train", "warm"), 'starts_total{function="train",start="warm"}', 1),
        (lambda m: m.set_environments("train", "ready", 2), 'pool_containers{function="train",state="ready"}', 2),
        (lambda m: m.retired("train", "age"), 'warm_pool_retired_total{function="train",reason="age"}', 1),
        (lambda m: m.oom_kill("train"), 'container_oom_kills_total{function="train"}', 1),
        (lambda m: m.build("train", "failed", 9.0), 'image_builds_total{function="train",result="failed"}', 1),
        (lambda m: m.build("train", "failed", 9.0), 'build_duration_seconds_sum{function="train",result="failed"}', 9),
        (lambda m: m.log_bytes(500), "log_bytes_total", 500),
        (lambda m: m.set_disk_usage("logs", 4096), 'disk_usage_bytes{kind="logs"}', 4096),
        (lambda m: m.removed("logs", 3, 4096), 'retention_removed_total{kind="logs"}', 3),
        (lambda m: m.removed("logs", 3, 4096), 'retention_freed_bytes_total{kind="logs"}', 4096),
        (lambda m: m.docker_error("create"), 'docker_api_errors_total{op="create"}', 1),
    ],
)
def test_each_event_is_counted_under_its_name(metrics, count, name, value):
    count(metrics)
    [shown] = [number for sample, number in values(metrics).items() if sample.endswith(name)]
    assert shown == pytest.approx(value)


def test_in_flight_goes_up_and_down(metrics):
    metrics.in_flight("train", +1)
    metrics.in_flight("train", +1)
    metrics.in_flight("train", -1)
    assert values(metrics)['smlops_invocations_in_flight{function="train"}'] == 1


def test_a_warm_call_and_a_training_run_fall_into_different_buckets(metrics):
    for seconds in (0.002, 0.02, 45.0):
        metrics.phase("train", "total", seconds)
    found = [
        value
        for name, value in values(metrics).items()
        if name.startswith("smlops_invocation_duration_seconds_bucket") and re.search(r'le="(0.0025|0.025|60.0)"', name)
    ]
    assert found == [1, 2, 3]


def test_nothing_waits_until_something_does(metrics):
    assert values(metrics)['smlops_queue_depth{queue="sync"}'] == 0


def test_every_name_has_our_prefix_and_a_unit_and_no_label_is_an_id(metrics):
    text = metrics.render()[0].decode()
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            _, _, name, kind = line.split()
            assert name.startswith("smlops_")
            assert kind != "counter" or name.endswith("_total")
            assert kind != "histogram" or name.endswith("_seconds")
    assert "id=" not in text


def test_each_instance_counts_for_itself(metrics):
    metrics.log_bytes(5)
    assert values(Metrics())["smlops_log_bytes_total"] == 0
    assert "smlops_" not in prometheus_client.generate_latest().decode()


def test_threads_may_count_together(metrics):
    def count():
        for _ in range(1000):
            metrics.log_bytes(1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values(metrics)["smlops_log_bytes_total"] == 4000
