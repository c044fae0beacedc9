"""What came of training: the curves, the epoch that was kept, and where training and selection parted ways."""

from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.artifact.task import METRIC, Task
from optimizer.metrics.scoring import scoring

# Relative rise of the selection loss over its lowest that is no noise any more.
_PARTED = 0.05


@dataclass(frozen=True)
class Point:
    """Figures of one update."""

    # Updates made, this one among them.
    step: int
    loss: float
    learning_rate: float
    # Length of the gradient before it was clipped.
    gradient_norm: float


@dataclass(frozen=True)
class Epoch:
    """Figures of one epoch."""

    # Updates made when it ended.
    step: int
    # Mean of the objective over the rows trained on.
    loss: float
    # Of the task's own loss on the selection rows.
    selection_loss: float
    # More is better, whatever the metric.
    score: float
    # Of the last update.
    learning_rate: float
    # Mean length of the gradient before it was clipped.
    gradient_norm: float


@dataclass(frozen=True)
class Fit:
    """What came of training."""

    task: Task
    # How good the kept weights are on the selection rows; more is better, whatever the metric.
    score: float
    # Epoch whose weights were kept, counted from 1.
    best_epoch: int
    curve: tuple[Epoch, ...]
    # Decisions taken on the way, for the reader of the manifest.
    notes: tuple[str, ...] = ()
    # Some of the updates, evenly spread.
    points: tuple[Point, ...] = ()

    @property
    def epochs(self) -> int:
        """Epochs begun."""
        return len(self.curve)

    @property
    def losses(self) -> tuple[float, ...]:
        """Mean training loss of each epoch."""
        return tuple(epoch.loss for epoch in self.curve)

    @property
    def metric(self) -> float:
        """The task's metric on the selection rows; of an error, less is better."""
        return scoring(self.task).goodness(self.score)

    @property
    def overfitting(self) -> int | None:
        """Epoch from which training and selection loss part ways."""
        return parting(self.losses, [epoch.selection_loss for epoch in self.curve])

    def summary(self, of: str) -> str:
        """One sentence for the manifest; `of` names the rows: "the selection rows"."""
        share = METRIC[self.task] in ("accuracy", "agreement", "token_accuracy")
        value = f"{self.metric:.2%} of {of} right" if share else f"{METRIC[self.task]} {self.metric:.4g} on {of}"
        return (
            f"{value} after epoch {self.best_epoch} of {self.epochs} "
            f"(loss {self.losses[0]:.3g} -> {self.losses[-1]:.3g})"
        )


def parting(training: Sequence[float], selection: Sequence[float]) -> int | None:
    """Epoch (from 1) after which the training loss went on falling and the selection loss rose for good; or None."""
    best = min(range(len(selection)), key=lambda epoch: selection[epoch])
    rises = selection[-1] > selection[best] + _PARTED * abs(selection[best])
    return best + 2 if rises and training[-1] < training[best] else None
