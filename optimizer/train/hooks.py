"""What may be done around every update: masks kept, weights pruned a little further, ranges observed."""

from torch import Tensor


class Hook:
    """Told of every update. The methods do nothing here; a hook overrides those that it needs.

    A hook that remembers something from update to update hands it over in `state`, so that training which was killed
    goes on as if it had not been.
    """

    def before_update(self, step: int, steps: int) -> None:
        """The network is in training mode, and update `step` of `steps` (counted from 0) is about to begin."""

    def before_forward(self, tensors: tuple[Tensor, ...]) -> None:
        """The inputs of the batch, augmented, as the network is about to get them."""

    def after_update(self, step: int, steps: int) -> None:
        """The weights have moved."""

    def state(self) -> dict[str, Tensor]:
        """What must be remembered to go on."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Takes back what `state` gave."""
