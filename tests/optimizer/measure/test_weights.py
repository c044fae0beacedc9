"""Weights of small graphs, counted by hand."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from optimizer.measure.weights import weights_of


def model(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    return helper.make_model(helper.make_graph(nodes, "g", [], [], constants))


def test_shapes_scales_and_single_values_are_no_parameters() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["f"], axis=0),
        helper.make_node("MatMul", ["x", "f"], ["h"]),
        helper.make_node("Reshape", ["h", "shape"], ["y"]),
    ]
    weights = {
        "w": np.array([[3, 4, 3], [4, 4, 9]], np.uint8),
        "scale": np.ones(2, np.float32),
        "zero": np.array([3, 4], np.uint8),
        "shape": np.array([1, -1]),
        "one": np.float32(2),
        "bias": np.zeros(5, np.float32),
    }
    found = weights_of(model(nodes, weights))
    assert found.parameters == 6 + 5
    assert found.zero_share == pytest.approx(4 / 6)


def test_zeros_and_shared_values_pack_well() -> None:
    random = np.random.default_rng(0)
    dense = random.normal(size=(256, 256)).astype(np.float32)
    sparse = np.where(random.random(dense.shape) < 0.9, np.float32(0), dense)
    shared = random.normal(size=16).astype(np.float32)[random.integers(0, 16, dense.shape)]
    plain, thin, few = (weights_of(model([], {"w": array})) for array in (dense, sparse, shared))
    assert plain.compressed_bytes > 0.85 * dense.nbytes
    assert thin.compressed_bytes < 0.3 * dense.nbytes
    assert few.compressed_bytes < 0.4 * dense.nbytes
    assert thin.zero_share == pytest.approx(0.9, abs=0.01)


def test_large_files_are_told_from_evenly_spread_blocks() -> None:
    random = np.random.default_rng(1)
    half = random.integers(0, 256, (1536, 4096)).astype(np.uint8)
    found = weights_of(model([], {"noise": half, "nothing": np.zeros_like(half)}))
    assert found.compressed_bytes == pytest.approx(half.nbytes, rel=0.05)
    assert weights_of(model([], {})).zero_share is None
