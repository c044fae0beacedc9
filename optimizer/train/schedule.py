"""The learning rate over time: linear warm-up, then half a cosine down to zero (Loshchilov and Hutter, 2017)."""

import math


def warmup_cosine(step: int, steps: int, warmup_share: float) -> float:
    """Factor in (0, 1] of the peak learning rate for update `step` of `steps` (counted from 0)."""
    if not 0 <= step < steps:
        raise ValueError(f"step {step} is not one of {steps}")
    warmup = round(warmup_share * steps)
    if step < warmup:
        return (step + 1) / warmup
    # The last update still moves: the curve reaches zero one step after the end.
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
