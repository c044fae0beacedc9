"""The samples that are sent: request bytes built ahead for each evaluation row, dealt in shuffled passes.

A request on the wire is `body + address(...)`: protobuf merges concatenated messages, so the tensor of a row is encoded
once, and only the simulated user's routing key (or the pinned variant) is put behind it when it is sent.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from optimizer.artifact.rows import Rows, feeds
from optimizer.artifact.signature import TensorSpec
from service.client import inference
from service.wire.open_inference import grpc_service_pb2 as oip


@dataclass(frozen=True, eq=False)
class Samples:
    """One encoded request a row. `rows` are indices into the data file, in the order of `bodies`."""

    rows: NDArray[np.int64]
    bodies: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.bodies)

    def save(self, path: Path) -> None:
        """Writes them for the load generator's process."""
        lengths = np.array([len(body) for body in self.bodies], dtype=np.int64)
        np.savez(path, rows=self.rows, lengths=lengths, bodies=np.frombuffer(b"".join(self.bodies), dtype=np.uint8))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as archive:
            joined, ends = archive["bodies"].tobytes(), np.cumsum(archive["lengths"]).tolist()
            starts = [0, *ends[:-1]]
            return cls(archive["rows"], tuple(joined[a:b] for a, b in zip(starts, ends, strict=True)))


def build(model: str, data: Rows, rows: Sequence[int], inputs: Sequence[TensorSpec]) -> Samples:
    """Encodes these rows of the data for a model with these inputs, one row a request.

    Raises optimizer.errors.InvalidDataset when the data does not fit the model.
    """
    indices = np.asarray(rows, dtype=np.int64)
    bodies = []
    for row in indices:
        arrays = feeds(data, inputs, np.array([row], dtype=np.int64))
        bodies.append(inference.request(model, arrays).SerializeToString())
    return Samples(indices, tuple(bodies))


def address(routing_key: str = "", variant: str = "", request_id: str = "") -> bytes:
    """What is put behind a body: who asks (for sticky routing), or which variant must answer."""
    message = oip.ModelInferRequest(model_version=variant, id=request_id)
    if routing_key:
        message.parameters[inference.ROUTING_KEY].string_param = routing_key
    return message.SerializeToString()


def passes(count: int, source: random.Random) -> Iterator[int]:
    """Positions 0 to count - 1 in a fresh random order each pass, without end, so that no row is favoured."""
    if count < 1:
        raise ValueError("there is nothing to send")
    order = list(range(count))
    while True:
        source.shuffle(order)
        yield from order


def user_names(count: int) -> list[str]:
    """Routing keys of the simulated users."""
    return [f"user-{number}" for number in range(count)]
