"""Tasks and labels: what fits which head, and a sentence for what does not."""

from typing import Any

import numpy as np
import pytest

from optimizer.artifact.dataset import check
from optimizer.artifact.inspected import Head, InputFacts, Inspection
from optimizer.artifact.rows import Rows
from optimizer.errors import InvalidDataset

_X = {"x": InputFacts(datatype="FP32", shape=("batch", 2))}


def _model(head: Head, classes: int | None = None, **changes: Any) -> Inspection:
    values: dict[str, Any] = {"format": "onnx", "kind": "tensor", "head": head, "classes": classes, "inputs": _X}
    return Inspection(**(values | changes))


def _rows(labels: Any = None) -> Rows:
    return Rows({"x": np.zeros((20, 2), np.float32)}, None if labels is None else np.asarray(labels))


_CLASSES = np.arange(20) % 3
_BITS = np.stack([_CLASSES == 0, _CLASSES == 1, _CLASSES == 2], axis=1).astype(np.int64)
_TARGETS = np.linspace(0, 1, 20, dtype=np.float32)
_TOKENS = np.where(np.arange(20)[:, None] > 15, -100, _BITS + 1)


@pytest.mark.parametrize(
    ("head", "classes", "labels", "task"),
    [
        ("classes", 3, _CLASSES, "classification"),
        ("classes", 3, None, "agreement"),
        ("labels", 3, _BITS, "multilabel"),
        ("labels", 3, None, "embedding"),
        ("targets", 1, _TARGETS, "regression"),
        ("targets", 1, np.arange(20), "regression"),
        ("tokens", 3, _TOKENS, "token_classification"),
        ("embedding", None, None, "embedding"),
        ("embedding", None, _CLASSES, "classification"),
        ("embedding", None, _TARGETS, "regression"),
        ("embedding", None, _BITS, "multilabel"),
        ("embedding", None, _TOKENS, "token_classification"),
        ("next_token", None, None, "causal_lm"),
        ("open", 3, _CLASSES, "classification"),
        ("open", 1, _CLASSES % 2, "binary"),
        ("open", 1, _TARGETS, "regression"),
        ("open", None, None, "embedding"),
        ("open", 3, None, "agreement"),
    ],
)
def test_the_task_follows_from_head_and_labels(head, classes, labels, task):
    assert check({"all": _rows(labels)}, _model(head, classes)) == task


@pytest.mark.parametrize(
    ("head", "classes", "labels", "task", "words"),
    [
        ("tokens", 3, _CLASSES, "classification", "cannot do task classification; possible are token_classification"),
        ("classes", 3, _BITS, "", r"labels has shape \[20, 3\]; one class number a row is needed"),
        ("classes", 3, _TARGETS, "", "labels holds fractions; one class number a row is needed"),
        ("classes", 2, _CLASSES, "binary", "labels go from 0 to 1"),
        ("labels", 4, _BITS, "", "labels has 3 values a row, but the model answers with 4"),
        ("labels", 3, _BITS * 2, "", "labels go from 0 to 1"),
        ("tokens", 3, _TOKENS - 1, "", "labels out of range, the first being -101"),
        ("targets", 2, _TARGETS, "", "labels has 1 values a row, but the model answers with 2"),
        ("next_token", None, _TARGETS, "causal_lm", "labels holds fractions"),
        ("labels", 3, None, "multilabel", "task multilabel needs an array `labels`"),
    ],
)
def test_labels_that_do_not_fit_are_refused(head, classes, labels, task, words):
    with pytest.raises(InvalidDataset, match=words):
        check({"all": _rows(labels)}, _model(head, classes), task)


def test_a_new_head_knows_the_classes_that_it_is_trained_on():
    splits = {"train": _rows(_CLASSES), "eval": _rows(_CLASSES + 1)}
    with pytest.raises(InvalidDataset, match="the eval data has 6 labels out of range, the first being 3"):
        check(splits, _model("embedding"), "classification")
