"""Sums over processes through memory that they share, for sandboxes that refuse the sockets of torch.distributed."""

from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import Tensor

_SLOT_BYTES = 2**22
_READY, _DONE = b"r", b"d"


class SharedMemory:
    """Processes of one host: a file that all map, and a pipe from each to the first."""

    def __init__(self, rank: int, size: int, file: Path, pipes: Sequence[Connection]) -> None:
        """`pipes` are the first's to all others in turn, or another's one to the first. The file is made by any."""
        self.rank, self.size = rank, size
        self._pipes = pipes
        # One slot for each to give, and a last one to take from, which is written when all have read what was there.
        slots = size + 1
        memory = torch.from_file(str(file), shared=True, size=slots * _SLOT_BYTES, dtype=torch.uint8)
        self._slots = memory.reshape(slots, _SLOT_BYTES)

    def sum(self, tensor: Tensor) -> None:
        """Adds up slot by slot, always in the same order. Raises EOFError or OSError when a process is gone."""
        for piece in tensor.view(-1).split(_SLOT_BYTES // tensor.element_size()):
            self._sum(piece)

    def _sum(self, piece: Tensor) -> None:
        self._slot(self.rank, piece).copy_(piece)
        total = self._slot(self.size, piece)
        if self.rank == 0:
            for pipe in self._pipes:
                pipe.recv_bytes()
            total.copy_(torch.stack([self._slot(rank, piece) for rank in range(self.size)]).sum(dim=0))
            for pipe in self._pipes:
                pipe.send_bytes(_DONE)
        else:
            (pipe,) = self._pipes
            pipe.send_bytes(_READY)
            pipe.recv_bytes()
        piece.copy_(total)

    def _slot(self, number: int, like: Tensor) -> Tensor:
        return self._slots[number, : like.numel() * like.element_size()].view(like.dtype)
