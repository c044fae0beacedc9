"""The backend protocol: stacked arrays in, arrays out."""

from collections.abc import Sequence
from typing import Protocol

from service.types import Array


class Backend(Protocol):
    """A loaded model."""

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Runs the model once.

        `inputs` stand in the signature's order and are contiguous; they may be overwritten once this returns, so no
        output may share their memory. BYTES tensors are arrays of `bytes` objects. Outputs stand in the signature's
        order. Releases the GIL while it computes. Raises InvalidArgument when the model cannot take these values
        (an index out of range, say), and ServiceError when the run fails otherwise.
        """

    def close(self) -> None:
        """Frees the model. No run may be under way."""
