"""Tables that rows are looked up in (embeddings), held as 8-bit integers with a scale a row.

A table of words is most of a small text model's file, and of a recommender's. Only the rows that are asked for become
floats again, so memory stays as small as the file, and a product's time hides what it costs.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from optimizer.intake.onnx_file import subgraphs
from optimizer.passes.partial import Build
from optimizer.passes.quantisable import Quantisable

# A smaller table saves less than the nodes that read it take.
_FEWEST_WEIGHTS = 1024
_LARGEST = 127

# Nodes, and the constants that they read.
Replaced = tuple[list[onnx.NodeProto], dict[str, NDArray[Any]]]
Replacement = Callable[[onnx.NodeProto, NDArray[np.float32]], Replaced]


@dataclass(frozen=True)
class WithTables:
    """Makes graphs of `build` in which lookups, too, may be in integers."""

    proto: onnx.ModelProto
    build: Build
    lookups: frozenset[str]

    def __call__(self, integer: Collection[str]) -> onnx.ModelProto:
        """The graph with these nodes in integers."""
        others = set(integer) - self.lookups
        if others:
            proto = self.build(others)
        else:
            proto = onnx.ModelProto()
            proto.CopyFrom(self.proto)
        round_tables(proto, self.lookups.intersection(integer))
        return proto


def lookups(proto: onnx.ModelProto) -> list[Quantisable]:
    """Nodes that look rows up in a constant float table of at least two axes, in the graph's order."""
    tables = {
        tensor.name: tuple(tensor.dims)
        for tensor in proto.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2
    }
    found = []
    for node in proto.graph.node:
        shape = tables.get(node.input[0]) if _is_lookup(node) else None
        if shape is not None and shape[0] * shape[1] >= _FEWEST_WEIGHTS:
            found.append(Quantisable(node.name, node.op_type, f"{shape[0]}x{shape[1]} Gather", shape[0] * shape[1]))
    return found


def round_tables(proto: onnx.ModelProto, names: Collection[str]) -> None:
    """Replaces the tables of these lookups, in place; a table that something else reads too stays beside."""
    replace_lookups(proto, names, _looked_up)


def replace_lookups(proto: onnx.ModelProto, names: Collection[str], replacement: Replacement) -> None:
    """Puts `replacement` of (node, table) in place of these lookups, and drops tables that nothing reads any more."""
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    added: dict[str, NDArray[Any]] = {}
    replaced: set[str] = set()
    for node in proto.graph.node:
        if node.name in names and _is_lookup(node):
            replaced.add(node.input[0])
            parts, arrays = replacement(node, numpy_helper.to_array(constants[node.input[0]]))
            nodes += parts
            added |= arrays
        else:
            nodes.append(node)
    # Copied, since emptying the list takes its nodes with it.
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in added.items())
    _drop(proto, replaced)


def round_rows(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """The table [rows, width] as whole multiples of a unit a row [rows, 1]; a row of zeros has the unit 1."""
    units = (np.abs(table).max(axis=1, keepdims=True) / _LARGEST).astype(np.float32)
    scales = np.where(units > 0, units, np.float32(1))
    # The unit of a row of the very smallest numbers is itself rounded, so they may be more than 127 of them.
    return np.rint(table / scales).clip(-_LARGEST, _LARGEST).astype(np.int8), scales


def _looked_up(node: onnx.NodeProto, table: NDArray[np.float32]) -> Replaced:
    name, (source, indices) = node.name, node.input
    whole, scales = round_rows(table)
    parts: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Gather", [f"{source}_rows", indices], f"{name}_whole", {"axis": 0}),
        ("Gather", [f"{source}_scales", indices], f"{name}_scale", {"axis": 0}),
        ("Cast", [f"{name}_whole"], f"{name}_float", {"to": onnx.TensorProto.FLOAT}),
        ("Mul", [f"{name}_float", f"{name}_scale"], node.output[0], {}),
    ]
    nodes = [helper.make_node(kind, inputs, [to], f"{name}_{kind}_{to}", **more) for kind, inputs, to, more in parts]
    return nodes, {f"{source}_rows": whole, f"{source}_scales": scales}


def _is_lookup(node: onnx.NodeProto) -> bool:
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    return node.op_type == "Gather" and node.domain in ("", "ai.onnx") and axis == 0


def _drop(proto: onnx.ModelProto, names: Collection[str]) -> None:
    read = {name for graph in (proto.graph, *subgraphs(proto.graph)) for node in graph.node for name in node.input}
    read |= {output.name for output in proto.graph.output}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in read or tensor.name not in names]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
