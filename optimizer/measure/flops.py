"""Counts the arithmetic of a graph: operations of convolutions, products of matrices, attention and recurrent layers.

A multiplication and an addition are two operations, whatever their type; what is done element by element is not counted
(some per cent of most networks). Shapes come from one run on example inputs, so that fused operators, which no shape
inference knows, are counted like any other.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import onnx
from numpy.typing import NDArray

from optimizer.artifact.session import SessionSpec, build, ort_errors

Shape = tuple[int, ...]
_MICROSOFT = "com.microsoft"


def flops(model: onnx.ModelProto, inputs: Mapping[str, NDArray[Any]], session: SessionSpec) -> int | None:
    """Operations of one call with these inputs; `model` is left as it was.

    None for a model with functions or branches, whose operations depend on more, and for one that does not run.
    """
    nodes = list(model.graph.node)
    if model.functions or any(
        attribute.HasField("g") or attribute.graphs for node in nodes for attribute in node.attribute
    ):
        return None
    counted = [node for node in nodes if _counter(node) is not None]
    shapes = _shapes(
        model, sorted({name for node in counted for name in (*node.input, *node.output) if name}), inputs, session
    )
    if shapes is None:
        return None
    total = 0
    for node in counted:
        counter = _counter(node)
        assert counter is not None
        total += counter(
            node, [shapes.get(name, ()) for name in node.input], [shapes.get(name, ()) for name in node.output]
        )
    return total


def _shapes(
    model: onnx.ModelProto, names: Sequence[str], inputs: Mapping[str, NDArray[Any]], session: SessionSpec
) -> dict[str, Shape] | None:
    """The shapes of tensors as the model runs; only shapes leave it."""
    found = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    asked = [name for name in names if name not in found]
    if not asked:
        return found
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    for number, name in enumerate(asked):
        shape = f"stillroom.shape.{number}"
        probe.graph.node.append(onnx.helper.make_node("Shape", [name], [shape]))
        probe.graph.output.append(onnx.helper.make_tensor_value_info(shape, onnx.TensorProto.INT64, [None]))
    try:
        answers = build(probe.SerializeToString(), session).run(None, dict(inputs))
    except ort_errors():
        return None
    return found | {name: tuple(int(size) for size in answer) for name, answer in zip(asked, answers, strict=True)}


_Counter = Callable[[onnx.NodeProto, list[Shape], list[Shape]], int]


def _counter(node: onnx.NodeProto) -> _Counter | None:
    if node.op_type == "Attention":
        return _packed_attention if node.domain == _MICROSOFT else _attention
    return _COUNTERS.get(node.op_type)


def _convolution(weight: int) -> _Counter:
    """Every output is a sum over the kernel and the channels of its group."""
    return lambda node, inputs, outputs: 2 * prod(outputs[0]) * prod(inputs[weight][1:])


def _transposed(node: onnx.NodeProto, inputs: list[Shape], outputs: list[Shape]) -> int:
    return 2 * prod(inputs[0]) * prod(inputs[1][1:])


def _gemm(node: onnx.NodeProto, inputs: list[Shape], outputs: list[Shape]) -> int:
    return 2 * prod(outputs[0]) * inputs[0][0 if _attribute(node, "transA") else 1]


def _product(node: onnx.NodeProto, inputs: list[Shape], outputs: list[Shape]) -> int:
    """Every output is a sum over the last axis of the left side."""
    left = inputs[0]
    turned = _attribute(node, "transA") and len(left) > 1
    return 2 * prod(outputs[0]) * (left[-2] if turned else left[-1])


def _packed_attention(node: onnx.NodeProto, inputs: list[Shape], outputs: list[Shape]) -> int:
    """Queries, keys and values of one product; then the scores and the sums that they weigh."""
    batch, sequence, _ = inputs[0]
    hidden, width = inputs[1]
    values = outputs[0][-1]
    keys = (width - values) // 2
    return 2 * batch * sequence * hidden * width + 2 * batch * sequence**2 * (keys + values)


def _attention(node: onnx.NodeProto, inputs: list[Shape], outputs: list[Shape]) -> int:
    """Attention of queries to keys and values, [b, sequence, width] or [b, heads, sequence, width]."""
    query, keys, values = (shape or inputs[0] for shape in (*inputs, (), ())[:3])
    rows = prod(query[:-1])
    per_row = query[-1] + (values[-1] if len(values) == len(query) else query[-1])
    return 2 * rows * keys[-2] * per_row


def _recurrent(node: onnx.NodeProto, inputs: list[Shape], outputs: list[Shape]) -> int:
    return 2 * inputs[0][0] * inputs[0][1] * (prod(inputs[1]) + prod(inputs[2]))


def _attribute(node: onnx.NodeProto, name: str) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), 0)


_COUNTERS: dict[str, _Counter] = {
    **dict.fromkeys(("Conv", "FusedConv", "ConvInteger", "NhwcFusedConv"), _convolution(1)),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed,
    **dict.fromkeys(("Gemm", "QGemm"), _gemm),
    **dict.fromkeys(
        (
            "MatMul",
            "FusedMatMul",
            "MatMulInteger",
            "QLinearMatMul",
            "MatMulIntegerToFloat",
            "DynamicQuantizeMatMul",
            "MatMulNBits",
        ),
        _product,
    ),
    "QAttention": _packed_attention,
    "MultiHeadAttention": _attention,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
}
