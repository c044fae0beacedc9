"""Frees the sizes that a recorded graph has baked in: widths, which pruning changes, and a fixed batch."""

from typing import Any

import torch
from torch import fx

from optimizer.intake.lift import operation
from optimizer.intake.pt2_graph import SHAPE

_VIEWS = frozenset({"view", "reshape", "_unsafe_view"})
# Operations that make or stretch a tensor to sizes: the position of the sizes among their arguments.
_SIZED = {
    "view": 1, "reshape": 1, "_unsafe_view": 1, "expand": 1, "repeat": 1, "zeros": 0, "ones": 0, "full": 0,
    "new_zeros": 1, "new_ones": 1, "new_full": 1,
}  # fmt: skip

_Shape = tuple[int | str, ...]


def free_batch(graph: fx.Graph, baked: int) -> None:
    """Lets every size that is the batch `baked` at its place follow the first input's rows instead.

    This is a guess from sizes alone: the caller has to prove it with batches that were not recorded.
    """
    rows = _rows(graph)
    for node in list(graph.nodes):
        kind = operation(node)
        # A batch of 1 cannot be told from the many ones of broadcasting.
        if kind == "arange" and baked > 1 and list(node.args) == [baked]:
            node.args = (rows,)
        elif kind in _SIZED and node.meta.get(SHAPE, ())[:1] == (baked,):
            position = _SIZED[kind]
            sizes = list(node.args[position])
            if sizes and sizes[0] == baked and not (kind == "repeat" and _shape(node.args[0])[:1] == (baked,)):
                sizes[0] = rows
                node.args = (*node.args[:position], sizes, *node.args[position + 1 :])


def free_widths(graph: fx.Graph, baked: int | None) -> None:
    """Writes -1 for the one width in each reshape that pruning may change."""
    rows: fx.Node | None = None
    for node in list(graph.nodes):
        if operation(node) not in _VIEWS or not isinstance(node.args[0], fx.Node):
            continue
        # A view fails where training has laid memory out otherwise than it was when recorded.
        node.target = torch.ops.aten.reshape.default
        sizes, before, after = list(node.args[1]), _shape(node.args[0]), _shape(node)
        if len(sizes) != len(after) or len(sizes) < 2 or not before:
            continue
        if sizes[0] == -1 and before[0] == after[0] and (isinstance(after[0], str) or after[0] == baked):
            rows = rows or _rows(graph)
            sizes[0] = rows
        position = _width(before, after)
        if position is None or -1 in sizes or not isinstance(sizes[position], int):
            continue
        sizes[position] = -1
        node.args = (node.args[0], sizes)


def _width(before: _Shape, after: _Shape) -> int | None:
    """Which axis of the answer takes what is left.

    Merged axes are one width. A width that is split is split into heads and their size, of which the heads go; channels
    of pictures are split into groups and their channels, of which the channels go.
    """
    first = next((at for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), None)
    if first is None:
        return len(after) - 1 if len(before) == len(after) else None
    if first == 0:
        return None
    if len(after) <= len(before):
        return first
    return first if first == len(before) - 1 else first + 1


def _rows(graph: fx.Graph) -> fx.Node:
    """A node that has the first input's number of rows, behind the inputs."""
    inputs: list[fx.Node] = [node for node in graph.nodes if node.op == "placeholder"]
    known: list[fx.Node] = [
        node for node in graph.nodes if operation(node) == "sym_size" and tuple(node.args) == (inputs[0], 0)
    ]
    if known:
        # It may stand behind its first new user.
        inputs[-1].append(known[0])
        return known[0]
    with graph.inserting_after(inputs[-1]):
        made: fx.Node = graph.call_function(torch.ops.aten.sym_size.int, (inputs[0], 0))
    return made


def _shape(node: Any) -> _Shape:
    return tuple(node.meta.get(SHAPE, ())) if isinstance(node, fx.Node) else ()
