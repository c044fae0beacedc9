"""Fine-tuning: supervised training on labels, of the whole network or of its head first."""

from typing import ClassVar, Literal

from optimizer.recipe.base import Dependency, Domain, PassConfig, Stage
from optimizer.recipe.training import TRAINING_DOMAIN, Training


class Finetune(Training, PassConfig):
    """Trains on the labels with the loss of the task (or on the tokens themselves, for a language model).

    With `freeze_epochs` only the head learns at first, then everything: transfer learning with a pretrained body
    (Howard and Ruder, ACL 2018).
    """

    accepts: ClassVar = Stage.TORCH
    produces: ClassVar = Stage.TORCH
    depends_on: ClassVar = frozenset({Dependency.TRAIN, Dependency.SELECTION, Dependency.SEED})
    # Training would give every weight a value of its own again.
    not_after: ClassVar = frozenset({"share_weights"})
    tools: ClassVar = ("torch", "transformers")
    domain: ClassVar[Domain] = {**TRAINING_DOMAIN, "freeze_epochs": (0.0, 1.0)}

    use: Literal["finetune"] = "finetune"
