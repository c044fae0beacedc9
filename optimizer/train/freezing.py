"""Transfer learning: at first only the head learns, so that its random start does not spoil a pretrained body."""

from torch import nn

from optimizer.errors import NotApplicable
from optimizer.train.hooks import Hook


class Freeze(Hook):
    """Keeps the body of a network still for the first updates: no gradients, no dropout, fixed batch statistics."""

    def __init__(self, network: nn.Module, updates_share: float) -> None:
        """`updates_share` is the share of all updates in which only the head learns.

        Raises NotApplicable when the network has no body apart from its head.
        """
        self._body = body_of(network)
        self._share = updates_share
        # What was fixed before stays fixed afterwards.
        own = [parameter for module in self._body for parameter in module.parameters(recurse=False)]
        self._parameters = [parameter for parameter in own if parameter.requires_grad]

    def before_update(self, step: int, steps: int) -> None:
        """Freezes the body, or lets it learn from now on."""
        frozen = step < round(self._share * steps)
        for parameter in self._parameters:
            parameter.requires_grad_(not frozen)
        if frozen:
            for module in self._body:
                module.training = False

    def release(self) -> None:
        """Lets the body learn, whatever has been reached."""
        for parameter in self._parameters:
            parameter.requires_grad_()


def body_of(network: nn.Module) -> list[nn.Module]:
    """All modules but those of the head, which is the last layer with weights where the network does not say.

    Networks of the transformers library name their body. Raises NotApplicable when nothing is left beside the head.
    """
    base = getattr(network, "base_model", None)
    if isinstance(base, nn.Module) and base is not network:
        return list(base.modules())
    weighted = [
        module
        for module in network.modules()
        if not list(module.children()) and any(True for _ in module.parameters(recurse=False))
    ]
    if len(weighted) < 2:
        raise NotApplicable("freeze_epochs needs a network with a body apart from its head")
    head = weighted[-1]
    return [module for module in network.modules() if module is not head and head not in set(module.modules())]
