"""What a request is called at each stage: InferRequest -> Entry (service.batching.entry) -> InferResponse."""

from typing import Any, NamedTuple

import numpy as np

# Tensors of any of the protocol's data types.
Array = np.ndarray[Any, np.dtype[Any]]

DEFAULT_TENANT = "default"


class InferRequest(NamedTuple):
    """A request that fits the signature of the variant that will answer it."""

    # The client's own name for it; echoed.
    id: str
    # One an input, in the signature's order; read-only views into the message where the wire form allows.
    arrays: tuple[Array, ...]
    # Size of the batch axis; 1 for a model without one.
    rows: int
    # Shapes of the arrays without the batch axis: requests of the same shapes may be stacked.
    shapes: tuple[tuple[int, ...], ...]
    # Positions in the signature of the outputs that are wanted, in the client's order.
    outputs: tuple[int, ...]


class Timings(NamedTuple):
    """Where a request's time went, in nanoseconds, and how many rows were run together with it."""

    # From arrival until a batch took it.
    queue_ns: int
    # Stacking it with the others.
    batch_ns: int
    # The run of the whole batch.
    compute_ns: int
    batch_rows: int


class InferResponse(NamedTuple):
    """A variant's answer: all outputs in the signature's order, the rows of this request alone."""

    arrays: tuple[Array, ...]
    timings: Timings
