"""The training loop: AdamW with warm-up and cosine decay, clipped gradients, and the best weights kept."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from optimizer.errors import PassFailed
from optimizer.intake.predictor import Predictor, answers_of
from optimizer.train.losses import Objective
from optimizer.train.schedule import warmup_cosine

_GRADIENT_NORM = 1.0
# Floating-point operations of an update that keep one thread busy for some tens of milliseconds.
_OPERATIONS_A_THREAD = 1e9


@dataclass(frozen=True)
class Settings:
    """How long and how fast to train."""

    epochs: float
    learning_rate: float
    batch_size: int
    weight_decay: float
    warmup_share: float
    seed: int
    threads: int
    # Epochs without a better selection score after which training stops; None never stops early.
    patience: int | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Selection:
    """Rows that choose the best epoch: inputs, and the class that each row should get."""

    inputs: tuple[Tensor, ...]
    truth: Tensor


@dataclass(frozen=True)
class Fit:
    """What came of training."""

    # Share of selection rows right, of the weights that were kept.
    accuracy: float
    # Epoch whose weights were kept, counted from 1.
    best_epoch: int
    epochs: int
    # Mean training loss of each epoch.
    losses: tuple[float, ...]


# (share done 0..1, running loss, seconds left)
Progress = Callable[[float, float, float], None]


def fit(
    predictor: Predictor,
    inputs: tuple[Tensor, ...],
    objective: Objective,
    selection: Selection,
    settings: Settings,
    progress: Progress,
    clock: Callable[[], float] = time.monotonic,
) -> Fit:
    """Trains `predictor` in place and leaves it with the weights that did best on the selection rows.

    The same seed, data and thread count give the same weights on a CPU. Torch's global random state and thread count
    are restored. Raises PassFailed when the loss or a gradient is no longer a number.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(useful_threads(predictor, inputs, settings))
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            return _fit(predictor, inputs, objective, selection, settings, progress, clock)
    finally:
        torch.set_num_threads(threads)


def useful_threads(predictor: Predictor, inputs: tuple[Tensor, ...], settings: Settings) -> int:
    """How many of the allowed threads are worth it, by the operations of one update; the same on every host.

    A small network gains little from a second thread and waits for it at every layer, which is ruinous where other
    processes use the cores too.
    """
    mode = predictor.training
    # With gradients, since the counter looks for the functions behind the weights that modules are called with.
    with FlopCounterMode(display=False) as counter:
        predictor.eval()(*(tensor[:1] for tensor in inputs))
    predictor.train(mode)
    # The backward pass takes about twice the operations of the forward pass.
    update = 3.0 * counter.get_total_flops() * settings.batch_size
    worthwhile: int = round(update / _OPERATIONS_A_THREAD)
    return max(1, min(settings.threads, worthwhile))


def _fit(
    predictor: Predictor,
    inputs: tuple[Tensor, ...],
    objective: Objective,
    selection: Selection,
    settings: Settings,
    progress: Progress,
    clock: Callable[[], float],
) -> Fit:
    memory = _memory_format(predictor)
    _place(predictor, settings.device, memory)
    inputs = _placed(inputs, settings.device, memory)
    selection = Selection(_placed(selection.inputs, settings.device, memory), selection.truth.to(settings.device))
    optimizer = torch.optim.AdamW(_groups(predictor, settings.weight_decay), lr=settings.learning_rate)
    rows = len(inputs[0])
    per_epoch = len(_batches(torch.arange(rows), settings.batch_size))
    steps = max(1, math.ceil(settings.epochs * per_epoch))
    shuffle = torch.Generator().manual_seed(settings.seed)
    best: tuple[float, float] | None = None
    weights: dict[str, Tensor] = {}
    losses: list[float] = []
    best_epoch, step, started = 0, 0, clock()
    while step < steps:
        epoch = len(losses) + 1
        predictor.train()
        total, count = 0.0, 0
        for batch in _batches(torch.randperm(rows, generator=shuffle), settings.batch_size)[: steps - step]:
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * warmup_cosine(step, steps, settings.warmup_share)
            batch = batch.to(settings.device)
            loss = _update(predictor, [tensor[batch] for tensor in inputs], batch, objective, optimizer, epoch)
            total, count, step = total + loss * len(batch), count + len(batch), step + 1
            elapsed = clock() - started
            progress(step / steps, total / count, elapsed / step * (steps - step))
        losses.append(total / count)
        score = _score(predictor, selection)
        if best is None or score > best:
            best, best_epoch, weights = score, epoch, copy.deepcopy(predictor.state_dict())
        elif settings.patience is not None and epoch - best_epoch >= settings.patience:
            break
    assert best is not None
    predictor.load_state_dict(weights)
    _place(predictor, "cpu", torch.contiguous_format)
    predictor.eval()
    return Fit(best[0], best_epoch, len(losses), tuple(losses))


def _update(
    predictor: Predictor,
    tensors: Sequence[Tensor],
    rows: Tensor,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    epoch: int,
) -> float:
    optimizer.zero_grad(set_to_none=True)
    loss = objective(predictor(*tensors), rows)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise PassFailed(f"training diverged: the loss is {value} in epoch {epoch}; try a lower learning rate")
    loss.backward()
    norm = nn.utils.clip_grad_norm_(predictor.parameters(), _GRADIENT_NORM)
    if not math.isfinite(float(norm)):
        raise PassFailed(f"training diverged: a gradient is {float(norm)} in epoch {epoch}; try a lower learning rate")
    optimizer.step()
    return value


def _batches(order: Tensor, size: int) -> list[Tensor]:
    batches = list(torch.split(order, size))
    # Batch normalisation has no variance to divide by when a batch is a single row.
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _score(predictor: Predictor, selection: Selection) -> tuple[float, float]:
    """Share right, then (to break ties) minus the cross-entropy."""
    logits = answers_of(predictor, selection.inputs, batch=256)
    right = float((logits.argmax(-1) == selection.truth).float().mean())
    return right, -float(nn.functional.cross_entropy(logits, selection.truth))


def _groups(predictor: Predictor, weight_decay: float) -> list[dict[str, object]]:
    """Matrices and kernels decay; biases and normalisations do not."""
    parameters = [parameter for parameter in predictor.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0},
    ]


def _memory_format(predictor: Predictor) -> torch.memory_format:
    """Convolutional networks train faster on a CPU with the channels last; the rest has no use for it."""
    convolutions = sum(isinstance(module, nn.Conv2d) for module in predictor.modules())
    linears = sum(isinstance(module, nn.Linear) for module in predictor.modules())
    return torch.channels_last if convolutions > linears else torch.contiguous_format


def _place(predictor: Predictor, device: str, memory: torch.memory_format) -> None:
    predictor.to(device)
    predictor.to(memory_format=memory)  # type: ignore[call-overload]


def _placed(tensors: tuple[Tensor, ...], device: str, memory: torch.memory_format) -> tuple[Tensor, ...]:
    return tuple(
        tensor.to(device=device, memory_format=memory if tensor.ndim == 4 else torch.preserve_format)
        for tensor in tensors
    )
