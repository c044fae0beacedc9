"""A backend that is a Python function, and remembers what it was given."""

from collections.abc import Callable, Sequence

from service.types import Array


class FakeBackend:
    """Runs `function` on the list of inputs."""

    def __init__(self, function: Callable[[list[Array]], list[Array]]) -> None:
        self._function = function
        # Rows of the first input, one a run.
        self.batches: list[int] = []
        self.closed = False

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """See Backend."""
        self.batches.append(len(inputs[0]) if inputs[0].ndim else 1)
        return [output.copy() for output in self._function(list(inputs))]

    def close(self) -> None:
        """See Backend."""
        self.closed = True
