"""Tiny classifiers as ONNX files, with and without a batch, and rows that they can be measured on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimizer.artifact.rows import Rows

FEATURES, CLASSES = 6, 3


def classifier(axes: list[Any], *, work: int = 0, flipped: bool = False, extra: int = 0) -> onnx.ModelProto:
    """scores = x @ eye: the class is the largest of the first three features (`flipped`: the smallest).

    `work` multiplies by an identity of that many features first, `extra` adds so many unused scores.
    """
    nodes, weights, previous = [], [], "x"
    if work:
        wide = np.eye(FEATURES, work, dtype=np.float32)
        weights += [
            numpy_helper.from_array(wide, "up"),
            numpy_helper.from_array(np.eye(work, dtype=np.float32), "square"),
            numpy_helper.from_array(wide.T.copy(), "down"),
        ]
        for weight in ("up", "square", "square", "down"):
            nodes.append(helper.make_node("MatMul", [previous, weight], [f"h{len(nodes)}"]))
            previous = f"h{len(nodes) - 1}"
    matrix = np.zeros((FEATURES, CLASSES + extra), np.float32)
    matrix[range(CLASSES), range(CLASSES)] = -1 if flipped else 1
    # The mean of all is never the largest.
    matrix[:CLASSES, CLASSES:] = 1 / CLASSES
    weights.append(numpy_helper.from_array(matrix, "w"))
    nodes.append(helper.make_node("MatMul", [previous, "w"], ["scores"]))
    output_axes = [*axes[:-1], CLASSES + extra]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, output_axes)],
        weights,
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes `classifier(...)` under a name."""

    def write(name: str, axes: list[Any] | None = None, **options: Any) -> Path:
        onnx.save(classifier(axes or ["N", FEATURES], **options), tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def rows() -> Rows:
    """120 rows; three quarters of the labels are what the classifier says."""
    random = np.random.default_rng(0)
    x = random.normal(size=(120, FEATURES)).astype(np.float32)
    labels = x[:, :CLASSES].argmax(axis=1)
    labels[::4] = (labels[::4] + 1) % CLASSES
    return Rows({"x": x}, labels.astype(np.int64))
