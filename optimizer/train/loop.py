"""The training loop: fine-tuning, recovery after pruning, distillation and training with rounding all use it."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from optimizer.errors import PassFailed
from optimizer.intake.predictor import Predictor
from optimizer.train import dropout, optimisers, placement, schedule, threads
from optimizer.train.fit import Epoch, Fit
from optimizer.train.hooks import Hook
from optimizer.train.losses import Objective
from optimizer.train.selection import Judged, Selection, judge
from optimizer.train.settings import Settings

# (share done 0..1, running loss, seconds left)
Progress = Callable[[float, float, float], None]


def fit(
    predictor: Predictor,
    inputs: tuple[Tensor, ...],
    objective: Objective,
    selection: Selection,
    settings: Settings,
    progress: Progress,
    *,
    companions: nn.Module | None = None,
    hooks: Sequence[Hook] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Fit:
    """Trains `predictor` in place and leaves it with the weights that did best on the selection rows.

    `companions` are further modules that learn with it and that only the objective uses (projections, say); they keep
    their last weights. `hooks` are told of every update. The same seed, data and thread count give the same weights on
    a CPU. Torch's global random state and thread count are restored. Raises PassFailed when the loss or a gradient is
    no longer a number, or when memory runs out.
    """
    with (
        threads.limited(threads.useful_threads(predictor, inputs, settings)),
        torch.random.fork_rng(devices=range(torch.cuda.device_count()) if settings.device == "cuda" else []),
        dropout.overridden(predictor, settings.dropout),
        _memory_told(settings),
    ):
        torch.manual_seed(settings.seed)
        return _Loop(predictor, inputs, objective, selection, settings, progress, companions, hooks, clock).run()


@dataclass
class _Tally:
    """Sums over the rows of one epoch."""

    loss: float = 0.0
    norm: float = 0.0
    rows: int = 0
    updates: int = 0

    def add(self, loss: float, norm: float, rows: int) -> None:
        self.loss += loss * rows
        self.norm += norm
        self.rows += rows
        self.updates += 1


@dataclass
class _State:
    """What changes while training, beside weights and the optimiser."""

    step: int = 0
    # Of the present epoch.
    tally: _Tally = field(default_factory=_Tally)
    curve: list[Epoch] = field(default_factory=list)
    best: Judged | None = None
    best_epoch: int = 0
    # Share of the learning rate that is left by the schedule "plateau".
    plateau: float = 1.0


class _Loop:
    def __init__(
        self,
        predictor: Predictor,
        inputs: tuple[Tensor, ...],
        objective: Objective,
        selection: Selection,
        settings: Settings,
        progress: Progress,
        companions: nn.Module | None,
        hooks: Sequence[Hook],
        clock: Callable[[], float],
    ) -> None:
        memory, device = placement.memory_format(predictor), settings.device
        self._trained = [predictor] if companions is None else [predictor, companions]
        for module in self._trained:
            placement.place(module, device, memory)
        self._predictor = predictor
        self._inputs = placement.placed(inputs, device, memory)
        self._selection = Selection(placement.placed(selection.inputs, device, memory), selection.truth, selection.task)
        self._objective, self._settings, self._progress, self._hooks = objective, settings, progress, hooks
        self._parameters = [parameter for module in self._trained for parameter in module.parameters()]
        self._optimiser = optimisers.optimiser_of(predictor, companions, settings)
        self._shuffle = torch.Generator().manual_seed(settings.seed)
        self._rows = len(inputs[0])
        self._per_epoch = len(batches(torch.arange(self._rows), settings.batch_size))
        self._steps = max(1, math.ceil(settings.epochs * self._per_epoch))
        self._weights: dict[str, Tensor] = {}
        self._state = _State()
        self._clock, self._started = clock, clock()

    def run(self) -> Fit:
        state = self._state
        while state.step < self._steps:
            self._epoch()
            if self._settings.patience is not None and self._without_progress() >= self._settings.patience:
                break
        assert state.best is not None
        self._predictor.load_state_dict(self._weights)
        for module in self._trained:
            placement.place(module, "cpu", torch.contiguous_format)
            module.eval()
        return Fit(self._selection.task, state.best.score, state.best_epoch, tuple(state.curve))

    def _epoch(self) -> None:
        for module in self._trained:
            module.train()
        order = torch.randperm(self._rows, generator=self._shuffle)
        for batch in batches(order, self._settings.batch_size)[: self._steps - self._state.step]:
            self._update(batch.to(self._settings.device))
        self._close_epoch()

    def _update(self, rows: Tensor) -> None:
        state, steps = self._state, self._steps
        optimisers.set_rate(self._optimiser, self._rate())
        for hook in self._hooks:
            hook.before_update(state.step, steps)
        tensors = tuple(tensor[rows] for tensor in self._inputs)
        for hook in self._hooks:
            hook.before_forward(tensors)
        loss, norm = self._step(tensors, rows)
        for hook in self._hooks:
            hook.after_update(state.step, steps)
        state.tally.add(loss, norm, len(rows))
        state.step += 1
        elapsed = self._clock() - self._started
        self._progress(
            state.step / steps, state.tally.loss / state.tally.rows, elapsed / state.step * (steps - state.step)
        )

    def _step(self, tensors: tuple[Tensor, ...], rows: Tensor) -> tuple[float, float]:
        """Moves the weights once; returns the loss, and the length of the gradient."""
        settings, epoch = self._settings, len(self._state.curve) + 1
        self._optimiser.zero_grad(set_to_none=True)
        loss = self._objective(self._predictor(*tensors), rows)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise PassFailed(f"training diverged: the loss is {value} in epoch {epoch}; try a lower learning rate")
        shrinking = optimisers.penalty(self._parameters, settings.l1, settings.l2)
        (loss if shrinking is None else loss + shrinking).backward()
        longest = math.inf if settings.gradient_norm is None else settings.gradient_norm
        norm = float(nn.utils.clip_grad_norm_(self._parameters, longest))
        if not math.isfinite(norm):
            raise PassFailed(f"training diverged: a gradient is {norm} in epoch {epoch}; try a lower learning rate")
        self._optimiser.step()
        return value, norm

    def _rate(self) -> float:
        settings = self._settings
        share = schedule.factor(
            settings.schedule, self._state.step, self._steps, settings.warmup_share, settings.gamma, self._per_epoch
        )
        return settings.learning_rate * share * self._state.plateau

    def _close_epoch(self) -> None:
        state, tally = self._state, self._state.tally
        judged = judge(self._predictor, self._selection, self._settings.device)
        state.curve.append(
            Epoch(
                loss=tally.loss / tally.rows,
                selection_loss=-judged.minus_loss,
                score=judged.score,
                learning_rate=max(group["lr"] for group in self._optimiser.param_groups),
                gradient_norm=tally.norm / tally.updates,
            )
        )
        state.tally = _Tally()
        if state.best is None or judged > state.best:
            state.best, state.best_epoch = judged, len(state.curve)
            self._weights = copy.deepcopy(self._predictor.state_dict())
        elif self._settings.schedule == "plateau":
            state.plateau = schedule.plateau(self._without_progress(), state.plateau, self._settings.gamma)

    def _without_progress(self) -> int:
        return len(self._state.curve) - self._state.best_epoch


def batches(order: Tensor, size: int) -> list[Tensor]:
    """Cuts an order of rows into batches."""
    cut = list(torch.split(order, size))
    # Batch normalisation has no variance to divide by when a batch is a single row.
    if len(cut) > 1 and len(cut[-1]) == 1:
        cut[-2:] = [torch.cat(cut[-2:])]
    return cut


@contextmanager
def _memory_told(settings: Settings) -> Iterator[None]:
    """Turns running out of memory, for which torch has no error of its own on CPUs, into a sentence that helps."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and "allocate memory" not in str(error):
            raise
        raise PassFailed(
            f"memory ran out while training with {settings.batch_size} rows a batch; try a smaller batch_size"
        ) from error
