"""Every error that the optimizer raises on purpose.

    OptimizerError
    ├── InvalidInput            the user's checkpoint, data or recipe is at fault
    │   ├── InvalidCheckpoint   not a checkpoint, or one that we refuse to open
    │   ├── InvalidDataset      data that cannot be read or does not fit the model
    │   └── InvalidRecipe       unknown pass, bad value, impossible order
    ├── UnsupportedModel        a well-formed model that a pass cannot treat (names the operation)
    ├── NotApplicable           the recipe makes no sense for this model (skip it, say why)
    └── PassFailed              a pass ran and its result cannot be used (NaN loss, no parity, nothing pruned)

Messages are for the model's owner: they name what is wrong and what is allowed, and nothing of our insides.
`kind` is the stable word that travels over the process boundary in a `Failed` event.
"""

from typing import ClassVar


class OptimizerError(Exception):
    """Root of the tree; `kind` names the class on the wire."""

    kind: ClassVar[str] = "internal"


class InvalidInput(OptimizerError):
    """The user's checkpoint, data or recipe is at fault."""

    kind = "invalid_input"


class InvalidCheckpoint(InvalidInput):
    """Not a checkpoint, or one that we refuse to open."""

    kind = "invalid_checkpoint"


class InvalidDataset(InvalidInput):
    """Data that cannot be read, or that does not fit the model."""

    kind = "invalid_dataset"


class InvalidRecipe(InvalidInput):
    """Unknown pass, bad value or impossible order."""

    kind = "invalid_recipe"


class UnsupportedModel(OptimizerError):
    """A well-formed model that a pass cannot treat; the message names the operation."""

    kind = "unsupported_model"


class NotApplicable(OptimizerError):
    """The recipe makes no sense for this model or target."""

    kind = "not_applicable"


class PassFailed(OptimizerError):
    """A pass ran, and its result cannot be used."""

    kind = "pass_failed"
