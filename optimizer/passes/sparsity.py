"""Masks of single weights: which stay, how sparse a network is, and how zeros are held while it learns."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from optimizer.artifact.manifest import Table
from optimizer.passes.weight_layers import WeightLayer, outputs_first, weight_layers
from optimizer.train.hooks import Hook

# Share of zeros from which a layer counts as pruned: no training leaves so many by chance.
_PRUNED = 0.01

Layers = Mapping[str, WeightLayer]


def prune_to(layers: Layers, sparsity: float, scope: str) -> None:
    """Sets the smallest weights to zero, so that this share is: of all layers together ("global"), or of each."""
    for together in [layers] if scope == "global" else [{name: layer} for name, layer in layers.items()]:
        magnitudes = torch.cat([layer.weight.detach().abs().flatten() for layer in together.values()])
        smallest = round(sparsity * len(magnitudes))
        if smallest:
            prune_below(together, float(magnitudes.kthvalue(smallest).values))


def prune_below(layers: Layers, threshold: float) -> None:
    """Keeps abs(w) > threshold. (Torch's own pruning cannot: it wants weights that lie contiguously.)"""
    with torch.no_grad():
        for layer in layers.values():
            layer.weight.mul_(layer.weight.abs() > threshold)


def prune_n_of_m(layers: Layers, n: int, m: int) -> None:
    """Keeps the n largest of every m neighbouring inputs; every layer's inputs must be a multiple of m."""
    with torch.no_grad():
        for layer in layers.values():
            weight = outputs_first(layer, layer.weight)
            groups = weight.abs().movedim(1, -1).unflatten(-1, (-1, m))
            least = groups.argsort(dim=-1, stable=True)[..., : m - n]
            kept = torch.ones_like(groups).scatter(-1, least, 0.0)
            weight.mul_(kept.flatten(-2).movedim(-1, 1))


def sparsity_of(layers: Layers) -> float:
    """Share of the layers' weights that is zero."""
    zeros = sum(int((layer.weight == 0).sum()) for layer in layers.values())
    return zeros / max(1, sum(layer.weight.numel() for layer in layers.values()))


def table_of(layers: Layers) -> Table:
    """Sparsity reached, layer by layer."""
    return Table(
        kind="sparsity",
        title="Zeros by layer",
        columns=("layer", "weights", "zeros", "sparsity"),
        rows=tuple(
            (name, layer.weight.numel(), int((layer.weight == 0).sum()), round(sparsity_of({name: layer}), 4))
            for name, layer in layers.items()
        ),
    )


class ZerosHeld(Hook):
    """Keeps weights at zero that are zero now, update after update; only of layers that were pruned."""

    def __init__(self, network: nn.Module) -> None:
        self._masks: list[tuple[Tensor, Tensor]] = [
            (layer.weight, layer.weight.detach() != 0)
            for layer in weight_layers(network).values()
            if float((layer.weight == 0).float().mean()) >= _PRUNED
        ]

    def __bool__(self) -> bool:
        """Whether there is anything to hold."""
        return bool(self._masks)

    def after_update(self, step: int, steps: int) -> None:
        """Undoes what the update did to them."""
        with torch.no_grad():
            for weight, mask in self._masks:
                weight.mul_(mask.to(weight.device))
