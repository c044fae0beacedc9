"""Walks an ONNX graph of a stranger, with all that is nested in it: counts, operators, and where its weights lie."""

import math
import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx

from optimizer.errors import InvalidCheckpoint

# "" is ONNX itself. The others are the sets that onnxruntime brings along.
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
# Operators of those sets that load files or run foreign code.
_FORBIDDEN = frozenset({"EPContext", "PythonOp", "PythonOpGrad", "ATen", "TritonOp", "ExternalAtenOp"})
# Packed types: elements a byte.
_PACKED: dict[int, int] = {onnx.TensorProto.INT4: 2, onnx.TensorProto.UINT4: 2, onnx.TensorProto.FLOAT4E2M1: 2}
_FUNCTION_DEPTH = 32


@dataclass(frozen=True)
class GraphLimits:
    """What a graph may have at most."""

    # In the file: of the graph, its subgraphs and its functions.
    nodes: int = 100_000
    # After functions are put in the place of their calls.
    expanded_nodes: int = 1_000_000
    functions: int = 2_000
    tensors: int = 200_000


@dataclass(frozen=True)
class GraphFindings:
    """What a walk has found: how often each operator occurs, and the files that hold external weights."""

    operators: dict[str, int]
    external_files: frozenset[str]


def check_graph(
    model: onnx.ModelProto, name: str, other_files: Mapping[str, int], limits: GraphLimits
) -> GraphFindings:
    """Walks the whole model. `other_files` are the sizes of the files beside it by name.

    Raises InvalidCheckpoint for too much of anything, custom operators, and weights outside the directory.
    """
    functions = _functions(model, limits)
    operators: Counter[str] = Counter()
    external: set[str] = set()
    for count, tensor in enumerate(_tensors(model), 1):
        if count > limits.tensors:
            raise InvalidCheckpoint(f"{name} has more than {limits.tensors} tensors, which are allowed at most")
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            external.add(_external_file(tensor, name, other_files))
        else:
            _check_inline(tensor, name)
    for node in _nodes(model):
        # Protobuf gives text that is not UTF-8 as bytes.
        if not isinstance(node.op_type, str) or not isinstance(node.domain, str):
            raise InvalidCheckpoint(f"{name} is damaged: an operator's name is not text")
        if (node.domain, node.op_type) not in functions:
            _check_operator(node, name)
            operators[node.op_type] += 1
        if operators.total() > limits.nodes:
            raise InvalidCheckpoint(f"{name} has more than {limits.nodes} nodes, which are allowed at most")
    _check_expansion(model, functions, name, limits)
    return GraphFindings(dict(operators), frozenset(external))


Functions = dict[tuple[str, str], onnx.FunctionProto]


def _functions(model: onnx.ModelProto, limits: GraphLimits) -> Functions:
    if len(model.functions) > limits.functions:
        raise InvalidCheckpoint(
            f"the model has {len(model.functions)} functions; at most {limits.functions} are allowed"
        )
    return {(function.domain, function.name): function for function in model.functions}


def _check_operator(node: onnx.NodeProto, name: str) -> None:
    if node.domain not in _DOMAINS:
        raise InvalidCheckpoint(
            f"{name} uses the custom operator {node.op_type[:80]!r} of domain {node.domain[:80]!r}; only operators "
            "of ONNX and onnxruntime are accepted, since custom ones need code"
        )
    if node.op_type in _FORBIDDEN:
        raise InvalidCheckpoint(f"{name} uses {node.op_type}, which loads foreign code or files and is not accepted")


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    yield from _nodes_within(model.graph)
    for function in model.functions:
        yield from _nodes_within(function)


