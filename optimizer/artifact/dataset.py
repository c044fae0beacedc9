"""Data sets as files: reads one, checks that it fits a checkpoint, and names it by its content.

A file holds one array per model input, all with the rows along the first axis, `labels` (one class number a row) where
there are any, and `group` where rows belong together. A data set is one file ("all") or two ("train" and "eval").
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
from optimizer.artifact.rows import GROUP, LABELS, Rows
from optimizer.artifact.task import TASKS, Task
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
    if inspection.classes == 1:
        raise InvalidDataset("the model answers with one score a row; a classifier with two or more classes is needed")
    for split, rows in splits.items():
        where = "the data" if split == "all" else f"the {split} data"
        if len(rows) < _MINIMUM_ROWS[split]:
            raise InvalidDataset(f"{where} has {len(rows)} rows; at least {_MINIMUM_ROWS[split]} are needed")
        check_arrays(rows, inspection, where)
        _check_labels(rows, inspection, where)
    if len({frozenset(rows.arrays) for rows in splits.values()}) > 1:
        raise InvalidDataset(
            "the train and the eval data must hold the same arrays, but hold "
            + " and ".join(str(sorted(rows.arrays)) for rows in splits.values())
        )
    return _task(task, splits)


def dataset_digest(sha256_by_split: Mapping[str, str]) -> str:
    """Digest of a data set given the sha256 of each of its files."""
    return digest.of_tree(sha256_by_split)


def _rows(arrays: Arrays, name: str) -> Rows:
    inputs = {key: array for key, array in arrays.items() if key not in (LABELS, GROUP)}
    if not inputs:
        raise InvalidDataset(
            f"{name} holds no input array, only {sorted(arrays)}; name the arrays by the model's inputs"
        )
    for key, array in arrays.items():
        if array.ndim == 0:
            raise InvalidDataset(f"{name}: array {key[:80]!r} is a single value; the first axis must be the rows")
        if array.dtype.kind not in ("biufUS" if key == GROUP else "biuf") and array.dtype.name != "bfloat16":
            raise InvalidDataset(f"{name}: array {key[:80]!r} holds {array.dtype}; allowed are numbers and booleans")
    lengths = {key: len(array) for key, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{key[:80]} {length}" for key, length in sorted(lengths.items()))
        raise InvalidDataset(f"{name}: the arrays have different numbers of rows: {listed}")
    return Rows(inputs, _labels(arrays.get(LABELS), name), _group(arrays.get(GROUP), name))


def _labels(array: NDArray[Any] | None, name: str) -> NDArray[np.int64] | None:
    if array is None:
        return None
    if array.ndim != 1:
        raise InvalidDataset(f"{name}: labels has shape {list(array.shape)}; one class number a row is needed")
    if array.dtype.kind not in "biu":
        raise InvalidDataset(f"{name}: labels holds {array.dtype}; class numbers must be integers from 0 on")
    if array.dtype == np.uint64 and array.size and int(array.max()) >= 2**63:
        raise InvalidDataset(f"{name}: labels holds {int(array.max())}; class numbers must be integers from 0 on")
    return array.astype(np.int64)


def _group(array: NDArray[Any] | None, name: str) -> NDArray[Any] | None:
    if array is not None and array.ndim != 1:
        raise InvalidDataset(f"{name}: group has shape {list(array.shape)}; one value a row is needed")
    return array


def _check_labels(rows: Rows, inspection: Inspection, where: str) -> None:
    labels = rows.labels
    if labels is None:
        return
    highest = None if inspection.classes is None else inspection.classes - 1
    wrong = labels < 0 if highest is None else (labels < 0) | (labels > highest)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        allowed = (
            "from 0 on" if highest is None else f"from 0 to {highest}, since the model has {inspection.classes} classes"
        )
        raise InvalidDataset(
            f"{where} has {int(np.count_nonzero(wrong))} labels out of range, the first being {int(labels[row])} "
            f"in row {row}; labels go {allowed}"
        )


def _task(task: str, splits: Mapping[str, Rows]) -> Task:
    labelled = [split for split, rows in splits.items() if rows.labels is not None]
    if task not in ("", *TASKS):
        raise InvalidDataset(f"unknown task {task[:40]!r}; allowed are {', '.join(TASKS)}")
    if task == "agreement" or (task == "" and not labelled):
        return "agreement"
    if len(labelled) < len(splits):
        missing = " and ".join(sorted(set(splits) - set(labelled)))
        raise InvalidDataset(
            f"task classification needs an array `labels` in every file; the data ({missing}) has none. "
            "Without labels the task is agreement"
        )
    return "classification"
