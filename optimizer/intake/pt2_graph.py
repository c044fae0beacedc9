"""Builds the graph of a checked .pt2 program: one call of an ATen operation a node, with its own weights.

torch's own loader is not used, since it unpickles and evaluates parts of the archive.
"""

import math
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from optimizer.artifact.pt2_program import Node, Program
from optimizer.artifact.pt2_values import Code, Reference, Value
from optimizer.errors import InvalidCheckpoint, UnsupportedModel

_DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16, 7: torch.float32,
    8: torch.float64, 12: torch.bool, 13: torch.bfloat16, 28: torch.uint16, 34: torch.uint32, 35: torch.uint64,
}  # fmt: skip
_LAYOUTS = {7: torch.strided}
_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
_MODULES: Mapping[str, Any] = {"_operator": operator, "math": math, "torch": torch}
# They state what was true while the program was recorded, and answer nothing.
_ASSERTIONS = frozenset({"_assert_tensor_metadata", "_assert_scalar", "_assert_async"})


# Where a node of the graph keeps the shape of its answer: sizes, and names of symbols.
SHAPE = "recorded_shape"


def graph_of(program: Program, arrays: Mapping[str, NDArray[Any]], name: str) -> fx.GraphModule:
    """The program as a module of positional tensors; it answers the first output, as it was recorded.

    Raises InvalidCheckpoint for values that are not there, UnsupportedModel for an operation that this torch does not
    have.
    """
    root, graph = nn.Module(), fx.Graph()
    made: dict[str, fx.Node] = {}
    shared: dict[int, Tensor] = {}
    for item in program.placeholders:
        if item.role == "input":
            made[item.name] = graph.placeholder(item.name)
    for item in program.placeholders:
        if item.role != "input":
            array = arrays[item.source]
            # One array is one tensor: tied weights stay tied.
            tensor = shared.setdefault(id(array), _tensor(array, parameter=item.role == "parameter"))
            _register(root, item.source, tensor, name)
            made[item.name] = graph.get_attr(item.source)
    for node in program.nodes:
        if node.operator not in _ASSERTIONS:
            _add(graph, node, made, name)
    for label, made_node in made.items():
        if label in program.values:
            made_node.meta[SHAPE] = program.values[label].shape
    graph.output(_made(made, program.outputs[0], name))
    drop_unused(graph)
    return fx.GraphModule(root, graph)


def drop_unused(graph: fx.Graph) -> None:
    """Takes out what nothing reads, unless it writes to a tensor that others read."""
    for node in reversed(list(graph.nodes)):
        mutates = isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable
        if not node.users and node.op not in ("placeholder", "output") and not mutates:
            graph.erase_node(node)


def _tensor(array: NDArray[Any], *, parameter: bool) -> Tensor:
    if array.dtype.name == "bfloat16":
        tensor = torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
    else:
        tensor = torch.from_numpy(array)
    return nn.Parameter(tensor) if parameter else tensor


def _register(root: nn.Module, source: str, tensor: Tensor, name: str) -> None:
    """Puts a tensor where its name says, with plain modules on the way."""
    *path, last = source.split(".")
    module = root
    for part in path:
        inner = module._modules.get(part)
        if inner is None:
            inner = nn.Module()
            try:
                module.add_module(part, inner)
            except KeyError:
                raise InvalidCheckpoint(f"{name}: {source[:80]!r} is a name that a module cannot have") from None
        module = inner
    try:
        if isinstance(tensor, nn.Parameter):
            module.register_parameter(last, tensor)
        else:
            module.register_buffer(last, tensor)
    except KeyError:
        raise InvalidCheckpoint(f"{name}: {source[:80]!r} is a name that a module cannot have") from None


def _add(graph: fx.Graph, node: Node, made: dict[str, fx.Node], name: str) -> None:
    target = _callable(node.target)
    arguments = tuple(_value(item.value, made, name) for item in node.arguments if not item.keyword)
    keywords = {item.name: _value(item.value, made, name) for item in node.arguments if item.keyword}
    result = graph.call_function(target, arguments, keywords)
    if not node.several:
        made[node.outputs[0]] = result
        return
    for position, output in enumerate(node.outputs):
        if output:
            made[output] = graph.call_function(operator.getitem, (result, position))


def _callable(target: str) -> Any:
    parts = target.split(".")
    if parts[:2] != ["torch", "ops"]:
        return getattr(_MODULES[parts[0]], parts[1])
    _, _, namespace, operation, overload = parts
    try:
        found = getattr(getattr(getattr(torch.ops, namespace), operation), overload)
    except AttributeError:
        found = None
    if not isinstance(found, torch._ops.OpOverload):
        raise UnsupportedModel(f"torch {torch.__version__} has no operation {operation!r} with the form {overload!r}")
    return found


def _value(value: Value, made: Mapping[str, fx.Node], name: str) -> Any:
    if isinstance(value, list):
        return [_value(item, made, name) for item in value]
    if isinstance(value, Reference):
        return _made(made, value.name, name)
    if isinstance(value, Code):
        return _constant(value, name)
    return value


def _constant(code: Code, name: str) -> Any:
    if code.kind == "device":
        return torch.device("cpu")
    tables: dict[str, Mapping[int, Any]] = {"dtype": _DTYPES, "layout": _LAYOUTS, "memory_format": _FORMATS}
    table = tables[code.kind]
    if code.number not in table:
        raise UnsupportedModel(
            f"{name} asks for the {code.kind.replace('_', ' ')} {code.number}, which is not accepted"
        )
    return table[code.number]


def _made(made: Mapping[str, fx.Node], label: str, name: str) -> fx.Node:
    if label not in made:
        raise InvalidCheckpoint(f"{name} is damaged: {label[:80]!r} is used and never made")
    return made[label]
