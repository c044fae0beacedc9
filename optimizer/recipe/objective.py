"""What a job is to reach: how much quality may be lost, what must hold, and what is best among all that holds."""

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Preference = Literal["latency", "size", "memory", "accuracy"]
PREFERENCES: tuple[Preference, ...] = get_args(Preference)


class Objective(BaseModel):
    """Constraints on a variant against its source, and what to prefer among those that keep them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Largest accepted loss of the metric against the source, as a fraction (0.01 = one point).
    max_accuracy_drop: float = Field(default=0.01, ge=0, lt=1)
    prefer: Preference = "latency"
    # Largest 95th percentile of the latency at batch 1. None: no limit.
    max_p95_ms: float | None = Field(default=None, gt=0)
    # Largest model.onnx. None: no limit.
    max_size_bytes: int | None = Field(default=None, ge=1)
