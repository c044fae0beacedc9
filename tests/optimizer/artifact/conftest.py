"""Tiny checkpoints on disk, to be spoilt by tests."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

CONFIG: dict[str, Any] = {
    "architectures": ["ResNetForImageClassification"],
    "model_type": "resnet",
    "num_channels": 1,
    "id2label": {"0": "zero", "1": "one", "2": "two"},
}


@pytest.fixture
def huggingface(tmp_path: Path) -> Callable[..., dict[str, Path]]:
    """Makes a directory with config.json (CONFIG and changes; None deletes a key) and model.safetensors."""

    def make(**changes: Any) -> dict[str, Path]:
        config = {key: value for key, value in (CONFIG | changes).items() if value is not None}
        (tmp_path / "config.json").write_text(json.dumps(config))
        weights = {"classifier.weight": np.ones((3, 4), np.float32), "classifier.bias": np.zeros(3, np.float16)}
        save_file(weights, tmp_path / "model.safetensors")
        return {name: tmp_path / name for name in ("config.json", "model.safetensors")}

    return make


def linear_graph(
    axes: tuple[Any, ...] = ("N", 4), classes: int = 3, output_axes: tuple[Any, ...] = ("N", 3), **changes: Any
) -> onnx.ModelProto:
    """x @ w; `changes` replace arguments of make_graph."""
    weights = numpy_helper.from_array(np.ones((4, classes), np.float32), "w")
    arguments: dict[str, Any] = {
        "nodes": [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "name": "linear",
        "inputs": [helper.make_tensor_value_info("x", TensorProto.FLOAT, axes)],
        "outputs": [helper.make_tensor_value_info("y", TensorProto.FLOAT, output_axes)],
        "initializer": [weights],
    }
    graph = helper.make_graph(**(arguments | changes))
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


@pytest.fixture
def graph() -> Callable[..., onnx.ModelProto]:
    """`linear_graph`."""
    return linear_graph


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., dict[str, Path]]:
    """Writes a model as model.onnx, with further files by name; gives the files as inspection takes them."""

    def save(model: onnx.ModelProto, **others: bytes) -> dict[str, Path]:
        onnx.save(model, tmp_path / "model.onnx")
        files = {"model.onnx": tmp_path / "model.onnx"}
        for name, data in others.items():
            path = tmp_path / name.replace("_", ".", 1)
            path.write_bytes(data)
            files[path.name] = path
        return files

    return save
