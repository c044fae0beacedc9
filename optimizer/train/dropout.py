"""Dropout with another probability than the network was made with."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.dropout import _DropoutNd


@contextmanager
def overridden(network: nn.Module, probability: float | None) -> Iterator[None]:
    """All dropout layers use `probability` within; None leaves them as they are."""
    layers = [module for module in network.modules() if isinstance(module, _DropoutNd)]
    before = [layer.p for layer in layers]
    if probability is not None:
        for layer in layers:
            layer.p = probability
    try:
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            layer.p = own
