"""Start, throughput and energy, on counters that are made up."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from optimizer.artifact.manifest import BatchLatency, Percentiles
from optimizer.artifact.session import SessionSpec, build
from optimizer.measure.energy import joules_a_row
from optimizer.measure.host import start_of, throughput_of


def zone(root: Path, name: str, used: int) -> Path:
    (root / name).mkdir(parents=True)
    (root / name / "energy_uj").write_text(f"{used}\n")
    (root / name / "max_energy_range_uj").write_text("9999999\n")
    return root / name / "energy_uj"


def test_energy_is_of_all_packages_and_counters_may_begin_anew(tmp_path: Path) -> None:
    first, second = zone(tmp_path, "intel-rapl:0", 1_000_000), zone(tmp_path, "intel-rapl:1", 9_000_000)
    part = zone(tmp_path, "intel-rapl:0:0", 0)

    def call() -> None:
        first.write_text("3000000")
        second.write_text("1000000")
        part.write_text("5000000")

    times = iter([0.0, 1.0])
    assert joules_a_row(call, 8, tmp_path, lambda: next(times)) == pytest.approx((2.0 + 2.0) / 8)


def test_without_readable_counters_there_is_no_energy_and_no_call(tmp_path: Path) -> None:
    def never() -> None:
        raise AssertionError("called")

    assert joules_a_row(never, 8, tmp_path / "none") is None
    zone(tmp_path, "intel-rapl:0", 1).write_text("not a number")
    assert joules_a_row(never, 8, tmp_path) is None


def test_throughput_is_that_of_the_best_batch(tmp_path: Path) -> None:
    latencies = [
        BatchLatency(batch=batch, latency=Percentiles(p50_ms=p50_ms, p95_ms=9, p99_ms=9, n=20))
        for batch, p50_ms in ((1, 1.0), (8, 4.0), (32, 20.0))
    ]
    found = throughput_of(latencies, lambda batch: None, tmp_path)
    assert (found.rows_per_second, found.batch, found.joules_per_row) == (2000.0, 8, None)


def test_start_opens_the_model_and_calls_it_once(save: Callable[..., Path]) -> None:
    path = save("model.onnx")
    times = iter([0, 5_000_000, 7_000_000])
    found = start_of(lambda: build(path, SessionSpec()), {"x": np.zeros((1, 6), np.float32)}, lambda: next(times))
    assert (found.load_ms, found.first_call_ms) == (5.0, 2.0)
