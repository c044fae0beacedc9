"""Trains a small network and may kill itself on the way: python interrupted.py DIRECTORY STEP."""

import dataclasses
import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from optimizer.intake.predictor import Predictor
from optimizer.recipe.augmentation import Augmentation
from optimizer.train.fit import Fit
from optimizer.train.hooks import Hook
from optimizer.train.loop import fit
from optimizer.train.losses import task_loss
from optimizer.train.selection import Selection
from optimizer.train.settings import Settings

SETTINGS = Settings(
    epochs=3, learning_rate=0.01, batch_size=16, weight_decay=0.01, warmup_share=0.1, seed=5, threads=1,
    optimiser="adamw", augmentation=Augmentation(crop=0.25, noise=0.1, mixup=0.3), save_seconds=0.0,
)  # fmt: skip


class Counter(Hook):
    """Remembers how often it was told of an update."""

    def __init__(self) -> None:
        self.updates = torch.zeros(1)

    def after_update(self, step: int, steps: int) -> None:
        self.updates += 1

    def state(self) -> dict[str, torch.Tensor]:
        return {"updates": self.updates}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        self.updates = state["updates"]


def network() -> Predictor:
    """Everything that has a state of its own: batch statistics, dropout, channels last."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Dropout(0.2),
        nn.Flatten(), nn.Linear(288, 3),
    )  # fmt: skip
    return Predictor(layers, ["x"], calling="positional")


def train(resume: Path | None, kill_at: int | None, **changes: object) -> tuple[Predictor, nn.Module, Counter, Fit]:
    """Trains; dies by SIGKILL after update `kill_at`."""
    random = torch.Generator().manual_seed(1)
    x, y = torch.randn(70, 1, 8, 8, generator=random), torch.randint(0, 3, (70,), generator=random)
    predictor, companion, hook = network(), nn.Linear(3, 3), Counter()
    nn.init.eye_(companion.weight)
    nn.init.zeros_(companion.bias)
    objective = task_loss("classification", y)

    def progress(share: float, loss: float, eta: float) -> None:
        if kill_at is not None and hook.updates >= kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    result = fit(
        predictor, (x,), lambda answers, rows: objective(companion(answers), rows), Selection((x,), y),
        dataclasses.replace(SETTINGS, **changes), progress, companions=companion, hooks=[hook], resume=resume,
    )  # fmt: skip
    return predictor, companion, hook, result


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]))
