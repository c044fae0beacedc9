"""Mixed precision: products in 16 bits, weights in 32 (Micikevicius et al., ICLR 2018), where that is faster."""

import contextlib
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from optimizer.recipe.training import MixedPrecision
from optimizer.train.losses import Objective
from optimizer.train.state import Precision

KINDS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# A bit of accuracy is risked, so a little more speed is no reason.
_WORTH = 1.15
_ROUNDS = 3


def computing(precision: Precision, device: str) -> contextlib.AbstractContextManager[object]:
    """Within it the network computes in `precision`."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device, dtype=_DTYPES[precision])


def choose(
    asked: MixedPrecision,
    predictor: nn.Module,
    objective: Objective,
    tensors: tuple[Tensor, ...],
    rows: Tensor,
    device: str,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Precision, str | None]:
    """What to compute in, and a sentence about it where there is something to tell.

    "auto" takes bf16 (fp16 on older ones) on a GPU. On a CPU it times forward and backward passes of one batch,
    `tensors` of the rows `rows`, in turn, and takes bf16 where that is clearly faster; nothing is changed by them.
    """
    if asked == "none":
        return "fp32", None
    if device == "cuda":
        able = torch.cuda.is_bf16_supported()
        chosen: Precision = "fp16" if asked == "fp16" or not able else "bf16"
        return chosen, f"trained in mixed precision ({chosen})"
    if asked == "fp16":
        return "fp32", "trained in 32 bits: fp16 needs a GPU"
    if asked == "bf16":
        return "bf16", "trained in mixed precision (bf16)"
    gain = _gain(predictor, objective, tensors, rows, device, clock)
    faster = gain >= _WORTH
    measured = f"bf16 was {gain:.2f} times as fast as 32 bits in {_ROUNDS} trials on this processor"
    return ("bf16", f"trained in bf16: {measured}") if faster else ("fp32", f"trained in 32 bits: {measured}")


def scaler_of(precision: Precision) -> torch.amp.GradScaler | None:
    """Small gradients vanish in 16-bit floats unless they are scaled; bfloat16 has the range of 32 bits."""
    return torch.amp.GradScaler("cuda") if precision == "fp16" else None


def _gain(
    predictor: nn.Module,
    objective: Objective,
    tensors: tuple[Tensor, ...],
    rows: Tensor,
    device: str,
    clock: Callable[[], float],
) -> float:
    """Median ratio of the times in 32 bits and in bf16; the first pass of each is not counted."""

    def seconds(precision: Precision) -> float:
        started = clock()
        with computing(precision, device):
            loss = objective(predictor(*tensors).float(), rows)
        loss.backward()
        return clock() - started

    was_training = predictor.training
    # Neither statistics of batches nor random states move.
    predictor.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            ratios = [seconds("fp32") / max(seconds("bf16"), 1e-9) for _ in range(1 + _ROUNDS)]
    finally:
        predictor.train(was_training)
        predictor.zero_grad(set_to_none=True)
    return statistics.median(ratios[1:])
