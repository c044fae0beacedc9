from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.artifact.golden import Golden
from optimizer.artifact.signature import Signature, TensorSpec
from service.backends.fake import FakeBackend
from service.errors import FailedPrecondition
from service.models import warmup


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def measure(seconds_of, max_batch: int) -> dict[int, float]:
    """The curve of a model whose run of n rows takes `seconds_of(n)`."""
    clock = Clock()

    def prepare(rows: int):
        def run() -> None:
            clock.now += seconds_of(rows)

        return run

    return warmup.seconds_by_batch(prepare, max_batch, clock)


def test_a_model_that_gains_from_batches_is_measured_to_the_end() -> None:
    curve = measure(lambda rows: 0.001 + 0.0001 * rows, 32)
    assert sorted(curve) == [1, 2, 4, 8, 16, 32]
    assert warmup.best_batch(curve) == 32


def test_a_model_that_gains_nothing_runs_row_by_row() -> None:
    curve = measure(lambda rows: 0.05 * rows, 32)
    assert sorted(curve) == [1, 2, 4]
    assert warmup.best_batch(curve) == 1


def test_a_burst_of_other_work_does_not_decide() -> None:
    calls: Counter[int] = Counter()

    def seconds(rows: int) -> float:
        calls[rows] += 1
        disturbed = rows in (2, 4) and calls[rows] <= 2
        return 0.05 if disturbed else 0.001 + 0.0001 * rows

    assert warmup.best_batch(measure(seconds, 32)) == 32


def test_batching_stops_where_the_curve_bends() -> None:
    curve = measure(lambda rows: 0.02 + 0.002 * rows * max(1.0, rows / 8), 64)
    assert warmup.best_batch(curve) == 8
    assert max(curve) == 32


def test_a_slow_model_is_not_measured_for_long() -> None:
    assert sorted(measure(lambda rows: 1.0, 64)) == [1]


def test_a_limit_that_is_no_power_of_two_is_reached() -> None:
    assert sorted(measure(lambda rows: 0.001, 12)) == [1, 2, 4, 8, 12]


@given(st.dictionaries(st.integers(1, 64), st.floats(1e-6, 1.0), min_size=1))
def test_no_smaller_batch_is_better_and_no_larger_one_much_better(curve) -> None:
    best = warmup.best_batch(curve)
    for rows, seconds in curve.items():
        if rows > best:
            assert seconds / rows >= 0.97 * curve[best] / best
        if rows < best:
            assert seconds / rows > curve[best] / best


SIGNATURE = Signature(
    inputs=(
        TensorSpec(name="ids", datatype="INT64", shape=("batch", "sequence")),
        TensorSpec(name="text", datatype="BYTES", shape=("batch", 1)),
    ),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=("batch", 2)),),
    limits={"sequence": 5},
)


def test_samples_are_zeros_within_the_limits_or_the_golden_rows_again_and_again() -> None:
    ids, text = warmup.sample(SIGNATURE, None, 3)
    assert (ids.shape, ids.dtype, text.shape, text[0, 0]) == ((3, 5), np.int64, (3, 1), b"")
    golden = Golden({"ids": np.array([[1, 2], [3, 4]])}, {})
    assert warmup.sample(SIGNATURE, golden, 3)[0].tolist() == [[1, 2], [3, 4], [1, 2]]


def test_parity_is_proved_in_pieces_of_the_batch_limit() -> None:
    signature = Signature(
        inputs=(TensorSpec(name="x", datatype="FP32", shape=("batch", 2)),),
        outputs=(TensorSpec(name="y", datatype="FP32", shape=("batch", 2)),),
    )
    inputs = np.arange(20, dtype=np.float32).reshape(10, 2)
    golden = Golden({"x": inputs}, {"y": inputs * 2})
    right, wrong = FakeBackend(lambda given: [given[0] * 2]), FakeBackend(lambda given: [-given[0]])
    warmup.check_parity(right, signature, golden, 4)
    assert right.batches == [4, 4, 2]
    with pytest.raises(FailedPrecondition, match="no parity"):
        warmup.check_parity(wrong, signature, golden, 4)
    with pytest.raises(FailedPrecondition, match="lacks the input 'x'"):
        warmup.check_parity(right, signature, Golden({"z": inputs}, {"y": inputs}), 4)
