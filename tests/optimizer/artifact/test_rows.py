"""Feeds: rows become what one call of a model takes."""

import numpy as np
import pytest

from optimizer.artifact.rows import Rows, feeds
from optimizer.artifact.signature import TensorSpec
from optimizer.errors import InvalidDataset

ROWS = Rows(
    {"x": np.arange(12, dtype=np.float64).reshape(4, 3), "n": np.arange(4)}, np.arange(4), np.array(list("aabb"))
)


def one(index: int) -> np.ndarray:
    return np.array([index], np.int64)


def test_batched_rows_are_stacked_and_cast() -> None:
    inputs = (
        TensorSpec(name="n", datatype="INT32", shape=("batch",)),
        TensorSpec(name="x", datatype="FP16", shape=("batch", "k")),
    )
    fed = feeds(ROWS, inputs, np.array([2, 0]))
    assert list(fed) == ["n", "x"]
    assert (fed["n"].dtype, fed["n"].tolist()) == (np.int32, [2, 0])
    assert (fed["x"].dtype, fed["x"].tolist()) == (np.float16, [[6, 7, 8], [0, 1, 2]])
    assert fed["x"].flags.c_contiguous


@pytest.mark.parametrize("shape", [(3,), (1, 3), ("k",), (1, "k")])
def test_a_row_without_a_batch_is_the_tensor(shape: tuple[int | str, ...]) -> None:
    fed = feeds(ROWS, [TensorSpec(name="x", datatype="FP32", shape=shape)], one(1))
    assert fed["x"].shape == (1, 3) if len(shape) == 2 else (3,)
    assert fed["x"].ravel().tolist() == [3, 4, 5]


def test_a_scalar_input_takes_a_scalar() -> None:
    assert feeds(ROWS, [TensorSpec(name="n", datatype="INT64", shape=())], one(3))["n"].shape == ()


def test_rows_that_do_not_fit_are_named() -> None:
    with pytest.raises(InvalidDataset, match="no array 'y'; the model's inputs are y"):
        feeds(ROWS, [TensorSpec(name="y", datatype="FP32", shape=("batch",))], one(0))
    with pytest.raises(InvalidDataset, match=r"a row of 'x' has shape \[3\], but the model takes \[4\]"):
        feeds(ROWS, [TensorSpec(name="x", datatype="FP32", shape=("batch", 4))], one(0))
    with pytest.raises(ValueError, match="one row at a time"):
        feeds(ROWS, [TensorSpec(name="x", datatype="FP32", shape=(3,))], np.array([0, 1]))


def test_taken_rows_keep_labels_and_groups() -> None:
    taken = ROWS.take(np.array([3, 1]))
    assert taken.labels is not None
    assert taken.group is not None
    assert (len(taken), taken.labels.tolist(), taken.group.tolist()) == (2, [3, 1], ["b", "a"])
