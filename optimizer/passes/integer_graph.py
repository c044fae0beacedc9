"""Makes an exported QDQ graph one that onnxruntime runs in integers throughout: its biases become 32-bit integers."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

_WEIGHTED = ("Conv", "Gemm")
_LARGEST = 2**31 - 1

Floats = NDArray[np.float32]


def round_biases(model: onnx.ModelProto) -> int:
    """Rounds each float bias to multiples of (input's scale x weight's scale), which integer kernels add up in.

    Returns how many were rounded. A bias too large for that stays as it is.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    nodes: list[onnx.NodeProto] = []
    rounded = 0
    for node in graph.node:
        if node.op_type in _WEIGHTED and len(node.input) == 3 and node.input[2] in constants:
            scales = [_scale_of(name, makers, constants) for name in node.input[:2]]
            whole = _rounded(numpy_helper.to_array(constants[node.input[2]]), *scales)
            if whole is not None:
                name = f"{node.output[0]}_bias"
                graph.initializer.extend(numpy_helper.from_array(array, f"{name}_{part}") for part, array in whole)
                inputs = [f"{name}_{part}" for part, _ in whole]
                nodes.append(helper.make_node("DequantizeLinear", inputs, [name], name=name, axis=0))
                node.input[2] = name
                rounded += 1
        nodes.append(node)
    # Copied, since emptying the list takes its nodes with it.
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    _drop_unused(graph)
    return rounded


def _rounded(bias: Floats, values: Floats | None, weights: Floats | None) -> list[tuple[str, NDArray[Any]]] | None:
    """The bias as whole multiples, their unit and their zero point; None where the sum is not in integers."""
    if values is None or weights is None or bias.ndim != 1 or weights.size not in (1, bias.size):
        return None
    unit = (values * weights).astype(np.float32)
    whole = np.rint(bias.astype(np.float64) / unit)
    if np.abs(whole).max(initial=0) > _LARGEST:
        return None
    return [("whole", whole.astype(np.int32)), ("unit", unit), ("zero", np.zeros(unit.shape, np.int32))]


def _scale_of(name: str, makers: dict[str, onnx.NodeProto], constants: dict[str, onnx.TensorProto]) -> Floats | None:
    """Scale of a dequantised tensor; None for one that is not."""
    maker = makers.get(name)
    if maker is None or maker.op_type != "DequantizeLinear" or maker.input[1] not in constants:
        return None
    scale: Floats = numpy_helper.to_array(constants[maker.input[1]])
    return scale


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
