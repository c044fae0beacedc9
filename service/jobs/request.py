"""What a job was asked for: values that are checked once, and their JSON in the job's row."""

import math
from dataclasses import dataclass
from typing import Any

from optimizer.recipe.objective import PREFERENCES, Objective
from service.errors import InvalidArgument

# No ONNX file with a weight in it is smaller, and no call to a session is quicker.
SMALLEST_BYTES = 1024
SHORTEST_MS = 0.001


@dataclass(frozen=True)
class Asked:
    """The wishes of a request that hold for all of its trials."""

    objective: Objective
    # 0: no limit.
    budget_seconds: float
    seed: int
    # Whether recipes are chosen as results come in, rather than given.
    auto: bool

    def to_json(self) -> dict[str, Any]:
        """As the job's row keeps it."""
        return {
            "objective": self.objective.model_dump(mode="json"),
            "budget_seconds": self.budget_seconds,
            "seed": self.seed,
            "auto": self.auto,
        }

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Asked":
        """Reads a job's row; the oldest know of one constraint only."""
        objective = row.get("objective") or {"max_accuracy_drop": row["max_accuracy_drop"]}
        return cls(Objective.model_validate(objective), row["budget_seconds"], row["seed"], row.get("auto", False))


def asked(objective: Objective, budget_seconds: float, seed: int, auto: bool) -> Asked:
    """Checks a request's values. Raises InvalidArgument."""
    if not (math.isfinite(budget_seconds) and budget_seconds >= 0):
        raise InvalidArgument(f"budget_seconds is {budget_seconds}; it must be 0 (no limit) or more")
    if not 0 <= seed < 2**63:
        raise InvalidArgument(f"seed is {seed}; it must be at least 0 and below 2^63")
    return Asked(objective, budget_seconds, seed, auto)


def objective(
    max_accuracy_drop: float = 0.01,
    prefer: str = "",
    max_p95_ms: float | None = None,
    max_size_bytes: int | None = None,
) -> Objective:
    """The objective of a request. Raises InvalidArgument with a sentence when no variant could ever keep it.

    `prefer` "" is latency, or size where only a size is limited.
    """
    if not 0 <= max_accuracy_drop < 1:
        raise InvalidArgument(f"max_accuracy_drop is {max_accuracy_drop}; it must be at least 0 and below 1")
    if max_p95_ms is not None and not SHORTEST_MS <= max_p95_ms < math.inf:
        raise InvalidArgument(f"max_p95_ms is {max_p95_ms}; it must be at least {SHORTEST_MS} and finite")
    if max_size_bytes is not None and max_size_bytes < SMALLEST_BYTES:
        raise InvalidArgument(f"max_size_bytes is {max_size_bytes}; no model is smaller than {SMALLEST_BYTES} bytes")
    if not prefer:
        prefer = "size" if max_size_bytes is not None and max_p95_ms is None else "latency"
    if prefer not in PREFERENCES:
        raise InvalidArgument(f"prefer is {prefer!r}; it must be one of {', '.join(PREFERENCES)}")
    if prefer == "accuracy" and max_p95_ms is None and max_size_bytes is None:
        raise InvalidArgument(
            "nothing is more accurate than the source but by chance: to prefer accuracy, "
            "give a largest latency or a largest size as well"
        )
    return Objective(
        max_accuracy_drop=max_accuracy_drop,
        prefer=prefer,
        max_p95_ms=max_p95_ms,
        max_size_bytes=max_size_bytes,
    )
