"""Where tensors lie while training: on which device, and in which order in memory."""

import torch
from torch import Tensor, nn


def memory_format(predictor: nn.Module) -> torch.memory_format:
    """Convolutional networks train faster on a CPU with the channels last; the rest has no use for it."""
    convolutions = sum(isinstance(module, nn.Conv2d) for module in predictor.modules())
    linears = sum(isinstance(module, nn.Linear) for module in predictor.modules())
    return torch.channels_last if convolutions > linears else torch.contiguous_format


def place(module: nn.Module, device: str, memory: torch.memory_format) -> None:
    """Moves a module, in place."""
    module.to(device)
    module.to(memory_format=memory)  # type: ignore[call-overload]


def placed(tensors: tuple[Tensor, ...], device: str, memory: torch.memory_format) -> tuple[Tensor, ...]:
    """The tensors on the device; pictures in the given order."""
    return tuple(
        tensor.to(device=device, memory_format=memory if tensor.ndim == 4 else torch.preserve_format)
        for tensor in tensors
    )
