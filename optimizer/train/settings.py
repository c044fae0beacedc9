"""Everything that decides how the loop trains, beside the network, the rows and what is minimised."""

from dataclasses import dataclass, field

from optimizer.recipe.augmentation import Augmentation
from optimizer.recipe.training import MixedPrecision, Optimiser, Schedule


@dataclass(frozen=True)
class Settings:
    """How long and how fast to train. `optimizer.recipe.training` says what the fields mean."""

    epochs: float
    learning_rate: float
    batch_size: int
    weight_decay: float
    warmup_share: float
    seed: int
    # Most threads that may be taken.
    threads: int
    patience: int | None = None
    device: str = "cpu"
    optimiser: Optimiser = "adamw"
    momentum: float = 0.9
    schedule: Schedule = "cosine"
    gamma: float = 0.7
    layer_decay: float = 1.0
    l1: float = 0.0
    l2: float = 0.0
    dropout: float | None = None
    gradient_norm: float | None = 1.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    mixed_precision: MixedPrecision = "none"
    processes: int = 1
    # Least time between two savings of the training's state.
    save_seconds: float = 30.0
