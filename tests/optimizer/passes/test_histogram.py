import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime.quantization.calibrate import HistogramCollector

from optimizer.passes.histogram import Histogram


def _filled(values, chunks=7, bins=2048):
    histogram = Histogram.empty(float(values.min()), float(values.max()), bins)
    for chunk in np.array_split(values, chunks):
        histogram.add(chunk)
    return histogram


def _onnxruntime(values, method):
    collector = HistogramCollector(
        method=method, symmetric=False, num_bins=2048, num_quantized_bins=128, percentile=99.0, scenario="same"
    )
    collector.collect({"x": values})
    return tuple(float(bound) for bound in collector.compute_collection_result()["x"][:2])


@pytest.fixture(params=["normal", "relu", "heavy"])
def values(request):
    random = np.random.default_rng(0)
    drawn = random.normal(size=20_000).astype(np.float32)
    return {"normal": drawn, "relu": np.maximum(drawn, 0), "heavy": (drawn**5).astype(np.float32)}[request.param]


def test_percentiles_are_onnxruntimes(values):
    width = 2 * float(np.abs(values).max()) / 2048
    assert _filled(values).by_percentile(99.0) == pytest.approx(_onnxruntime(values, "percentile"), abs=1.5 * width)


def test_thresholds_by_entropy_are_onnxruntimes(values):
    """With every candidate tried, as onnxruntime does. Its search takes seconds, hence so few tensors."""
    width = 2 * float(np.abs(values).max()) / 2048
    ours = _filled(values).by_entropy(step=1)
    assert ours == pytest.approx(_onnxruntime(values, "entropy"), abs=8 * width)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=200),
    st.integers(1, 9),
)
def test_chunks_count_as_all_values_at_once(numbers, chunks):
    values = np.array(numbers, np.float32)
    histogram = _filled(values, chunks, bins=64)
    assert (histogram.counts == _filled(values, 1, bins=64).counts).all()
    for low, high in (histogram.by_percentile(90), histogram.by_entropy(levels=16)):
        assert values.min() <= low <= high <= values.max()
    if histogram.bound > 0:
        assert histogram.counts.sum() == len(values)


def test_a_few_outliers_are_cut_off():
    values = np.concatenate([np.random.default_rng(0).normal(size=100_000), [1000.0]]).astype(np.float32)
    assert _filled(values).by_percentile(99.9)[1] < 10
    assert _filled(values).by_entropy()[1] < 200


def test_a_constant_zero_has_the_range_zero():
    values = np.zeros(10, np.float32)
    assert _filled(values).by_entropy() == _filled(values).by_percentile() == (0, 0)
