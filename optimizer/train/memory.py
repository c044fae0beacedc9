"""What is said when memory runs out."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from optimizer.errors import PassFailed


@contextmanager
def told_when_short(batch_size: int) -> Iterator[None]:
    """Turns running out of memory, for which torch has no error of its own on CPUs, into a sentence that helps."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and "allocate memory" not in str(error):
            raise
        raise PassFailed(
            f"memory ran out while training with {batch_size} rows a batch; try a smaller batch_size"
        ) from error
