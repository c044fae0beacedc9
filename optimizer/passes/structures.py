"""Cuts whole attention heads and feed-forward columns out of a transformer.

Both are found in the dependency graph, not by name. Columns between two linear layers that nothing else reads are a
feed-forward width. Three linear layers of one module that are cut together are the query, key and value of an attention
block; their columns are cut head by head.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch_pruning
from torch import Tensor, nn

from optimizer.errors import UnsupportedModel
from optimizer.intake.predictor import Predictor
from optimizer.recipe.prune import PruneStructured

# Attributes by which attention modules of the transformers library know their shape.
_HEAD_SIZE = ("attention_head_size", "head_dim", "head_size", "dim_per_head")
_HEADS = ("num_attention_heads", "num_heads", "n_heads")
_ALL_HEADS_SIZE = ("all_head_size",)


@dataclass(frozen=True)
class _Structure:
    """Columns that are cut together: `unit` neighbouring columns at a time."""

    name: str
    layer: nn.Linear
    # The attention module, or None for a feed-forward width.
    attention: nn.Module | None
    unit: int

    @property
    def units(self) -> int:
        return self.layer.out_features // self.unit


def score_layers(predictor: Predictor, classes: int) -> list[nn.Module]:
    """The layers whose outputs may be the scores: as wide as there are classes, and outside the network's body."""
    network = predictor.network
    body = getattr(network, str(getattr(network, "base_model_prefix", "")), None)
    inside = set(body.modules()) if isinstance(body, nn.Module) else set()
    return [
        module
        for module in network.modules()
        if module not in inside
        and isinstance(module, nn.Linear | nn.Conv2d)
        and (module.out_features if isinstance(module, nn.Linear) else module.out_channels) == classes
    ]


def cut_structures(
    config: PruneStructured,
    predictor: Predictor,
    example: tuple[Tensor, ...],
    importance: torch_pruning.importance.Importance,
    classes: int,
) -> str:
    """Cuts heads and columns as `config` says; returns what was cut, for a reader."""
    graph = torch_pruning.DependencyGraph().build_dependency(predictor, example_inputs=example)
    cut = {"heads": [0, 0], "feed-forward columns": [0, 0]}
    # All structures are found first: cutting changes the widths that tell them apart.
    for structure in list(_structures(graph, predictor, score_layers(predictor, classes))):
        what = "feed-forward columns" if structure.attention is None else "heads"
        if not (config.ffn if structure.attention is None else config.heads):
            continue
        cut[what][1] += structure.units
        count = structure.units - _kept(structure, config)
        if count > 0:
            _cut(graph, structure, importance, count)
            cut[what][0] += count
    return ", ".join(f"{removed} of {total} {what} removed" for what, (removed, total) in cut.items())


def _structures(
    graph: torch_pruning.DependencyGraph, predictor: Predictor, scores: list[nn.Module]
) -> Iterator[_Structure]:
    modules = dict(predictor.named_modules())
    names = {module: name for name, module in modules.items()}
    seen: set[nn.Module] = set()
    for name, layer in modules.items():
        if not isinstance(layer, nn.Linear) or layer in seen or layer in scores:
            continue
        written, read = _members(graph, layer, names)
        if not read or read & set(scores) or not all(isinstance(module, nn.Linear) for module in written | read):
            continue
        if any(reader.in_features < layer.out_features for reader in read if isinstance(reader, nn.Linear)):
            # Query, key and value in one matrix: its columns are not those that the reader sees.
            continue
        parents = {names[module].rpartition(".")[0] for module in written}
        seen |= written
        if len(written) == 1:
            yield _Structure(name, layer, None, 1)
        elif len(written) == 3 and len(parents) == 1:
            attention = modules[parents.pop()]
            yield _Structure(name, layer, attention, _head_size(attention, layer, name))


def _members(
    graph: torch_pruning.DependencyGraph, layer: nn.Linear, names: dict[nn.Module, str]
) -> tuple[set[nn.Module], set[nn.Module]]:
    """The layers whose outputs, and those whose inputs, are cut when outputs of `layer` are."""
    group = graph.get_pruning_group(layer, torch_pruning.prune_linear_out_channels, idxs=[0])
    written: set[nn.Module] = set()
    read: set[nn.Module] = set()
    for dependency, _ in group:
        module = dependency.target.module
        # The graph has nodes of its own for reshapes and sums.
        if module not in names:
            continue
        (written if graph.is_out_channel_pruning_fn(dependency.handler) else read).add(module)
    # Normalisations and lookups of the residual stream have one width; they count as written.
    return written, read


def _kept(structure: _Structure, config: PruneStructured) -> int:
    """Units that stay: at least one head, and columns in multiples of `round_to`."""
    target = structure.units * (1 - config.ratio)
    if structure.attention is not None:
        return max(1, round(target))
    return min(structure.units, max(config.round_to, config.round_to * round(target / config.round_to)))


def _cut(
    graph: torch_pruning.DependencyGraph,
    structure: _Structure,
    importance: torch_pruning.importance.Importance,
    count: int,
) -> None:
    everything = list(range(structure.layer.out_features))
    group = graph.get_pruning_group(structure.layer, torch_pruning.prune_linear_out_channels, idxs=everything)
    scores: Tensor = importance(group)
    units = scores.reshape(-1, structure.unit).sum(dim=1)
    least = torch.argsort(units, stable=True)[:count].tolist()
    columns = [unit * structure.unit + offset for unit in least for offset in range(structure.unit)]
    graph.get_pruning_group(structure.layer, torch_pruning.prune_linear_out_channels, idxs=sorted(columns)).prune()
    if structure.attention is not None:
        _resize(structure.attention, structure.layer.out_features, structure.unit)


def _head_size(attention: nn.Module, layer: nn.Linear, name: str) -> int:
    for key in _HEAD_SIZE:
        size = getattr(attention, key, None)
        if isinstance(size, int) and size > 0 and layer.out_features % size == 0:
            return size
    for key in _HEADS:
        heads = getattr(attention, key, None)
        if isinstance(heads, int) and heads > 0 and layer.out_features % heads == 0:
            return layer.out_features // heads
    raise UnsupportedModel(f"pruning cannot tell the size of the attention heads in {name!r}")


def _resize(attention: nn.Module, width: int, head_size: int) -> None:
    for key in _HEADS:
        if isinstance(getattr(attention, key, None), int):
            setattr(attention, key, width // head_size)
    for key in _ALL_HEADS_SIZE:
        if isinstance(getattr(attention, key, None), int):
            setattr(attention, key, width)
