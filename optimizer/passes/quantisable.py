"""The nodes of a graph that integers may compute, each with what its kind of work is called."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import onnx

from optimizer.errors import InvalidRecipe

# Convolutions of fewer channels than a vector register holds gain little from integers.
_FEW_CHANNELS = 8
_SHOWN = 5


@dataclass(frozen=True)
class Quantisable:
    """One node. Those of one `kind` do the same work, so they are fast or slow in integers together."""

    name: str
    operator: str
    kind: str
    # Weights, 0 for a node without any; a measure of how much it matters for speed and size.
    size: int


def quantisable(proto: onnx.ModelProto, operators: Collection[str]) -> list[Quantisable]:
    """Nodes of these operators, in the graph's order; products of two activations are not among them."""
    constants = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    found = []
    for node in proto.graph.node:
        if node.op_type not in operators:
            continue
        shape = constants.get(node.input[1]) if len(node.input) > 1 else None
        if shape is None and node.op_type in _PRODUCTS:
            continue
        size = 1 if shape else 0
        for axis in shape or ():
            size *= axis
        found.append(Quantisable(node.name, node.op_type, _kind(node, shape or ()), size))
    return found


_PRODUCTS = ("MatMul", "Gemm", "Attention", "Conv", "ConvTranspose")


def _kind(node: onnx.NodeProto, shape: Sequence[int]) -> str:
    if node.op_type == "Conv" and len(shape) > 2:
        group = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        kernel = "x".join(map(str, shape[2:]))
        if group > 1 and shape[1] == 1:
            return f"depthwise {kernel} Conv"
        few = " of few channels" if shape[1] < _FEW_CHANNELS else ""
        return f"{kernel} Conv{few}"
    return f"{'x'.join(map(str, shape))} {node.op_type}".strip()


def require_known(names: Collection[str], nodes: Sequence[Quantisable]) -> None:
    """Raises InvalidRecipe when a recipe names a node that is not there."""
    known = [node.name for node in nodes]
    missing = sorted(set(names) - set(known))
    if missing:
        shown = ", ".join(known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
        raise InvalidRecipe(
            f"float_nodes names {missing[0]!r}, which is no node that would be quantised; those are {shown}"
        )
