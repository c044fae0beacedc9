"""What a measured model costs on this host beside a call's latency: its start, its throughput, its energy."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from optimizer.artifact.manifest import BatchLatency, Start, Throughput
from optimizer.measure.energy import POWERCAP, joules_a_row


def start_of(
    open_model: Callable[[], ort.InferenceSession],
    inputs: Mapping[str, NDArray[Any]],
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Start:
    """Opens the model once more, and calls it once with one row."""
    began = clock()
    session = open_model()
    loaded = clock()
    session.run(None, dict(inputs))
    return Start(load_ms=(loaded - began) / 1e6, first_call_ms=(clock() - loaded) / 1e6)


def throughput_of(
    latencies: Sequence[BatchLatency],
    call: Callable[[int], object],
    powercap: Path = POWERCAP,
) -> Throughput:
    """The best of the batch sizes by their medians; `call` runs a batch of that size, for the energy."""
    best = max(latencies, key=_rows_per_second)
    return Throughput(
        rows_per_second=_rows_per_second(best),
        batch=best.batch,
        joules_per_row=joules_a_row(lambda: call(best.batch), best.batch, powercap),
    )


def _rows_per_second(entry: BatchLatency) -> float:
    return entry.batch * 1000 / max(entry.latency.p50_ms, 1e-6)
