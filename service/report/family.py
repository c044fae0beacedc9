"""The family of a model's variants as a tree: steps that two variants share are one node. Pure.

Steps are known by their cache keys in the manifests; equal keys are equal work.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_COLUMN_PX, _ROW_PX = 172, 46
BOX_WIDTH_PX, BOX_HEIGHT_PX = 148, 34
_MARGIN_PX = 8
_LONGEST = 20


@dataclass(frozen=True)
class Box:
    """A node: a checkpoint, a step or a variant, and where it stands in pixels (its left upper corner)."""

    label: str
    # "checkpoint", "step", or the variant's kind ("accepted").
    kind: str
    # Told when pointed at.
    title: str
    x: float
    y: float


@dataclass(frozen=True)
class Line:
    """From the right edge of one box to the left edge of another."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class Tree:
    """All boxes and lines, and the size of the picture in pixels."""

    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    width: float
    height: float


@dataclass
class _Node:
    label: str
    kind: str
    title: str
    depth: int
    children: "dict[str, _Node]"
    row: float = 0.0


def family(variants: Sequence[tuple[str, str, str]], manifests: Mapping[str, Mapping[str, Any]]) -> Tree | None:
    """The tree of `variants`, given as (name, checkpoint, kind); None when no manifest says how one was made."""
    roots: dict[str, _Node] = {}
    for name, checkpoint, kind in variants:
        lineage = manifests.get(name, {}).get("lineage")
        if not lineage:
            continue
        node = roots.setdefault(checkpoint, _Node(checkpoint, "checkpoint", "the checkpoint as it was pushed", 0, {}))
        for step in lineage.get("steps") or ():
            key = str(step.get("cache_key") or step.get("name"))
            node = node.children.setdefault(
                key, _Node(str(step.get("name", "")), "step", _config(step), node.depth + 1, {})
            )
        node.children[f"variant {name}"] = _Node(name, kind, kind, node.depth + 1, {})
    if not roots:
        return None
    rows = 0.0
    for root in roots.values():
        rows = _place(root, rows)
    nodes = [(node, parent) for root in roots.values() for node, parent in _walk(root, None)]
    return Tree(
        boxes=tuple(Box(_short(node.label), node.kind, node.title, _x(node), _y(node)) for node, _ in nodes),
        lines=tuple(
            Line(_x(parent) + BOX_WIDTH_PX, _y(parent) + BOX_HEIGHT_PX / 2, _x(node), _y(node) + BOX_HEIGHT_PX / 2)
            for node, parent in nodes
            if parent is not None
        ),
        width=max(_x(node) for node, _ in nodes) + BOX_WIDTH_PX + _MARGIN_PX,
        height=rows * _ROW_PX + 2 * _MARGIN_PX,
    )


def _place(node: _Node, free: float) -> float:
    """Gives the node and all below it their rows, from row `free` on; returns the next free row."""
    if not node.children:
        node.row = free
        return free + 1
    for child in node.children.values():
        free = _place(child, free)
    rows = [child.row for child in node.children.values()]
    node.row = (rows[0] + rows[-1]) / 2
    return free


def _walk(node: _Node, parent: _Node | None) -> Iterator[tuple[_Node, _Node | None]]:
    yield node, parent
    for child in node.children.values():
        yield from _walk(child, node)


def _x(node: _Node) -> float:
    return _MARGIN_PX + node.depth * _COLUMN_PX


def _y(node: _Node) -> float:
    return _MARGIN_PX + node.row * _ROW_PX + (_ROW_PX - BOX_HEIGHT_PX) / 2


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"


def _config(step: Mapping[str, Any]) -> str:
    config = {key: value for key, value in (step.get("config") or {}).items() if key != "use" and value is not None}
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in config.items())[:300]