def _nodes_within(start: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    waiting: list[onnx.GraphProto | onnx.FunctionProto] = [start]
    while waiting:
        for node in waiting.pop().node:
            yield node
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    waiting.append(attribute.g)
                waiting.extend(attribute.graphs)


def _graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    yield model.graph
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for graph in _graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    attributes = [attribute for node in _nodes(model) for attribute in node.attribute]
    attributes.extend(attribute for function in model.functions for attribute in function.attribute_proto)
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        sparse_tensors = [*attribute.sparse_tensors]
        if attribute.HasField("sparse_tensor"):
            sparse_tensors.append(attribute.sparse_tensor)
        for sparse in sparse_tensors:
            yield from (sparse.values, sparse.indices)


def _check_inline(tensor: onnx.TensorProto, name: str) -> None:
    elements = _elements(tensor, name)
    if not tensor.HasField("raw_data") or not tensor.raw_data:
        return
    wanted = _bytes(tensor, elements, name)
    if wanted is not None and wanted != len(tensor.raw_data):
        raise InvalidCheckpoint(
            f"{name} is damaged: tensor {tensor.name[:80]!r} of shape {list(tensor.dims)} needs {wanted} bytes and has "
            f"{len(tensor.raw_data)}"
        )


def _elements(tensor: onnx.TensorProto, name: str) -> int:
    elements = math.prod(tensor.dims)
    if any(size < 0 for size in tensor.dims) or elements >= 2**60:
        raise InvalidCheckpoint(
            f"{name} is damaged: the shape of tensor {tensor.name[:80]!r} is {list(tensor.dims)[:16]}"
        )
    return elements


def _bytes(tensor: onnx.TensorProto, elements: int, name: str) -> int | None:
    """Bytes that the elements take; None for types without a fixed size."""
    if tensor.data_type in _PACKED:
        return math.ceil(elements / _PACKED[tensor.data_type])
    if tensor.data_type == onnx.TensorProto.STRING:
        return None
    try:
        return elements * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except KeyError:
        raise InvalidCheckpoint(
            f"{name} has tensor {tensor.name[:80]!r} of an unknown type ({tensor.data_type})"
        ) from None


def _external_file(tensor: onnx.TensorProto, name: str, other_files: Mapping[str, int]) -> str:
    """The file that holds the tensor, after checking that it is one of ours and long enough."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if not all(isinstance(value, str) for value in entries.values()):
        raise InvalidCheckpoint(f"{name} is damaged: the place of a tensor's weights is not text")
    location = entries.get("location", "")
    who = f"{name}: the weights of tensor {tensor.name[:80]!r}"
    file = posixpath.normpath(posixpath.join(posixpath.dirname(name), location))
    parts = location.replace("\\", "/").split("/")
    if (
        not location
        or not location.isprintable()
        or location.startswith(("/", "\\"))
        or ".." in parts
        or ":" in location
    ):
        raise InvalidCheckpoint(
            f"{who} point outside its directory ({location[:80]!r}); only files beside it are accepted"
        )
    if file not in other_files:
        raise InvalidCheckpoint(f"{who} are in {location[:80]!r}, which is not among the files; push it too")
    offset, length = (_position(entries.get(key, ""), who) for key in ("offset", "length"))
    wanted = _bytes(tensor, _elements(tensor, name), name) if length is None else length
    if (offset or 0) + (wanted or 0) > other_files[file]:
        raise InvalidCheckpoint(f"{who} reach beyond the end of {file}; the file is cut short")
    return file


def _position(text: str, who: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise InvalidCheckpoint(f"{who} lie at {text[:40]!r}, which is no position in a file")
    return int(text)


def _check_expansion(model: onnx.ModelProto, functions: Functions, name: str, limits: GraphLimits) -> None:
    """Refuses functions that call themselves or grow beyond the limit when they are put in the place of their calls."""
    sizes: dict[tuple[str, str], int] = {}

    def size(start: onnx.GraphProto | onnx.FunctionProto, depth: int) -> int:
        if depth > _FUNCTION_DEPTH:
            raise InvalidCheckpoint(
                f"{name} has functions that call themselves, or more than {_FUNCTION_DEPTH} levels of them"
            )
        total = 0
        for node in _nodes_within(start):
            key = (node.domain, node.op_type)
            if key in functions and key not in sizes:
                sizes[key] = size(functions[key], depth + 1)
            total += sizes.get(key, 1)
        if total > limits.expanded_nodes:
            raise InvalidCheckpoint(
                f"{name} unfolds to more than {limits.expanded_nodes} nodes, which are allowed at most"
            )
        return total

    size(model.graph, 0)
