"""Batch normalisation over the rows of all processes, so that several of them train as one does.

torch.nn.SyncBatchNorm is for GPUs only; this is the same by two sums, on any device.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from optimizer.train.ranks import Ranks


@contextmanager
def shared(network: nn.Module, ranks: Ranks) -> Iterator[None]:
    """Within it every batch normalisation in training mode takes mean and variance of the whole batch."""
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)] if ranks.size > 1 else []
    for layer in layers:
        layer.forward = _forward_of(layer, ranks, layer.forward)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for layer in layers:
            # The method of its class is in force again.
            del layer.forward


class _Sum(torch.autograd.Function):
    """Adds up over processes, forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        total = tensor.clone()
        ranks.sum(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].contiguous().clone()
        ctx.ranks.sum(total)
        return total, None


def _forward_of(layer: _BatchNorm, ranks: Ranks, plain: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def forward(values: Tensor) -> Tensor:
        if not layer.training:
            return plain(values)
        numbers = values.float()
        axes = [axis for axis in range(values.ndim) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(values.ndim)]
        count = numbers.new_tensor([numbers.numel() / numbers.shape[1]])
        ranks.sum(count)
        mean = _Sum.apply(numbers.sum(axes), ranks) / count  # type: ignore[no-untyped-call]
        centred = numbers - mean.reshape(shape)
        variance = _Sum.apply(centred.square().sum(axes), ranks) / count  # type: ignore[no-untyped-call]
        _remember(layer, mean.detach(), variance.detach(), float(count))
        normal: Tensor = centred * torch.rsqrt(variance + layer.eps).reshape(shape)
        if layer.weight is not None:
            normal = normal * layer.weight.reshape(shape) + layer.bias.reshape(shape)
        return normal.to(values.dtype)

    return forward


def _remember(layer: _BatchNorm, mean: Tensor, variance: Tensor, count: float) -> None:
    if layer.running_mean is None or layer.running_var is None:
        return
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    share = 1 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
    layer.running_mean.lerp_(mean, share)
    layer.running_var.lerp_(variance * (count / max(count - 1, 1)), share)
