"""Distillation: the present model learns from the answers of the checkpoint it came from."""

from typing import ClassVar, Literal

from pydantic import Field

from optimizer.recipe.base import Dependency, Domain, PassConfig, Stage
from optimizer.recipe.training import Training


class Distill(Training, PassConfig):
    """Trains on alpha * CE(labels) + (1 - alpha) * T^2 * KL(teacher, student) (Hinton et al., 2015).

    Without labels (task "agreement") alpha is taken as 0. With `alpha: 1` it is plain fine-tuning.
    """

    accepts: ClassVar = Stage.TORCH
    produces: ClassVar = Stage.TORCH
    depends_on: ClassVar = frozenset({Dependency.TRAIN, Dependency.SELECTION, Dependency.SEED, Dependency.SOURCE})
    tools: ClassVar = ("torch", "transformers")
    domain: ClassVar[Domain] = {"temperature": (1.0, 2.0, 4.0), "alpha": (0.0, 0.1, 0.5), "learning_rate": (1e-4, 1e-3)}

    use: Literal["distill"] = "distill"
    temperature: float = Field(default=2.0, gt=0)
    alpha: float = Field(default=0.1, ge=0, le=1)
