"""Data sets as files: reads one, checks that it fits a checkpoint, and names it by its content.

A file holds one array per model input, all with the rows along the first axis, `labels` where there are any, `group`
where rows belong together, `sample_weight` where rows count differently in training, and `slice.<name>` by which
figures are also told. A data set is one file ("all") or two ("train" and "eval").
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.artifact import digest
from optimizer.artifact.array_files import Arrays, read_npz, read_parquet, read_safetensors
from optimizer.artifact.dataset_fit import check_arrays
from optimizer.artifact.inspected import Inspection
from optimizer.artifact.label_fit import check_labels, task_of
from optimizer.artifact.rows import GROUP, LABELS, RESERVED, SLICE, WEIGHT, Rows
from optimizer.artifact.task import Task
from optimizer.errors import InvalidDataset

_READERS = {".npz": read_npz, ".safetensors": read_safetensors, ".parquet": read_parquet}
# Rows that a file must have at least, by its role. Few rows work; the gate then says how many more would decide.
_MINIMUM_ROWS = {"all": 10, "train": 5, "eval": 2}


def read(path: Path, name: str) -> Rows:
    """The rows of the file at `path`, whose type the suffix of `name` says. Raises InvalidDataset."""
    suffix = Path(name).suffix.lower()
    if suffix not in _READERS:
        raise InvalidDataset(
            f"{name}: a data set is a .npz, .safetensors or .parquet file, one array per model input, not {suffix!r}"
        )
    return _rows(_READERS[suffix](path, name), name)


def check(splits: Mapping[str, Rows], inspection: Inspection, task: str = "") -> Task:
    """Checks that a data set fits a checkpoint; returns its task ("" chooses: by labels if it has any).

    `splits` is {"all": rows} or {"train": rows, "eval": rows}. Classes that no row uses are fine, and so are few rows:
    the intervals tell. Raises InvalidDataset naming the array, what is wrong and what is allowed.
    """
    if set(splits) not in ({"all"}, {"train", "eval"}):
        raise InvalidDataset(f"a data set is one file, or a `train` and an `eval` file, not {sorted(splits)}")
    for split, rows in splits.items():
        where = "the data" if split == "all" else f"the {split} data"
        if len(rows) < _MINIMUM_ROWS[split]:
            raise InvalidDataset(f"{where} has {len(rows)} rows; at least {_MINIMUM_ROWS[split]} are needed")
        check_arrays(rows, inspection, where)
    if len({frozenset(rows.arrays) for rows in splits.values()}) > 1:
        raise InvalidDataset(
            "the train and the eval data must hold the same arrays, but hold "
            + " and ".join(str(sorted(rows.arrays)) for rows in splits.values())
        )
    chosen = task_of(task, splits, inspection)
    check_labels(chosen, splits, inspection)
    return chosen


def dataset_digest(sha256_by_split: Mapping[str, str]) -> str:
    """Digest of a data set given the sha256 of each of its files."""
    return digest.of_tree(sha256_by_split)


def _rows(arrays: Arrays, name: str) -> Rows:
    inputs = {key: array for key, array in arrays.items() if key not in RESERVED and not key.startswith(SLICE)}
    if not inputs:
        raise InvalidDataset(
            f"{name} holds no input array, only {sorted(arrays)}; name the arrays by the model's inputs"
        )
    for key, array in arrays.items():
        if array.ndim == 0:
            raise InvalidDataset(f"{name}: array {key[:80]!r} is a single value; the first axis must be the rows")
        named = key == GROUP or key.startswith(SLICE)
        if array.dtype.kind not in ("biufUS" if named else "biuf") and array.dtype.name != "bfloat16":
            raise InvalidDataset(f"{name}: array {key[:80]!r} holds {array.dtype}; allowed are numbers and booleans")
    lengths = {key: len(array) for key, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{key[:80]} {length}" for key, length in sorted(lengths.items()))
        raise InvalidDataset(f"{name}: the arrays have different numbers of rows: {listed}")
    return Rows(
        inputs,
        _labels(arrays.get(LABELS), name),
        _of_rows(arrays.get(GROUP), GROUP, name),
        _weight(arrays.get(WEIGHT), name),
        {
            key.removeprefix(SLICE): column
            for key in sorted(arrays)
            if key.startswith(SLICE) and (column := _of_rows(arrays[key], key, name)) is not None
        },
    )


def _labels(array: NDArray[Any] | None, name: str) -> NDArray[Any] | None:
    """Whole numbers as int64, others as float32; which of them a task takes is checked with the model at hand."""
    if array is None:
        return None
    if array.ndim > 2:
        raise InvalidDataset(f"{name}: labels has shape {list(array.shape)}; one or two axes are possible")
    if array.dtype.kind in "biu":
        if array.dtype == np.uint64 and array.size and int(array.max()) >= 2**63:
            raise InvalidDataset(f"{name}: labels holds {int(array.max())}, which is no class number")
        return array.astype(np.int64)
    labels: NDArray[np.float32] = array.astype(np.float32)
    if not np.isfinite(labels).all():
        raise InvalidDataset(f"{name}: labels holds values that are NaN, infinite or too large")
    return labels


def _weight(array: NDArray[Any] | None, name: str) -> NDArray[np.float32] | None:
    found = _of_rows(array, WEIGHT, name)
    if found is None:
        return None
    weights: NDArray[np.float32] = found.astype(np.float32)
    if not np.isfinite(weights).all() or (weights < 0).any() or not (weights > 0).any():
        raise InvalidDataset(f"{name}: {WEIGHT} must hold numbers from 0 on, at least one of them above 0")
    return weights


def _of_rows(array: NDArray[Any] | None, key: str, name: str) -> NDArray[Any] | None:
    if array is not None and array.ndim != 1:
        raise InvalidDataset(f"{name}: {key} has shape {list(array.shape)}; one value a row is needed")
    return array
