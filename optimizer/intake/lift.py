"""Turns calls of ATen operations back into layers, so that a recorded graph can be trained and pruned.

A recorded program keeps its weights as bare tensors and calls functions with them. Tools that narrow a network look for
layers, and find nothing to do in such a graph, without a word. Lifting puts nn.Linear, nn.Conv2d and the like where
their functions are called, under the names that the weights have, and removes dropout, which was off when the program
was recorded. What has no layer stays a call.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn

from optimizer.errors import InvalidCheckpoint
from optimizer.intake.lift_decomposed import compose
from optimizer.intake.lift_layers import INPUT, MAKERS
from optimizer.intake.pt2_graph import SHAPE, drop_unused

_DROPOUT = frozenset({"dropout", "dropout_", "feature_dropout", "feature_dropout_", "alpha_dropout", "alpha_dropout_"})
_VIEWS = frozenset({"view", "reshape", "_unsafe_view"})


def lift(plain: fx.GraphModule) -> fx.GraphModule:
    """`plain` with layers; its own graph stays as it is, its weights are shared.

    The names of the layers depend on nothing but the program. Raises InvalidCheckpoint for one that was recorded in
    training mode.
    """
    graph = fx.Graph()
    graph.output(graph.graph_copy(plain.graph, {}))
    remove_dropout(graph)
    compose(graph, operation, lambda weight: _axes(plain, weight))
    layers: dict[str, nn.Module] = {}
    taken: dict[tuple[Any, ...], str] = {}
    for node in list(graph.nodes):
        if operation(node) in MAKERS:
            _lift(graph, node, plain, layers, taken)
    drop_unused(graph)
    kept = {node.target: _tensor(plain, node.target) for node in graph.nodes if node.op == "get_attr"}
    network = fx.GraphModule({**layers, **kept}, graph)
    _tell_head_sizes(network)
    return network


def operation(node: fx.Node) -> str:
    """The short name of the ATen operation that a node calls ("conv2d"), or ""."""
    target = node.target
    if node.op != "call_function" or not isinstance(target, torch._ops.OpOverload):
        return ""
    return target._schema.name.rpartition("::")[2]


def functions(network: fx.GraphModule, names: frozenset[str]) -> list[str]:
    """Those of `names` that the graph still calls as functions."""
    return sorted({operation(node) for node in network.graph.nodes} & names)


def unlifted(network: nn.Module) -> list[str]:
    """The operations of a recorded network that take a weight of two or more axes and stayed calls: nothing can cut
    their weights. Empty for a network that was not recorded."""
    if not isinstance(network, fx.GraphModule):
        return []
    weights = {
        node
        for node in network.graph.nodes
        if node.op == "get_attr"
        and isinstance(found := _tensor(network, node.target), nn.Parameter)
        and found.dim() > 1
    }
    return sorted({operation(node) for node in network.graph.nodes if weights.intersection(node.all_input_nodes)})


def remove_dropout(graph: fx.Graph) -> None:
    """Takes dropout out of a graph: it was off, or should have been."""
    for node in list(graph.nodes):
        if operation(node) in _DROPOUT:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


def arguments_of(node: fx.Node) -> dict[str, Any]:
    """The arguments of a call by the names of the operation's schema, defaults included."""
    target = node.target
    assert isinstance(target, torch._ops.OpOverload)
    found: dict[str, Any] = {}
    for position, argument in enumerate(target._schema.arguments):
        if position < len(node.args):
            found[argument.name] = node.args[position]
        else:
            found[argument.name] = node.kwargs.get(argument.name, argument.default_value)
    return found


def _lift(
    graph: fx.Graph,
    node: fx.Node,
    plain: fx.GraphModule,
    layers: dict[str, nn.Module],
    taken: dict[tuple[Any, ...], str],
) -> None:
    kind = operation(node)
    arguments = arguments_of(node)
    data = arguments.pop(INPUT.get(kind, "input"))
    if arguments.get("training") and arguments.get("running_mean") is not None:
        raise InvalidCheckpoint("the program was exported in training mode; call model.eval() before torch.export")
    # The same call of the same weights is the same layer, called again.
    key = (kind, *(repr(value) for value in arguments.values()))
    if key not in taken:
        module = _made(kind, arguments, data, plain)
        if module is None:
            return
        path = _path(arguments, node)
        taken[key] = path if path not in layers else _own_name(node)
        layers[taken[key]] = module
    with graph.inserting_before(node):
        call = graph.call_module(taken[key], (data,))
    call.meta = dict(node.meta)
    node.replace_all_uses_with(call)
    graph.erase_node(node)


def _made(kind: str, arguments: dict[str, Any], data: fx.Node, plain: fx.GraphModule) -> nn.Module | None:
    values = {}
    for name, value in arguments.items():
        if isinstance(value, fx.Node):
            if value.op != "get_attr":
                return None
            value = _tensor(plain, value.target)
        elif isinstance(value, list | tuple) and any(isinstance(item, fx.Node) for item in value):
            return None
        values[name] = value
    if "weight" in values and values["weight"] is None and kind != "batch_norm" and kind != "layer_norm":
        return None
    values["axes"] = len(data.meta.get(SHAPE, ()))
    return MAKERS[kind](values)


def _path(arguments: Mapping[str, Any], node: fx.Node) -> str:
    """The module that the weight's name speaks of: "encoder.fc" for "encoder.fc.weight"."""
    for key in ("weight", "running_mean", "bias"):
        value = arguments.get(key)
        if isinstance(value, fx.Node):
            path, _, last = str(value.target).rpartition(".")
            return path if last == key and path else _own_name(node)
    return _own_name(node)


def _axes(plain: fx.GraphModule, weight: fx.Node) -> int:
    return int(_tensor(plain, weight.target).dim()) if weight.op == "get_attr" else 0


def _own_name(node: fx.Node) -> str:
    return f"lifted_{node.name}"


def _tensor(root: nn.Module, name: Any) -> Any:
    path, _, last = str(name).rpartition(".")
    return getattr(root.get_submodule(path), last)


def _tell_head_sizes(network: fx.GraphModule) -> None:
    """Tells the module around an attention's projections how wide one head is, which only the reshape behind knows."""
    for node in network.graph.nodes:
        if operation(node) not in _VIEWS or not isinstance(node.args[0], fx.Node) or node.args[0].op != "call_module":
            continue
        path = str(node.args[0].target)
        layer = network.get_submodule(path)
        size = node.args[1][-1]
        if isinstance(layer, nn.Linear) and isinstance(size, int) and 0 < size < layer.out_features:
            parent = network.get_submodule(path.rpartition(".")[0])
            if layer.out_features % size == 0 and len(node.args[1]) == len(node.args[0].meta.get(SHAPE, ())) + 1:
                setattr(parent, "head_dim", size)  # noqa: B010
