"""Cuts an order of rows into batches, and a batch into the parts of several processes."""

import torch
from torch import Tensor

from optimizer.train.ranks import Ranks


def batches(order: Tensor, size: int, least: int = 2) -> list[Tensor]:
    """Batches of `size` rows; a last one of fewer than `least` joins the one before it."""
    cut = list(torch.split(order, size))
    # Batch normalisation has no variance to divide by when a batch is a single row.
    if len(cut) > 1 and len(cut[-1]) < least:
        cut[-2:] = [torch.cat(cut[-2:])]
    return cut


def part(batch: Tensor, ranks: Ranks) -> Tensor:
    """The rows of a batch, or of anything with the rows first, that this process takes."""
    return batch if ranks.size == 1 else batch[ranks.rank :: ranks.size]
