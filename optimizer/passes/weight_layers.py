"""The layers that hold the bulk of a network's weights, and those weights as matrices."""

from collections import Counter

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

# A layer whose `weight` is one matrix, or one kernel an output channel.
WeightLayer = nn.Linear | nn.Conv1d | nn.Conv2d | Conv1D


def weight_layers(network: nn.Module) -> dict[str, WeightLayer]:
    """Linear layers and convolutions by name, each once.

    Layers whose weight another module uses too (a language model's head, tied to its embedding) are left out, and so
    are those that attention of torch itself reads as tensors.
    """
    owners = Counter(
        id(weight)
        for module in network.modules()
        for weight in module.parameters(recurse=False)
    )  # fmt: skip
    read = {
        child
        for module in network.modules()
        if isinstance(module, nn.MultiheadAttention)
        for child in module.modules()
    }  # fmt: skip
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | Conv1D)
        and module not in read
        and owners[id(module.weight)] == 1
        # A weight that another parametrises (weight normalisation) is computed anew at every call.
        and "weight" in module._parameters
    }


def outputs_first(layer: WeightLayer, weight: Tensor) -> Tensor:
    """A tensor of the weight's shape as [outputs, inputs (and kernel)]; a view."""
    return weight.t() if isinstance(layer, Conv1D) else weight
