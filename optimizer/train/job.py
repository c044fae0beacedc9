"""What is trained, on what, and how: everything that a further process needs to train along."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor, nn

from optimizer.intake.predictor import Predictor
from optimizer.train.hooks import Hook
from optimizer.train.losses import Objective
from optimizer.train.selection import Selection
from optimizer.train.settings import Settings


@dataclass(frozen=True, eq=False)
class Job:
    """The arguments of `optimizer.train.loop.fit`, which says what they mean."""

    predictor: Predictor
    inputs: tuple[Tensor, ...]
    objective: Objective
    selection: Selection
    settings: Settings
    companions: nn.Module | None
    hooks: tuple[Hook, ...]
    names: tuple[str, ...]
    resume: Path | None

    @property
    def trained(self) -> list[nn.Module]:
        """All modules that learn."""
        return [self.predictor] if self.companions is None else [self.predictor, self.companions]

    @property
    def identity(self) -> str:
        """What must be equal for one training to go on from another's state."""
        shapes = [list(parameter.shape) for module in self.trained for parameter in module.parameters()]
        settings = asdict(self.settings) | {"augmentation": self.settings.augmentation.model_dump()}
        for name in ("threads", "save_seconds"):
            del settings[name]
        return hashlib.sha256(json.dumps([settings, shapes, len(self.inputs[0])]).encode()).hexdigest()
