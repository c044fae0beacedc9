"""Stacks the rows of several requests into buffers that are used again and again."""

from collections.abc import Sequence

import numpy as np

from service.types import Array, InferRequest

# Shapes whose buffers are kept: text of a few padded lengths, say.
_KEPT_SHAPES = 4


class Stacker:
    """For one thread. What `stack` returns is overwritten by the next call."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._buffers: dict[tuple[tuple[int, ...], ...], list[Array]] = {}

    def stack(self, requests: Sequence[InferRequest]) -> Sequence[Array]:
        """The inputs of all requests (of equal shapes) along the batch axis, in order."""
        if len(requests) == 1:
            return requests[0].arrays
        rows = sum(request.rows for request in requests)
        buffers = self._buffers_for(requests[0])
        stacked: list[Array] = []
        for position, buffer in enumerate(buffers):
            target = buffer[:rows]
            np.concatenate([request.arrays[position] for request in requests], out=target)
            stacked.append(target)
        return stacked

    def _buffers_for(self, request: InferRequest) -> list[Array]:
        buffers = self._buffers.pop(request.shapes, None)
        if buffers is None:
            buffers = [
                np.empty((self._max_rows, *shape), array.dtype)
                for shape, array in zip(request.shapes, request.arrays, strict=True)
            ]
            if len(self._buffers) >= _KEPT_SHAPES:
                self._buffers.pop(next(iter(self._buffers)))
        self._buffers[request.shapes] = buffers  # The last in order is the last used.
        return buffers
