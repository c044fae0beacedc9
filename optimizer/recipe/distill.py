"""Distillation: the present model learns from the answers of the checkpoint it came from."""

from typing import ClassVar, Literal

from pydantic import Field

from optimizer.recipe.base import Dependency, Domain, PassConfig, Stage


class Distill(PassConfig):
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
    epochs: float = Field(default=4.0, gt=0, le=1000)
    # None: chosen for the kind of model (1e-3 convolutional, 5e-5 x width-free for encoders).
    learning_rate: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=32, ge=1)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
