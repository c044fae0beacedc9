"""Half precision: weights and activations in 16 bits, except where calibrated activations come near fp16's range."""

import warnings

import numpy as np
import onnx
from onnxconverter_common import float16

from optimizer.artifact.rows import feeds
from optimizer.artifact.session import ort_errors
from optimizer.errors import NotApplicable, PassFailed
from optimizer.intake.onnx_file import first_line, name_nodes, read, save
from optimizer.intake.stages import OnnxModel
from optimizer.passes.context import Context
from optimizer.passes.inner_values import infer, opened_wide
from optimizer.recipe.fp16 import Fp16

# A quarter of fp16's largest number: rows at serving time go beyond those that were seen.
_LARGEST = 65504 / 4
_ROWS = 64
_CHUNK = 16


def run(config: Fp16, model: OnnxModel, context: Context) -> OnnxModel:
    """Converts; inputs and outputs keep their types. Raises NotApplicable when no weight is in 32 bits."""
    proto = read(model.path)
    name_nodes(proto)
    infer(proto, context.session)
    before = _floats(proto)
    if before == 0:
        raise NotApplicable("there is nothing to convert: no weight of this graph is a 32-bit float")
    kept = _out_of_range(proto, model, context)
    context.report(0.6, message="converting")
    with warnings.catch_warnings():
        # It warns of each weight that 16 bits round to zero.
        warnings.simplefilter("ignore")
        try:
            converted = float16.convert_float_to_float16(
                proto,
                keep_io_types=True,
                op_block_list=float16.DEFAULT_OP_BLOCK_LIST,
                node_block_list=sorted(kept),
                max_finite_val=65504.0,
            )
        except (RuntimeError, ValueError, KeyError, IndexError, onnx.shape_inference.InferenceError) as error:
            raise PassFailed(f"the graph cannot be converted to fp16: {first_line(error)}") from error
    sort_nodes(converted.graph)
    context.notes.append(f"{before - _floats(converted)} of {before} weights in fp16")
    if kept:
        context.notes.append(f"{len(kept)} nodes stay in fp32, since their values come near fp16's largest number")
    return save(converted, context.directory, model.signature, context.session)


def _floats(model: onnx.ModelProto) -> int:
    return sum(tensor.data_type == onnx.TensorProto.FLOAT for tensor in model.graph.initializer)


def _out_of_range(proto: onnx.ModelProto, model: OnnxModel, context: Context) -> set[str]:
    """Names of nodes that read or write a tensor which is too large for fp16 on calibration rows."""
    large = {
        tensor.name
        for tensor in proto.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and _too_large(onnx.numpy_helper.to_array(tensor))
    }
    rows = context.splits.calibration
    count = min(_ROWS, len(rows))
    size = _CHUNK if model.signature.batched else 1
    session = opened_wide(proto, context.session)
    try:
        names = [output.name for output in session.get_outputs()]
        for start in range(0, count, size):
            indices = np.arange(start, min(start + size, count))
            answers = session.run(names, feeds(rows, model.signature.inputs, indices))
            large.update(name for name, array in zip(names, answers, strict=True) if _too_large(np.asarray(array)))
            context.report(0.6 * (start + len(indices)) / count, message="looking for large values")
    except ort_errors() as error:
        raise PassFailed(f"the graph's values cannot be watched: {first_line(error)}") from error
    return {node.name for node in proto.graph.node if large.intersection((*node.input, *node.output))}


def _too_large(array: np.ndarray) -> bool:
    if array.dtype != np.float32 or array.size == 0:
        return False
    # A mask's minus infinity stays minus infinity in 16 bits; its stand-in, float32's lowest, would become one.
    finite = np.abs(array[np.isfinite(array)])
    return finite.size > 0 and float(finite.max()) > _LARGEST


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Puts every node behind those whose outputs it reads, otherwise in the present order."""
    known = {""} | {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    known.update(tensor.values.name for tensor in graph.sparse_initializer)
    waiting: list[onnx.NodeProto] = list(graph.node)
    ordered: list[onnx.NodeProto] = []
    while waiting:
        blocked: list[onnx.NodeProto] = []
        for node in waiting:
            if all(name in known for name in _reads(node)):
                ordered.append(node)
                known.update(node.output)
            else:
                blocked.append(node)
        if len(blocked) == len(waiting):
            raise PassFailed(f"node {blocked[0].name!r} reads what nothing writes")
        waiting = blocked
    del graph.node[:]
    graph.node.extend(ordered)


def _reads(node: onnx.NodeProto) -> set[str]:
    """Names that a node takes from the graph around it, by itself or inside its branches."""
    names = set(node.input)
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            own = {value.name for value in inner.input} | {tensor.name for tensor in inner.initializer}
            own.update(name for other in inner.node for name in other.output)
            names |= {name for other in inner.node for name in _reads(other)} - own
    return names
