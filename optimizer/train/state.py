"""What changes while training, beside weights and the optimiser: where it is, and what has come of it so far."""

from dataclasses import dataclass, field
from typing import Literal

from optimizer.train.fit import Epoch, Point
from optimizer.train.selection import Judged

# What the network computes in; the weights themselves stay in 32 bits.
Precision = Literal["fp32", "bf16", "fp16"]

# Points kept of a training, however long it is.
_MOST_POINTS = 1000


@dataclass
class Tally:
    """Sums over the updates of one epoch."""

    loss: float = 0.0
    norm: float = 0.0
    rows: int = 0
    updates: int = 0
    # Of the last update.
    rate: float = 0.0

    def add(self, loss: float, norm: float, rows: int, rate: float) -> None:
        """Counts one update over `rows` rows."""
        self.loss += loss * rows
        self.norm += norm
        self.rows += rows
        self.updates += 1
        self.rate = rate


@dataclass
class State:
    """How far training is."""

    step: int = 0
    # Of the present epoch; its updates say where in the order of rows training is.
    tally: Tally = field(default_factory=Tally)
    curve: list[Epoch] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    best: Judged | None = None
    best_epoch: int = 0
    # Share of the learning rate that is left by the schedule "plateau".
    plateau: float = 1.0
    precision: Precision = "fp32"
    notes: list[str] = field(default_factory=list)

    def count(self, steps: int, loss: float, norm: float, rows: int, rate: float) -> None:
        """One update has been made."""
        self.tally.add(loss, norm, rows, rate)
        self.step += 1
        if self.step % -(-steps // _MOST_POINTS) == 0:
            self.points.append(Point(self.step, loss, rate, norm))

    def close_epoch(self, judged: Judged) -> bool:
        """Notes the figures of the epoch that has ended; true when it is the best so far."""
        tally = self.tally
        self.curve.append(
            Epoch(
                step=self.step,
                loss=tally.loss / tally.rows,
                selection_loss=-judged.minus_loss,
                score=judged.score,
                learning_rate=tally.rate,
                gradient_norm=tally.norm / tally.updates,
            )
        )
        self.tally = Tally()
        better = self.best is None or judged > self.best
        if better:
            self.best, self.best_epoch = judged, len(self.curve)
        return better

    @property
    def without_progress(self) -> int:
        """Epochs since the best one."""
        return len(self.curve) - self.best_epoch
