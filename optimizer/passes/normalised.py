"""Normalisations with the products that read them, and how a factor a channel moves from one into the others."""

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Product:
    """A product of the normalised values and a constant matrix."""

    node: str
    matrix: str
    # The matrix is [outputs, inputs].
    transposed: bool


@dataclass(frozen=True)
class Normalised:
    """One normalisation."""

    node: str
    output: str
    # Its scale, and its shift where it has one.
    parameters: tuple[str, ...]
    products: tuple[Product, ...]
    # Nothing but the products reads it.
    alone: bool


def normalised(proto: onnx.ModelProto) -> list[Normalised]:
    """Layer normalisations over the last axis that products with constant matrices of their own read."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in proto.graph.node:
        for name in set(node.input):
            readers.setdefault(name, []).append(node)
    answers = {output.name for output in proto.graph.output}
    found = []
    for node in proto.graph.node:
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1)
        if node.op_type != "LayerNormalization" or axis != -1 or any(name not in shapes for name in node.input[1:]):
            continue
        output = node.output[0]
        behind = [_product(reader, output, shapes) for reader in readers.get(output, [])]
        # A matrix that other products read as well cannot be changed for this one.
        products = tuple(product for product in behind if product and len(readers[product.matrix]) == 1)
        if products:
            alone = len(products) == len(behind) and output not in answers
            found.append(Normalised(node.name, output, tuple(node.input[1:]), products, alone))
    return found


def matrix_of(product: Product, constants: dict[str, onnx.TensorProto]) -> Floats:
    """Its weights [inputs, outputs]."""
    matrix: Floats = numpy_helper.to_array(constants[product.matrix])
    return matrix.T if product.transposed else matrix


def move(proto: onnx.ModelProto, one: Normalised, factors: Floats) -> None:
    """Divides what the products read by `factors` [channels] and multiplies their weights, in place.

    The normalisation's own parameters are divided where nothing else reads it; elsewhere a product with the reciprocals
    is put between, which is one more operation.
    """
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    nodes = {node.name: node for node in proto.graph.node}
    for product in one.products:
        matrix = numpy_helper.to_array(constants[product.matrix])
        scaled = matrix * (factors[None, :] if product.transposed else factors[:, None])
        constants[product.matrix].CopyFrom(numpy_helper.from_array(scaled.astype(matrix.dtype), product.matrix))
    if one.alone:
        node = nodes[one.node]
        for position, name in enumerate(one.parameters, 1):
            array = numpy_helper.to_array(constants[name])
            # Under a name of its own, since normalisations may share what they start from.
            node.input[position] = f"{one.output}_smooth_{position}"
            smooth = numpy_helper.from_array((array / factors).astype(array.dtype), node.input[position])
            proto.graph.initializer.append(smooth)
        return
    smooth_name = f"{one.output}_smooth"
    reciprocals = numpy_helper.from_array((1 / factors).astype(np.float32), f"{smooth_name}_by")
    proto.graph.initializer.append(reciprocals)
    for product in one.products:
        nodes[product.node].input[0] = smooth_name
    between = helper.make_node("Mul", [one.output, reciprocals.name], [smooth_name], f"{one.node}_smooth")
    position = next(place for place, node in enumerate(proto.graph.node) if node.name == one.node)
    proto.graph.node.insert(position + 1, between)


def _product(node: onnx.NodeProto, values: str, shapes: dict[str, tuple[int, ...]]) -> Product | None:
    if node.op_type not in ("MatMul", "Gemm") or node.input[0] != values or len(shapes.get(node.input[1], ())) != 2:
        return None
    flags = {attribute.name: attribute.i for attribute in node.attribute if attribute.name in ("transA", "transB")}
    return None if flags.get("transA") else Product(node.name, node.input[1], bool(flags.get("transB")))
