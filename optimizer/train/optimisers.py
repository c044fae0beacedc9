"""Which parameters learn how fast, which of them shrink, and by which optimiser."""

import re
from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn

from optimizer.train.settings import Settings

# How transformers name their stacked layers: "encoder.layer.3.", "h.3.", "blocks.3.".
_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")
_EMBEDDING = re.compile(r"(?:^|\.)\w*embed\w*\.")


def optimiser_of(predictor: nn.Module, companions: nn.Module | None, settings: Settings) -> torch.optim.Optimizer:
    """An optimiser of all parameters that may learn; each group's "scale" is its share of the learning rate."""
    groups = _groups(predictor, companions, settings)
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum)
    if settings.optimiser == "adam":
        return torch.optim.Adam(groups, lr=settings.learning_rate)
    return torch.optim.AdamW(groups, lr=settings.learning_rate)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Gives every group its share of the learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["scale"]


def penalty(parameters: Iterable[Tensor], l1: float, l2: float) -> Tensor | None:
    """l1 * sum |w| + l2 * sum w^2 over matrices and kernels (Zou and Hastie, 2005); None when both are 0."""
    if not l1 and not l2:
        return None
    weights = [weight for weight in parameters if weight.ndim >= 2 and weight.requires_grad]
    terms = [l1 * weight.abs().sum() + l2 * weight.square().sum() for weight in weights]
    return torch.stack(terms).sum() if terms else None


def _groups(predictor: nn.Module, companions: nn.Module | None, settings: Settings) -> list[dict[str, object]]:
    """Matrices and kernels decay; biases and normalisations do not. Lower layers learn slower where that is asked."""
    named = list(chain(predictor.named_parameters(), () if companions is None else companions.named_parameters()))
    depths = [int(found[1]) for name, _ in named if (found := _LAYER.search(name))]
    top = max(depths, default=-1) + 1
    groups: dict[tuple[bool, float], list[Tensor]] = {(True, 1.0): [], (False, 1.0): []}
    for name, parameter in named:
        if parameter.requires_grad:
            scale = settings.layer_decay ** (top - _depth(name, top))
            groups.setdefault((parameter.ndim >= 2, scale), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": settings.weight_decay if decays else 0.0, "scale": scale}
        for (decays, scale), parameters in groups.items()
    ]


def _depth(name: str, top: int) -> int:
    """Number of a parameter's layer: -1 for embeddings, `top` for the head and whatever is not one of many layers."""
    if found := _LAYER.search(name):
        return int(found[1])
    return -1 if _EMBEDDING.search(name) and top else top
