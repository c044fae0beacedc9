"""Writes the core operations of a decomposed program as the whole ones that they came from.

`ExportedProgram.run_decompositions()` takes layers' functions apart: a convolution for every kind, products with a
transposed weight, normalisations that also answer their statistics.
"""

import operator
from typing import Any

import torch
from torch import fx

_CONVOLUTIONS = {
    3: torch.ops.aten.conv1d.default,
    4: torch.ops.aten.conv2d.default,
    5: torch.ops.aten.conv3d.default,
}
_NORMALISATIONS = ("_native_batch_norm_legit_no_training", "native_layer_norm")
_TRANSPOSES = ("t", "permute", "transpose")


def compose(graph: fx.Graph, operation: Any, weight_axes: Any) -> None:
    """Rewrites `graph` in place. `operation` names what a node calls; `weight_axes` counts the axes of a weight."""
    for node in list(graph.nodes):
        kind = operation(node)
        if kind == "convolution" and node.args[6] is False and weight_axes(node.args[1]) in _CONVOLUTIONS:
            data, weight, bias, stride, padding, dilation, _, _, groups = node.args
            call = _CONVOLUTIONS[weight_axes(weight)]
            _replace(graph, node, node, call, (data, weight, bias, stride, padding, dilation, groups))
        elif kind in _NORMALISATIONS:
            _normalisation(graph, node, kind)
        elif kind == "addmm" and not node.kwargs and (weight := _transposed(node.args[2], operation)) is not None:
            _replace(graph, node, node, torch.ops.aten.linear.default, (node.args[1], weight, node.args[0]))
        elif kind == "mm" and (weight := _transposed(node.args[1], operation)) is not None:
            _replace(graph, node, node, torch.ops.aten.linear.default, (node.args[0], weight))


def _normalisation(graph: fx.Graph, node: fx.Node, kind: str) -> None:
    answers = list(node.users)
    if not all(user.target is operator.getitem and user.args[1] == 0 for user in answers if user.users):
        return
    if kind == "native_layer_norm":
        call: Any = torch.ops.aten.layer_norm.default
        arguments: tuple[Any, ...] = tuple(node.args)
    else:
        data, weight, bias, mean, variance, momentum, eps = node.args
        call = torch.ops.aten.batch_norm.default
        arguments = (data, weight, bias, mean, variance, False, momentum, eps, False)
    for user in answers:
        if user.users:
            _replace(graph, user, node, call, arguments)


def _replace(graph: fx.Graph, old: fx.Node, place: fx.Node, call: Any, arguments: tuple[Any, ...]) -> None:
    with graph.inserting_before(place):
        new = graph.call_function(call, arguments)
    new.meta = dict(old.meta)
    old.replace_all_uses_with(new)
    graph.erase_node(old)


def _transposed(node: Any, operation: Any) -> fx.Node | None:
    """The weight [out, in] whose transpose `node` is."""
    if not isinstance(node, fx.Node) or operation(node) not in _TRANSPOSES:
        return None
    weight, *axes = node.args
    plain = operation(node) == "t" or axes in ([[1, 0]], [0, 1], [1, 0])
    return weight if plain and isinstance(weight, fx.Node) and weight.op == "get_attr" else None
