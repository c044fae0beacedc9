"""The training loop: fine-tuning, recovery after pruning, distillation and training with rounding all use it."""

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from optimizer.errors import PassFailed
from optimizer.intake.predictor import Predictor
from optimizer.train import checkpoint, dropout, optimisers, placement, precision, schedule, threads
from optimizer.train.augmentation import Augmenter
from optimizer.train.fit import Fit
from optimizer.train.hooks import Hook
from optimizer.train.losses import Objective
from optimizer.train.saver import Saver
from optimizer.train.selection import Selection, judge
from optimizer.train.settings import Settings
from optimizer.train.state import State

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
    names: Sequence[str] = (),
    resume: Path | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Fit:
    """Trains `predictor` in place and leaves it with the weights that did best on the selection rows.

    `companions` are further modules that learn with it and that only the objective uses (projections, say); they keep
    their last weights. `hooks` are told of every update. `names` of the inputs tell augmentation what they hold.
    `resume` is a directory for this training alone: the state is saved there, and a training that was killed goes on
    from it as if it had not been. With mixup the objective is asked twice a batch.

    The same seed, data and thread count give the same weights on a CPU. Torch's global random state and thread count
    are restored. Raises PassFailed when the loss or a gradient is no longer a number, or when memory runs out.
    """
    with (
        threads.limited(threads.useful_threads(predictor, inputs, settings)),
        torch.random.fork_rng(devices=range(torch.cuda.device_count()) if settings.device == "cuda" else []),
        dropout.overridden(predictor, settings.dropout),
        _memory_told(settings),
    ):
        torch.manual_seed(settings.seed)
        loop = _Loop(predictor, inputs, objective, selection, settings, progress, companions, hooks, names, clock)
        loop.begin(resume)
        return loop.run()


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
        names: Sequence[str],
        clock: Callable[[], float],
    ) -> None:
        memory, device = placement.memory_format(predictor), settings.device
        trained = [predictor] if companions is None else [predictor, companions]
        for module in trained:
            placement.place(module, device, memory)
        self._predictor = predictor
        self._inputs = placement.placed(inputs, device, memory)
        self._selection = Selection(placement.placed(selection.inputs, device, memory), selection.truth, selection.task)
        self._augmenter = Augmenter(settings.augmentation, tuple(names) or ("",) * len(inputs), inputs)
        self._objective, self._settings, self._progress, self._hooks = objective, settings, progress, hooks
        self._parameters = [parameter for module in trained for parameter in module.parameters()]
        self._shuffle = torch.Generator().manual_seed(settings.seed)
        # A stream of its own, so that a batch's augmentation does not change the order of rows.
        self._random = torch.Generator().manual_seed(settings.seed + 1)
        self._rows = len(inputs[0])
        self._per_epoch = len(batches(torch.arange(self._rows), settings.batch_size))
        self._steps = max(1, math.ceil(settings.epochs * self._per_epoch))
        self._moving = checkpoint.Moving(
            trained=trained,
            optimiser=optimisers.optimiser_of(predictor, companions, settings),
            hooks=hooks,
            order=self._shuffle.get_state(),
            random=self._random,
            best={},
        )
        self._state = State()
        self._saver: Saver | None = None
        self._clock = clock

    def begin(self, resume: Path | None) -> None:
        """Takes up what an earlier process left, or decides how to compute."""
        settings = self._settings
        state = None
        if resume is not None:
            self._saver = Saver(resume, self._identity(), settings.save_seconds, self._clock)
            state = checkpoint.load(resume, self._saver.identity, self._moving)
        if state is None:
            rows = torch.arange(min(settings.batch_size, self._rows)).to(settings.device)
            tensors = tuple(tensor[rows] for tensor in self._inputs)
            chosen, told = precision.choose(
                settings.mixed_precision, self._predictor, self._objective, tensors, rows, settings.device
            )
            self._state = State(precision=chosen, notes=[] if told is None else [told])
            self._moving.scaler = precision.scaler_of(chosen)
        else:
            self._state = state
            state.notes.append(f"went on from update {state.step} of {self._steps} after an interruption")
        self._shuffle.set_state(self._moving.order)
        self._first, self._started = self._state.step, self._clock()

    def run(self) -> Fit:
        state, settings = self._state, self._settings
        while state.step < self._steps or state.tally.updates:
            self._epoch()
            if settings.patience is not None and state.without_progress >= settings.patience:
                break
        assert state.best is not None
        self._predictor.load_state_dict(self._moving.best)
        for module in self._moving.trained:
            placement.place(module, "cpu", torch.contiguous_format)
            module.eval()
        if self._saver is not None:
            state.notes.extend(self._saver.end())
        return Fit(
            self._selection.task, state.best.score, state.best_epoch, tuple(state.curve), tuple(state.notes),
            tuple(state.points),
        )  # fmt: skip

    def _epoch(self) -> None:
        state = self._state
        for module in self._moving.trained:
            module.train()
        self._moving.order = self._shuffle.get_state()
        order = torch.randperm(self._rows, generator=self._shuffle)
        done = state.tally.updates
        for batch in batches(order, self._settings.batch_size)[done : done + self._steps - state.step]:
            self._update(batch.to(self._settings.device))
        if state.close_epoch(judge(self._predictor, self._selection, self._settings.device)):
            self._moving.best = copy.deepcopy(self._predictor.state_dict())
        elif self._settings.schedule == "plateau":
            state.plateau = schedule.plateau(state.without_progress, state.plateau, self._settings.gamma)

    def _update(self, rows: Tensor) -> None:
        state, steps, rate = self._state, self._steps, self._rate()
        optimisers.set_rate(self._moving.optimiser, rate)
        for hook in self._hooks:
            hook.before_update(state.step, steps)
        loss, norm = self._step(rows)
        for hook in self._hooks:
            hook.after_update(state.step, steps)
        state.count(steps, loss, norm, len(rows), rate)
        now = self._clock()
        each = (now - self._started) / (state.step - self._first)
        self._progress(state.step / steps, state.tally.loss / state.tally.rows, each * (steps - state.step))
        if self._saver is not None:
            self._saver.consider(now, state, self._moving)

    def _step(self, rows: Tensor) -> tuple[float, float]:
        """Moves the weights once; returns the loss, and the length of the gradient."""
        settings, scaler = self._settings, self._moving.scaler
        self._moving.optimiser.zero_grad(set_to_none=True)
        with precision.computing(self._state.precision, settings.device):
            loss = self._loss(rows)
        value = float(loss.detach())
        self._require(value, "the loss")
        shrinking = optimisers.penalty(self._parameters, settings.l1, settings.l2)
        whole = loss if shrinking is None else loss + shrinking
        longest = math.inf if settings.gradient_norm is None else settings.gradient_norm
        if scaler is None:
            whole.backward()
            norm = float(nn.utils.clip_grad_norm_(self._parameters, longest))
            self._require(norm, "a gradient")
            self._moving.optimiser.step()
        else:
            # The scaler leaves out updates whose gradients are no numbers, and scales less from then on.
            scaler.scale(whole).backward()
            scaler.unscale_(self._moving.optimiser)
            norm = float(nn.utils.clip_grad_norm_(self._parameters, longest))
            scaler.step(self._moving.optimiser)
            scaler.update()
        return value, norm

    def _loss(self, rows: Tensor) -> Tensor:
        tensors = self._augmenter(tuple(tensor[rows] for tensor in self._inputs), self._random)
        if not self._augmenter.mixes:
            return self._objective(self._answers(tensors), rows)
        share, partner = self._augmenter.share(self._random), torch.randperm(len(rows), generator=self._random)
        partner = partner.to(rows.device)
        answers = self._answers(tuple(share * tensor + (1 - share) * tensor[partner] for tensor in tensors))
        return share * self._objective(answers, rows) + (1 - share) * self._objective(answers, rows[partner])

    def _answers(self, tensors: tuple[Tensor, ...]) -> Tensor:
        for hook in self._hooks:
            hook.before_forward(tensors)
        answers: Tensor = self._predictor(*tensors)
        return answers.float()

    def _require(self, value: float, name: str) -> None:
        if not math.isfinite(value):
            epoch = len(self._state.curve) + 1
            raise PassFailed(f"training diverged: {name} is {value} in epoch {epoch}; try a lower learning rate")

    def _rate(self) -> float:
        settings = self._settings
        share = schedule.factor(
            settings.schedule, self._state.step, self._steps, settings.warmup_share, settings.gamma, self._per_epoch
        )
        return settings.learning_rate * share * self._state.plateau

    def _identity(self) -> str:
        """What must be equal for one training to go on from another's state."""
        shapes = [list(parameter.shape) for parameter in self._parameters]
        settings = asdict(self._settings) | {"augmentation": self._settings.augmentation.model_dump()}
        for name in ("threads", "save_seconds"):
            del settings[name]
        told = json.dumps([settings, shapes, self._rows, self._steps])
        return hashlib.sha256(told.encode()).hexdigest()


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
