"""The training loop: fine-tuning, recovery after pruning, distillation and training with rounding all use it."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from optimizer.errors import PassFailed
from optimizer.intake.predictor import Predictor
from optimizer.train import (
    batch_statistics,
    checkpoint,
    dropout,
    memory,
    optimisers,
    parallel,
    placement,
    precision,
    schedule,
    threads,
)
from optimizer.train.augmentation import Augmenter
from optimizer.train.batches import batches, part
from optimizer.train.fit import Fit
from optimizer.train.hooks import Hook
from optimizer.train.job import Job
from optimizer.train.losses import Objective
from optimizer.train.ranks import Ranks, add_up, agree
from optimizer.train.ranks import told as told_by_first
from optimizer.train.saver import Saver
from optimizer.train.selection import Judged, Selection, judge
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
    job = Job(predictor, inputs, objective, selection, settings, companions, tuple(hooks), tuple(names), resume)
    size = min(settings.processes, len(inputs[0]))
    sent = replace(job, selection=replace(selection, inputs=(), truth=selection.truth[:0]))
    with (
        _surroundings(job),
        parallel.gathered(size, settings.device, follow, sent) as (ranks, told),
        batch_statistics.shared(predictor, ranks),
    ):
        loop = _Loop(job, ranks, progress, clock)
        loop.begin([] if told is None else [told])
        return loop.run()


def follow(ranks: Ranks, job: object) -> None:
    """Trains along in a further process: the same updates, on other rows of each batch."""
    assert isinstance(job, Job)
    with _surroundings(job, ranks.rank), batch_statistics.shared(job.predictor, ranks):
        loop = _Loop(job, ranks, lambda *_: None, time.monotonic)
        loop.begin([])
        loop.run()


@contextmanager
def _surroundings(job: Job, rank: int = 0) -> Iterator[None]:
    settings = job.settings
    useful = threads.useful_threads(job.predictor, job.inputs, settings)
    with (
        threads.limited(max(1, useful // settings.processes)),
        torch.random.fork_rng(devices=range(torch.cuda.device_count()) if settings.device == "cuda" else []),
        dropout.overridden(job.predictor, settings.dropout),
        memory.told_when_short(settings.batch_size),
    ):
        torch.manual_seed(settings.seed + rank)
        yield


class _Loop:
    def __init__(self, job: Job, ranks: Ranks, progress: Progress, clock: Callable[[], float]) -> None:
        self._ranks, self._progress, self._clock = ranks, progress, clock
        self._predictor, self._objective, self._hooks = job.predictor, job.objective, job.hooks
        self._settings, self._resume, self._identity = job.settings, job.resume, job.identity
        settings, predictor, inputs, selection = job.settings, job.predictor, job.inputs, job.selection
        order, device = placement.memory_format(predictor), settings.device
        for module in job.trained:
            placement.place(module, device, order)
        self._inputs = placement.placed(inputs, device, order)
        self._selection = replace(selection, inputs=placement.placed(selection.inputs, device, order))
        self._augmenter = Augmenter(settings.augmentation, job.names or ("",) * len(inputs), inputs)
        self._parameters = [parameter for module in job.trained for parameter in module.parameters()]
        self._shuffle = torch.Generator().manual_seed(settings.seed)
        # A stream of its own, so that a batch's augmentation does not change the order of rows.
        self._random = torch.Generator().manual_seed(settings.seed + 1)
        self._rows = len(inputs[0])
        self._least = max(2, ranks.size)
        self._per_epoch = len(batches(torch.arange(self._rows), settings.batch_size, self._least))
        self._steps = max(1, math.ceil(settings.epochs * self._per_epoch))
        self._moving = checkpoint.Moving(
            trained=job.trained,
            optimiser=optimisers.optimiser_of(predictor, job.companions, settings),
            hooks=job.hooks,
            order=self._shuffle.get_state(),
            random=self._random,
            best={},
        )
        self._state = State()
        self._saver: Saver | None = None

    def begin(self, notes: list[str]) -> None:
        """Takes up what an earlier process left, or decides how to compute."""
        settings, ranks, identity = self._settings, self._ranks, self._identity
        state = None
        if self._resume is not None:
            state = checkpoint.load(self._resume, identity, self._moving)
            if ranks.rank == 0:
                self._saver = Saver(self._resume, identity, settings.save_seconds, self._clock)
        # Before the first can save again.
        if not agree(ranks, 0 if state is None else state.step):
            raise PassFailed("the processes of data-parallel training do not find the same saved state")
        if state is None:
            rows = torch.arange(min(settings.batch_size, self._rows)).to(settings.device)
            tensors = tuple(tensor[rows] for tensor in self._inputs)
            chosen, told = precision.choose(
                settings.mixed_precision, self._predictor, self._objective, tensors, rows, settings.device
            )
            # Measured in each, so the first decides.
            chosen = precision.KINDS[round(told_by_first(ranks, [precision.KINDS.index(chosen)])[0])]
            self._state = State(precision=chosen, notes=notes if told is None else [*notes, told])
            self._moving.scaler = precision.scaler_of(chosen)
        else:
            self._state = state
            state.notes.append(f"went on from update {state.step} of {self._steps} after an interruption")
            if ranks.rank:
                # What was saved is the first's.
                torch.manual_seed(settings.seed + ranks.rank + state.step * ranks.size)
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
        for batch in batches(order, self._settings.batch_size, self._least)[done : done + self._steps - state.step]:
            self._update(batch.to(self._settings.device))
        if state.close_epoch(self._judged()):
            self._moving.best = copy.deepcopy(self._predictor.state_dict())
        elif self._settings.schedule == "plateau":
            state.plateau = schedule.plateau(state.without_progress, state.plateau, self._settings.gamma)

    def _judged(self) -> Judged:
        judged = None
        if self._ranks.rank == 0:
            judged = judge(self._predictor, self._selection, self._settings.device)
        if self._ranks.size > 1:
            said = (0.0, 0.0) if judged is None else (judged.score, judged.minus_loss)
            return Judged(*told_by_first(self._ranks, said))
        assert judged is not None
        return judged

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
        settings, scaler, optimiser = self._settings, self._moving.scaler, self._moving.optimiser
        optimiser.zero_grad(set_to_none=True)
        with precision.computing(self._state.precision, settings.device):
            # What this process adds to the mean over the batch.
            loss = self._loss(rows) * (len(part(rows, self._ranks)) / len(rows))
        shrinking = optimisers.penalty(self._parameters, settings.l1, settings.l2)
        whole = loss if shrinking is None else loss + shrinking / self._ranks.size
        (whole if scaler is None else scaler.scale(whole)).backward()
        value = add_up(self._ranks, self._parameters, float(loss.detach()))
        self._require(value, "the loss")
        if scaler is not None:
            scaler.unscale_(optimiser)
        longest = math.inf if settings.gradient_norm is None else settings.gradient_norm
        norm = float(nn.utils.clip_grad_norm_(self._parameters, longest))
        if scaler is None:
            self._require(norm, "a gradient")
            optimiser.step()
        else:
            # Leaves out updates whose gradients are no numbers, and scales less from then on.
            scaler.step(optimiser)
            scaler.update()
        return value, norm

    def _loss(self, rows: Tensor) -> Tensor:
        """Mean loss of this process's part of a batch; what is random is drawn for the whole batch everywhere."""
        tensors = self._augmenter(tuple(tensor[rows] for tensor in self._inputs), self._random)
        own = part(rows, self._ranks)
        if not self._augmenter.mixes:
            return self._objective(self._answers(tensors), own)
        share, order = self._augmenter.share(self._random), torch.randperm(len(rows), generator=self._random)
        order = order.to(rows.device)
        answers = self._answers(tuple(share * tensor + (1 - share) * tensor[order] for tensor in tensors))
        other = part(rows[order], self._ranks)
        return share * self._objective(answers, own) + (1 - share) * self._objective(answers, other)

    def _answers(self, tensors: tuple[Tensor, ...]) -> Tensor:
        tensors = tuple(part(tensor, self._ranks) for tensor in tensors)
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
