import math
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.metrics import SECONDS_BOUNDS, EngineMetrics, Histogram, Recorder, ServableSample


def samples(registry: CollectorRegistry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def engine(recorders: Iterable[Recorder]) -> tuple[CollectorRegistry, EngineMetrics]:
    registry = CollectorRegistry()
    held = [ServableSample("m", f"r{n}", "READY", 3, recorder) for n, recorder in enumerate(recorders)]
    return registry, EngineMetrics(registry, {"version": "1"}, lambda: held)


@given(st.lists(st.floats(0, 100), max_size=50))
def test_a_histogram_counts_each_value_once_and_under_its_bound(values) -> None:
    histogram = Histogram(SECONDS_BOUNDS)
    for value in values:
        histogram.observe(value)
    buckets = histogram.buckets()
    for bound, count in buckets:
        assert count == sum(value <= float(bound) for value in values)
    assert buckets[-1] == ("+Inf", len(values))
    assert math.isclose(histogram.total, sum(values), abs_tol=1e-9)


def test_batches_and_failures_show_in_every_family() -> None:
    recorder = Recorder(wall_clock=lambda: 12.0)
    recorder.batch(3, [1_000_000, 3_000_000], 500, 2_000_000, 700, [4_000_000, 6_000_000])
    recorder.batch(1, [0], 500, 1_000_000, 700, [1_500_000])
    recorder.failed("INVALID_ARGUMENT", 900)
    registry, metrics = engine([recorder])
    metrics.refused("NOT_FOUND")
    found = samples(registry)
    of_it = (("model", "m"), ("variant", "r0"))
    assert found["stillroom_requests_total", (("code", "OK"), *of_it)] == 3
    assert found["stillroom_requests_total", (("code", "INVALID_ARGUMENT"), *of_it)] == 1
    assert found["stillroom_requests_total", (("code", "NOT_FOUND"), ("model", ""), ("variant", ""))] == 1
    assert found["stillroom_request_seconds_count", of_it] == 3
    assert math.isclose(found["stillroom_queue_seconds_sum", of_it], 0.004)
    assert found["stillroom_queue_seconds_bucket", (("le", "0.001"), *of_it)] == 2
    assert found["stillroom_compute_seconds_count", of_it] == 2
    assert found["stillroom_batch_rows_sum", of_it] == 4
    assert found["stillroom_queue_depth", of_it] == 3
    assert found["stillroom_servable_state", (("model", "m"), ("state", "READY"), ("variant", "r0"))] == 1
    assert found["stillroom_build_info", (("version", "1"),)] == 1


def test_sums_are_copied_for_statistics() -> None:
    recorder = Recorder(wall_clock=lambda: 12.5)
    recorder.batch(4, [10, 20], 1, 100, 5, [200, 300])
    totals = recorder.totals()
    recorder.batch(4, [10], 1, 100, 5, [200])
    assert (totals.rows, totals.successes, totals.success_ns, totals.queue_ns, totals.last_ms) == (4, 2, 500, 30, 12500)
    # A run counts once for each request in it, and once for its batch size.
    assert (totals.compute_ns, totals.by_batch[4].compute_ns, totals.by_batch[4].count) == (200, 100, 1)
