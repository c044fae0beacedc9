"""Several processes that train one network together: each takes its rows of every batch, and gradients are added up."""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.distributed
from torch import Tensor, nn


class Ranks(Protocol):
    """The processes as one of them sees them."""

    # 0 for the one that scores, saves and tells.
    rank: int
    size: int

    def sum(self, tensor: Tensor) -> None:
        """Replaces the tensor by the sum of all processes' tensors, on each of them. All must call it in turn."""


class Alone:
    """One process."""

    rank, size = 0, 1

    def sum(self, tensor: Tensor) -> None:
        """The sum of one."""


class Distributed:
    """The processes of torch.distributed's present group."""

    def __init__(self) -> None:
        self.rank = torch.distributed.get_rank()
        self.size = torch.distributed.get_world_size()

    def sum(self, tensor: Tensor) -> None:
        """An all-reduce; nccl knows of tensors on GPUs only."""
        if tensor.is_cuda or torch.distributed.get_backend() != "nccl":
            torch.distributed.all_reduce(tensor)
            return
        moved = tensor.cuda()
        torch.distributed.all_reduce(moved)
        tensor.copy_(moved)


def told(ranks: Ranks, values: Sequence[float]) -> list[float]:
    """What the first process says, on all of them."""
    tensor = torch.tensor(values if ranks.rank == 0 else [0.0] * len(values), dtype=torch.float64)
    ranks.sum(tensor)
    return [float(value) for value in tensor]


def add_up(ranks: Ranks, parameters: Sequence[nn.Parameter], loss: float) -> float:
    """Adds up gradients, in place, and losses, in one message.

    A parameter that no process needed for its rows keeps no gradient, as in one process.
    """
    if ranks.size == 1:
        return loss
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    flat = [
        (torch.zeros_like(parameter) if parameter.grad is None else parameter.grad).reshape(-1).float()
        for parameter in learning
    ]
    like = flat[0]
    needed = torch.tensor([float(parameter.grad is not None) for parameter in learning], device=like.device)
    message = torch.cat([*flat, needed, torch.tensor([loss], device=like.device)])
    ranks.sum(message)
    sums = message.split([part.numel() for part in flat] + [len(needed), 1])
    for parameter, part, count in zip(learning, sums, sums[-2].tolist(), strict=False):
        parameter.grad = part.reshape(parameter.shape).to(parameter.dtype) if count else None
    return float(sums[-1])


def agree(ranks: Ranks, step: int) -> bool:
    """Whether all processes are at the same update."""
    tensor = torch.tensor([float(step), float(step) ** 2], dtype=torch.float64)
    ranks.sum(tensor)
    mean, square = (float(value) / ranks.size for value in tensor)
    return math.isclose(square, mean**2) and math.isclose(mean, step)
