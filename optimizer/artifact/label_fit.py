"""Which task data and model are for, and whether the labels are what it takes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.artifact.inspected import Head, Inspection
from optimizer.artifact.rows import Rows
from optimizer.artifact.task import IGNORED, TASKS, UNLABELLED, Task
from optimizer.errors import InvalidDataset

# Tasks that a head can do. A body without a head ("embedding") gets a new one for a task with labels.
_POSSIBLE: dict[Head, tuple[Task, ...]] = {
    "classes": ("classification", "binary", "agreement", "embedding"),
    "labels": ("multilabel", "embedding"),
    "targets": ("regression", "binary", "embedding"),
    "tokens": ("token_classification", "embedding"),
    "embedding": ("embedding", "classification", "binary", "multilabel", "regression", "token_classification"),
    "next_token": ("causal_lm", "embedding"),
    "open": TASKS,
}
_NEEDED: dict[Task, str] = {
    "classification": "one class number a row",
    "binary": "0 or 1 a row",
    "multilabel": "0 or 1 for each label, [rows, labels]",
    "regression": "one number a row, or [rows, targets]",
    "token_classification": f"one class number a token, [rows, sequence], {IGNORED} where a token does not count",
}
_MOST_CLASSES = 100_000


def task_of(asked: str, splits: Mapping[str, Rows], inspection: Inspection) -> Task:
    """The task that was asked for, or the one that labels and model suggest ("").

    Raises InvalidDataset for an unknown task, one that the model cannot do, or one whose labels are missing.
    """
    if asked not in ("", *TASKS):
        raise InvalidDataset(f"unknown task {asked[:40]!r}; allowed are {', '.join(TASKS)}")
    labelled = [split for split, rows in splits.items() if rows.labels is not None]
    task = next((task for task in TASKS if task == asked), None) or _suggested(splits, inspection, bool(labelled))
    possible = _POSSIBLE[inspection.head]
    if task not in possible:
        raise InvalidDataset(f"this model cannot do task {task}; possible are {', '.join(possible)}")
    if task == "classification" and inspection.classes == 1:
        raise InvalidDataset(
            "the model answers with one score a row, and task classification needs one for each of two or more "
            "classes; for labels of 0 and 1 the task is binary, for numbers regression"
        )
    if task not in UNLABELLED and len(labelled) < len(splits):
        missing = " and ".join(sorted(set(splits) - set(labelled)))
        raise InvalidDataset(
            f"task {task} needs an array `labels` in every file; the data ({missing}) has none. Without labels the "
            "task is agreement (for classifiers) or embedding"
        )
    return task


def _suggested(splits: Mapping[str, Rows], inspection: Inspection, labelled: bool) -> Task:
    head = inspection.head
    if not labelled:
        if head in ("embedding", "labels", "targets", "tokens") or (head == "open" and inspection.classes in (None, 1)):
            return "embedding"
        return "causal_lm" if head == "next_token" else "agreement"
    labels = next(rows.labels for rows in splits.values() if rows.labels is not None)
    if head == "classes":
        return "classification"
    if head in ("labels", "targets", "tokens", "next_token"):
        by_head: dict[Head, Task] = {
            "labels": "multilabel", "targets": "regression", "tokens": "token_classification", "next_token": "causal_lm"
        }  # fmt: skip
        return by_head[head]
    return _of_labels(labels, inspection)


def _of_labels(labels: NDArray[Any], inspection: Inspection) -> Task:
    """What labels look like, for a model that leaves it open."""
    if labels.dtype.kind == "f":
        return "regression"
    if labels.ndim == 1:
        zero_one = labels.size > 0 and int(labels.min()) >= 0 and int(labels.max()) <= 1
        return "binary" if inspection.head == "open" and inspection.classes == 1 and zero_one else "classification"
    shapes = [facts.shape for facts in inspection.outputs.values() if facts.shape is not None]
    by_token = any(len(shape) == 3 for shape in shapes)
    zero_one = labels.size > 0 and int(labels.min()) >= 0 and int(labels.max()) <= 1
    return "multilabel" if zero_one and not by_token else "token_classification"


def check_labels(task: Task, splits: Mapping[str, Rows], inspection: Inspection) -> None:
    """Checks form and range of the labels. Raises InvalidDataset naming what is wrong and what is allowed."""
    for split, rows in splits.items():
        where = "the data" if split == "all" else f"the {split} data"
        if rows.labels is None or task in ("agreement", "embedding"):
            continue
        labels = rows.labels
        if task == "causal_lm":
            _whole(labels, 2, "one token a position, [rows, sequence]", where)
            continue
        needed = _NEEDED[task]
        if task == "regression":
            _count(labels, inspection, needed, where)
            continue
        _whole(labels, 2 if task in ("multilabel", "token_classification") else 1, needed, where)
        highest = 1 if task in ("binary", "multilabel") else _highest(splits, inspection)
        lowest = IGNORED if task == "token_classification" else 0
        wrong = (labels < 0) | (labels > highest)
        if lowest == IGNORED:
            wrong &= labels != IGNORED
        if wrong.any():
            row = int(np.argwhere(wrong)[0][0])
            found = int(labels[wrong][0])
            known = inspection.classes is not None and task not in ("binary", "multilabel")
            of = f", since the model has {inspection.classes} classes" if known else ""
            allowed = "from 0 on" if highest >= _MOST_CLASSES else f"from 0 to {highest}{of}"
            raise InvalidDataset(
                f"{where} has {int(np.count_nonzero(wrong))} labels out of range, the first being {found} in row "
                f"{row}; labels go {allowed}"
            )
        if task == "multilabel":
            _count(labels, inspection, needed, where)


def _highest(splits: Mapping[str, Rows], inspection: Inspection) -> int:
    """The highest class: the model's, or, for a head that is made for the data, the highest that is trained on."""
    if inspection.classes is not None:
        return inspection.classes - 1
    if inspection.head != "embedding":
        return _MOST_CLASSES
    trained = splits.get("all") or splits["train"]
    assert trained.labels is not None
    return min(int(trained.labels.max(initial=1)), _MOST_CLASSES)


def _whole(labels: NDArray[Any], axes: int, needed: str, where: str) -> None:
    if labels.dtype.kind == "f":
        raise InvalidDataset(f"{where}: labels holds fractions; {needed} is needed")
    if labels.ndim != axes:
        raise InvalidDataset(f"{where}: labels has shape {list(labels.shape)}; {needed} is needed")


def _count(labels: NDArray[Any], inspection: Inspection, needed: str, where: str) -> None:
    found = labels.shape[1] if labels.ndim == 2 else 1
    if inspection.classes is not None and found != inspection.classes:
        raise InvalidDataset(
            f"{where}: labels has {found} values a row, but the model answers with {inspection.classes}; {needed}"
        )
