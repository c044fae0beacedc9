"""What every pass that trains lets its user say: optimiser, rates, regularisation, and when to stop."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from optimizer.recipe.augmentation import Augmentation
from optimizer.recipe.base import Domain

Optimiser = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "exponential", "cosine", "plateau"]
MixedPrecision = Literal["none", "auto", "bf16", "fp16"]

# Values worth trying; a pass's own domain adds to them.
TRAINING_DOMAIN: Domain = {
    "epochs": (2.0, 4.0, 8.0),
    "learning_rate": (1e-4, 3e-4, 1e-3),
    "optimiser": ("adamw", "sgd"),
    "schedule": ("cosine", "exponential", "constant"),
    "weight_decay": (0.01, 0.0, 0.1),
    "label_smoothing": (0.0, 0.1),
    "augmentation": ("none", "light", "strong"),
}


class Training(BaseModel):
    """How a network is trained. Configs of passes inherit these fields, or hold them where training is a part only.

    The seed is not among them: it belongs to the job.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: float = Field(default=4.0, gt=0, le=1000)
    batch_size: int = Field(default=32, ge=1)
    optimiser: Optimiser = "adamw"
    # Of "sgd" alone.
    momentum: float = Field(default=0.9, ge=0, lt=1)
    # None: chosen for the kind of model (1e-3 convolutional, 5e-5 at width 768 for encoders, more for narrower ones).
    learning_rate: float | None = Field(default=None, gt=0)
    schedule: Schedule = "cosine"
    # Share of the updates in which the rate rises from zero, before any schedule.
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    # What an epoch leaves of the rate ("exponential"), or every second one without progress in a row ("plateau").
    gamma: float = Field(default=0.7, gt=0, le=1)
    # What an encoder's layer has of the rate of the layer above it.
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    # Shrinks weights at every update; apart from the gradient with "adamw", within it with "adam" and "sgd".
    weight_decay: float = Field(default=0.01, ge=0)
    # Added to the loss: l1 * sum |w| + l2 * sum w^2, not over biases and normalisations. Both: elastic net.
    l1: float = Field(default=0.0, ge=0)
    l2: float = Field(default=0.0, ge=0)
    # Probability of every dropout that the network has; None leaves them as they are.
    dropout: float | None = Field(default=None, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    # Epochs without a better selection score after which training stops; None never stops early.
    patience: int | None = Field(default=None, ge=1)
    # Longest gradient; a longer one is shortened to it. None clips nothing.
    gradient_norm: float | None = Field(default=1.0, gt=0)
    # Epochs at the start in which only the head learns.
    freeze_epochs: float = Field(default=0.0, ge=0, le=1000)
    augmentation: Augmentation = Augmentation()
    # "auto" measures on a CPU whether bf16 pays, so the weights are then not the same on every run.
    mixed_precision: MixedPrecision = "none"
    # Each trains on its share of every batch, on a GPU of its own where the job has GPUs.
    processes: int = Field(default=1, ge=1, le=64)

    @model_validator(mode="after")
    def _something_is_trained(self) -> "Training":
        if self.freeze_epochs > self.epochs:
            raise ValueError(f"freeze_epochs ({self.freeze_epochs:g}) are a part of epochs ({self.epochs:g})")
        if self.processes > self.batch_size:
            raise ValueError(f"processes ({self.processes}) are at most the rows of a batch ({self.batch_size})")
        return self
