"""Distillation: the present model learns from the answers, and if asked the inner values, of the checkpoint."""

from typing import ClassVar, Literal

from pydantic import Field

from optimizer.recipe.base import Dependency, Domain, PassConfig, Stage
from optimizer.recipe.taught import Taught


class Distill(Taught, PassConfig):
    """Trains on alpha * loss(labels) + (1 - alpha) * T^2 * KL(teacher || student) (Hinton et al., 2015).

    `hidden` and `attention` add the distance of inner values, of layers paired evenly (TinyBERT, Jiao et al., 2020).
    Without labels (task "agreement") alpha is taken as 0. With `alpha: 1` it is plain fine-tuning.
    """

    accepts: ClassVar = Stage.TORCH
    produces: ClassVar = Stage.TORCH
    version: ClassVar = 2
    depends_on: ClassVar = frozenset({Dependency.TRAIN, Dependency.SELECTION, Dependency.SEED, Dependency.SOURCE})
    # Training would give every weight a value of its own again.
    not_after: ClassVar = frozenset({"share_weights"})
    tools: ClassVar = ("torch", "transformers")
    domain: ClassVar[Domain] = {
        "temperature": (1.0, 2.0, 4.0),
        "alpha": (0.0, 0.1, 0.5),
        "hidden": (0.0, 1.0),
        "learning_rate": (1e-4, 1e-3),
    }

    use: Literal["distill"] = "distill"
    # Weights of the distance of hidden states (or maps of convolutions) and of attention (or where maps are strong).
    hidden: float = Field(default=0.0, ge=0)
    attention: float = Field(default=0.0, ge=0)
    # Module of the student to module of the teacher; None pairs their layers evenly.
    pairs: dict[str, str] | None = None
    # "synthetic" reads no training row and makes inputs up; "auto" does so beside the rows where there are few.
    data: Literal["auto", "real", "synthetic"] = "auto"
    synthetic_rows: int = Field(default=256, ge=1)
