"""Heads and feed-forward columns of GPT-2's blocks, whose layers no dependency graph knows (transformers' `Conv1D`).

A block is known by its form, not by its name: `c_attn` writes queries, keys and values side by side, `c_proj` reads the
heads; or `c_fc` writes columns that `c_proj` reads.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from optimizer.passes.structure import Judge, Kind, Structure, resize_attention

# Queries, keys and values.
_PARTS = 3
# How the attention knows where one run ends.
_RUN = "split_size"


@dataclass(eq=False)
class FusedStructure(Structure):
    """`parts` equal runs of columns of `writer`, each made of units of `unit` columns; `reader` reads one run."""

    name: str
    kind: Kind
    writer: Conv1D
    reader: Conv1D
    unit: int
    parts: int
    attention: nn.Module | None = None

    @property
    def units(self) -> int:
        """See `Structure`."""
        return int(self.reader.nx) // self.unit

    @property
    def together(self) -> int:
        """See `Structure`."""
        return self.unit

    @property
    def weights(self) -> float:
        """See `Structure`."""
        both = self.writer.weight.numel() + self.writer.bias.numel() + self.reader.weight.numel()
        return both / self.units

    def scores(self, judge: Judge) -> Tensor:
        """See `Structure`: squares of the weights, or of weight times gradient."""
        written = _worth(self.writer.weight, judge).sum(0) + _worth(self.writer.bias, judge)
        read = _worth(self.reader.weight, judge).sum(1)
        return written.reshape(self.parts, self.units, self.unit).sum((0, 2)) + read.reshape(-1, self.unit).sum(1)

    def readers(self, units: Sequence[int]) -> Mapping[nn.Module, list[int]]:
        """See `Structure`."""
        return {self.reader: self._columns(units)}

    def cut(self, units: Sequence[int]) -> None:
        """See `Structure`."""
        width = int(self.reader.nx)
        gone = set(self._columns(units))
        kept = torch.tensor([column for column in range(width) if column not in gone])
        written = torch.cat([kept + part * width for part in range(self.parts)])
        self.writer.weight = nn.Parameter(self.writer.weight.detach()[:, written].clone())
        self.writer.bias = nn.Parameter(self.writer.bias.detach()[written].clone())
        self.reader.weight = nn.Parameter(self.reader.weight.detach()[kept].clone())
        self.writer.nf, self.reader.nx = len(written), len(kept)
        if self.attention is not None:
            setattr(self.attention, _RUN, len(kept))
            resize_attention(self.attention, len(kept), self.unit)

    def _columns(self, units: Sequence[int]) -> list[int]:
        return [unit * self.unit + offset for unit in units for offset in range(self.unit)]


def fused_structures(network: nn.Module) -> Iterator[Structure]:
    """All blocks of this form in the network."""
    for name, module in network.named_modules():
        reader = getattr(module, "c_proj", None)
        if not isinstance(reader, Conv1D):
            continue
        attention, first = getattr(module, "c_attn", None), getattr(module, "c_fc", None)
        size = getattr(module, "head_dim", 0)
        if isinstance(attention, Conv1D) and size and attention.nf == _PARTS * reader.nx and reader.nx % size == 0:
            yield FusedStructure(f"{name}.c_attn", "heads", attention, reader, size, _PARTS, module)
        elif isinstance(first, Conv1D) and first.nf == reader.nx:
            yield FusedStructure(f"{name}.c_fc", "feed-forward columns", first, reader, 1, 1)


def _worth(weight: Tensor, judge: Judge) -> Tensor:
    if judge == "taylor" and weight.grad is not None:
        return (weight.detach() * weight.grad) ** 2
    return weight.detach() ** 2
