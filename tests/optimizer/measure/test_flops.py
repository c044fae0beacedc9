"""Operations of small graphs against counts by hand, and of a whole network against what its layers say."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from optimizer.artifact.rows import feeds
from optimizer.artifact.session import SessionSpec
from optimizer.measure.flops import flops

_RANDOM = np.random.default_rng(0)


def count(nodes: list[onnx.NodeProto], x: np.ndarray, weights: dict[str, np.ndarray]) -> int | None:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), ["n", *x.shape[1:]])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, ir_version=10, opset_imports=opsets)
    before = model.SerializeToString()
    found = flops(model, {"x": x}, SessionSpec())
    assert model.SerializeToString() == before
    return found


def floats(*shape: int) -> np.ndarray:
    return _RANDOM.normal(size=shape).astype(np.float32)


def node(kind: str, inputs: list[str], outputs: tuple[str, ...] = ("y",), **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, list(outputs), **attributes)


def test_a_convolution_sums_over_kernel_and_group() -> None:
    convolution = node("Conv", ["x", "w"], group=2, strides=[2, 2], pads=[1, 1, 1, 1])
    assert count([convolution], floats(1, 4, 8, 8), {"w": floats(6, 2, 3, 3)}) == 2 * (6 * 4 * 4) * (2 * 9)
    turned = node("ConvTranspose", ["x", "w"], strides=[2, 2])
    assert count([turned], floats(1, 4, 8, 8), {"w": floats(4, 6, 2, 2)}) == 2 * (4 * 64) * (6 * 4)


def test_products_of_matrices() -> None:
    assert count([node("MatMul", ["x", "w"])], floats(1, 7, 5), {"w": floats(5, 3)}) == 2 * 7 * 5 * 3
    gemm = node("Gemm", ["x", "w"], transB=1)
    assert count([gemm], floats(1, 5), {"w": floats(3, 5)}) == 2 * 5 * 3
    integers = [
        node("DynamicQuantizeLinear", ["x"], ("q", "scale", "zero")),
        node("MatMulInteger", ["q", "w", "zero"]),
    ]
    assert count(integers, floats(1, 5), {"w": np.ones((5, 3), np.int8)}) == 2 * 5 * 3


def test_fused_attention_counts_its_products_too() -> None:
    fused = helper.make_node("Attention", ["x", "w", "b"], ["y"], domain="com.microsoft", num_heads=2)
    expected = 2 * 6 * 8 * 24 + 2 * (6 * 6 * 8) * 2
    assert count([fused], floats(1, 6, 8), {"w": floats(8, 24), "b": floats(24)}) == expected
    many = helper.make_node("MultiHeadAttention", ["x", "x", "x"], ["y"], domain="com.microsoft", num_heads=2)
    assert count([many], floats(1, 6, 8), {}) == 2 * (6 * 6 * 8) * 2


def test_what_depends_on_more_than_shapes_has_no_count() -> None:
    branch = helper.make_graph([node("Identity", ["x"], ("z",))], "b", [], [helper.make_empty_tensor_value_info("z")])
    chosen = node("If", ["c"], then_branch=branch, else_branch=branch)
    assert count([chosen], floats(1, 5), {"c": np.array(True)}) is None
    assert count([node("MatMul", ["x", "w"])], floats(1, 5), {"w": floats(4, 3)}) is None


@pytest.mark.parametrize("name", ["resnet_onnx", "bert_onnx"])
def test_a_network_takes_twice_its_multiplications(name: str, request: pytest.FixtureRequest) -> None:
    exported = request.getfixturevalue(name)
    sample = request.getfixturevalue(name.removesuffix("_onnx"))
    proto = onnx.load(exported.path)
    row = feeds(sample.rows, exported.signature.inputs, np.arange(1))
    found = flops(proto, row, SessionSpec())
    assert found is not None
    network = sample.load().network
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(**{key: torch.from_numpy(value) for key, value in row.items()})
    assert found == pytest.approx(counter.get_total_flops(), rel=0.05)
