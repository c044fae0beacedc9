"""Rows of a data set in memory, and how they become what a model is fed."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.artifact.signature import TensorSpec, numpy_dtype
from optimizer.errors import InvalidDataset

LABELS = "labels"
GROUP = "group"
WEIGHT = "sample_weight"
# Names that a data file gives a meaning of its own; no model input may be called so.
RESERVED = (LABELS, GROUP, WEIGHT)
# An array "slice.<name>" holds a value a row by which figures are also told ("slice.language").
SLICE = "slice."


@dataclass(frozen=True, eq=False)
class Rows:
    """One array per model input, all with the rows along the first axis.

    `labels` are what the task says: int64 classes [rows] or [rows, sequence], 0 and 1 [rows, labels], float32 targets
    [rows] or [rows, targets]. `group` is any value a row (rows of one group are never torn apart), `weight` how much a
    row counts in training, `slices` further values a row by which figures are told. All arrays have the same length;
    construct through `optimizer.artifact.dataset.read`, which checks it.
    """

    arrays: dict[str, NDArray[Any]]
    labels: NDArray[Any] | None = None
    group: NDArray[Any] | None = None
    weight: NDArray[np.float32] | None = None
    slices: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def take(self, indices: NDArray[np.int64]) -> "Rows":
        """These rows, copied, in the order of `indices`."""
        return Rows(
            {name: array[indices] for name, array in self.arrays.items()},
            None if self.labels is None else self.labels[indices],
            None if self.group is None else self.group[indices],
            None if self.weight is None else self.weight[indices],
            {name: array[indices] for name, array in self.slices.items()},
        )

    def unlabelled(self) -> "Rows":
        """The same rows without their labels."""
        return replace(self, labels=None)


def feeds(rows: Rows, inputs: Sequence[TensorSpec], indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """What one call of a model with these `inputs` is given for the rows `indices`, in the inputs' data types.

    A model with a batch axis gets the rows stacked. One without gets a single row: `indices` must have length 1, and
    the row is either the whole tensor or the whole tensor without its leading axis of size 1.
    Raises InvalidDataset when an input has no array or the row's shape is not the input's.
    """
    result: dict[str, NDArray[Any]] = {}
    for spec in inputs:
        if spec.name not in rows.arrays:
            raise InvalidDataset(
                f"the data has no array {spec.name!r}; the model's inputs are {', '.join(spec.name for spec in inputs)}"
            )
        taken = rows.arrays[spec.name][indices]
        if not spec.batched:
            if len(indices) != 1:
                raise ValueError(f"input {spec.name!r} has no batch axis and takes one row at a time")
            taken = taken if _fits(taken.shape, spec.shape) else taken[0]
        if not _fits(taken.shape, spec.shape):
            raise InvalidDataset(
                f"a row of {spec.name!r} has shape {list(rows.arrays[spec.name].shape[1:])}, "
                f"but the model takes {row_shape(spec)}"
            )
        result[spec.name] = np.asarray(taken).astype(numpy_dtype(spec.datatype), order="C", copy=False)
    return result


def row_shape(spec: TensorSpec) -> str:
    """The shape that one row of this input has, for a message: "[3, 32, width]"."""
    axes = spec.shape[1:] if spec.batched or spec.shape[:1] == (1,) else spec.shape
    return f"[{', '.join(str(axis) for axis in axes)}]"


def _fits(shape: tuple[int, ...], wanted: tuple[int | str, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        isinstance(axis, str) or axis == size for size, axis in zip(shape, wanted, strict=True)
    )
