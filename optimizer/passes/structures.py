"""Finds what can be cut out of a network: channels, attention heads, feed-forward columns.

They are found in the dependency graph, not by name. In a transformer, columns between two linear layers that nothing
else reads are a feed-forward width; three linear layers of one module that are cut together are the query, key and
value of an attention block, cut head by head; the residual stream keeps its width. In other networks all channels and
columns are cut, those of residual streams included.
"""

from collections.abc import Iterator

import torch_pruning
from torch import Tensor, nn

from optimizer.errors import UnsupportedModel
from optimizer.intake.predictor import Predictor
from optimizer.passes.fused_structures import fused_structures
from optimizer.passes.structure import GraphStructure, Structure
from optimizer.recipe.prune import PruneStructured

# Attributes by which attention modules of the transformers library know their shape.
_HEAD_SIZE = ("attention_head_size", "head_dim", "head_size", "dim_per_head")
_HEADS = ("num_attention_heads", "num_heads", "n_heads")


def structures_of(
    config: PruneStructured, predictor: Predictor, example: tuple[Tensor, ...], kept: list[nn.Module]
) -> list[Structure]:
    """What `config` wants cut, found anew in the network as it is; `kept` are layers whose outputs stay.

    All are found before any is cut: cutting changes the widths that tell them apart.
    """
    fused = list(fused_structures(predictor))
    if fused:
        # The graph knows none of the layers between such blocks.
        found: list[Structure] = fused
    else:
        graph = torch_pruning.DependencyGraph().build_dependency(predictor, example_inputs=example)
        if has_channels(predictor):
            return list(_channels(graph, predictor, kept))
        found = list(_parts_of_transformer(graph, predictor, kept))
    return [one for one in found if (config.heads if one.kind == "heads" else config.ffn)]


def has_channels(network: nn.Module) -> bool:
    """Whether all widths may be cut: convolutions with batch normalisation, or nothing that normalises a stream."""
    modules = list(network.modules())
    return any(isinstance(module, nn.BatchNorm2d) for module in modules) or not any(
        isinstance(module, nn.LayerNorm | nn.RMSNorm) or type(module).__name__.endswith("RMSNorm") for module in modules
    )


def score_layers(predictor: Predictor, width: int, *, body_too: bool = False) -> list[nn.Module]:
    """The layers whose outputs may be the answers: as wide as those, and outside the network's body if it has one.

    With `body_too` the body counts as well: an embedding is what it answers.
    """
    network = predictor.network
    body = getattr(network, str(getattr(network, "base_model_prefix", "") or "-"), None)
    inside = set(body.modules()) if isinstance(body, nn.Module) and not body_too else set()
    return [
        module
        for module in network.modules()
        if module not in inside
        and isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)
        and (module.out_features if isinstance(module, nn.Linear) else module.out_channels) == width
    ]


def _channels(
    graph: torch_pruning.DependencyGraph, predictor: Predictor, kept: list[nn.Module]
) -> Iterator[GraphStructure]:
    names = {module: name for name, module in predictor.named_modules()}
    for group in graph.get_all_groups(ignored_layers=kept, root_module_types=[nn.Conv2d, nn.Conv1d, nn.Linear]):
        layer = group[0].dep.target.module
        parts = max((_parts(dependency.target.module) for dependency, _ in group), default=1)
        if graph.get_out_channels(layer) % parts == 0:
            yield GraphStructure(graph, names[layer], layer, "channels", frozenset(names), groups=parts)


def _parts(module: object) -> int:
    """In how many equal parts a module divides its channels."""
    if isinstance(module, nn.GroupNorm):
        return module.num_groups
    if isinstance(module, nn.Conv1d | nn.Conv2d) and module.groups not in (1, module.out_channels):
        return module.groups
    return 1


def _parts_of_transformer(
    graph: torch_pruning.DependencyGraph, predictor: Predictor, kept: list[nn.Module]
) -> Iterator[GraphStructure]:
    modules = dict(predictor.named_modules())
    names = {module: name for name, module in modules.items()}
    seen: set[nn.Module] = set()
    for name, layer in modules.items():
        if not isinstance(layer, nn.Linear) or layer in seen or layer in kept or layer not in graph.module2node:
            continue
        written, read = _members(graph, layer, names)
        if not read or read & set(kept) or not all(isinstance(module, nn.Linear) for module in written | read):
            continue
        if any(reader.in_features < layer.out_features for reader in read if isinstance(reader, nn.Linear)):
            # Query, key and value in one matrix: its columns are not those that the reader sees.
            continue
        parents = {names[module].rpartition(".")[0] for module in written}
        seen |= written
        if len(written) == 1:
            yield GraphStructure(graph, name, layer, "feed-forward columns", frozenset(names))
        elif len(written) == 3 and len(parents) == 1:
            attention = modules[parents.pop()]
            unit = _head_size(attention, layer, name)
            yield GraphStructure(graph, name, layer, "heads", frozenset(names), unit=unit, attention=attention)


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
