"""Trains a field's source the plain way: AdamW on one cycle, so that the checkpoint is what a user would bring."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

_WEIGHT_DECAY = 0.01


def train(
    network: nn.Module,
    loss: Callable[[Tensor], Tensor],
    rows: int,
    *,
    epochs: float,
    batch: int,
    learning_rate: float,
    seed: int = 0,
) -> None:
    """Trains in place; `loss` is told which rows ([batch] indices) to compute the mean loss of."""
    torch.manual_seed(seed)
    batches = max(1, rows // batch)
    steps = math.ceil(epochs * batches)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    network.train()
    order = torch.randperm(rows)
    for step in range(steps):
        at = step % batches
        if at == 0:
            order = torch.randperm(rows)
        value = loss(order[at * batch : (at + 1) * batch])
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    network.eval()


def parameters_millions(network: nn.Module) -> float:
    """Number of weights, in millions."""
    return sum(weight.numel() for weight in network.parameters()) / 1e6


def save_program(network: nn.Module, example: tuple[Tensor, ...], path: object) -> None:
    """Writes the network as a torch.export program (.pt2) with a free batch."""
    batch = torch.export.Dim("batch", min=1, max=4096)
    shapes = tuple({0: batch} for _ in example)
    torch.export.save(torch.export.export(network.eval(), example, dynamic_shapes=shapes), str(path))
