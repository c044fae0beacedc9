"""The learning rate over time: linear warm-up, then constant, exponential or half a cosine, as pure functions."""

import math

from optimizer.recipe.training import Schedule


def factor(schedule: Schedule, step: int, steps: int, warmup_share: float, gamma: float, per_epoch: int) -> float:
    """Factor in (0, 1] of the peak learning rate for update `step` of `steps` (counted from 0).

    After a linear warm-up: "constant" stays, "exponential" is gamma^t after t epochs, "cosine" is (1 + cos(pi t)) / 2
    with t from 0 to 1 over what is left (Loshchilov and Hutter, 2017). "plateau" stays here, since it follows the
    training's progress: see `plateau`.
    """
    if not 0 <= step < steps:
        raise ValueError(f"step {step} is not one of {steps}")
    warmup = round(warmup_share * steps)
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "cosine":
        # The last update still moves: the curve reaches zero one step after the end.
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
    if schedule == "exponential":
        # Never so small that it is no number any more.
        return max(math.exp(math.log(gamma) * (step - warmup) / per_epoch), 1e-12)
    return 1.0


def plateau(epochs_without_progress: int, present: float, gamma: float) -> float:
    """What is left of the learning rate after an epoch: gamma of it when the second in a row brought no progress."""
    return present * gamma if epochs_without_progress and epochs_without_progress % 2 == 0 else present
