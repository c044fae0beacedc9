"""What may be asked of an optimization, and how it is put into a request."""

import uuid
from collections.abc import Sequence
from typing import TypedDict

from service.wire.stillroom.v1 import optimization_service_pb2 as wire


class Wishes(TypedDict, total=False):
    """All of them may be left out."""

    # Revision to start from ("r2"); the newest.
    checkpoint: str
    # YAML documents; none: the server chooses.
    recipes: Sequence[str]
    # A fraction: 0.01 is one point.
    max_accuracy_drop: float | None
    max_p95_ms: float | None
    max_size_bytes: int | None
    # "latency", "size", "memory" or "accuracy".
    prefer: str
    # 0: no limit.
    budget_seconds: float
    seed: int
    # The same one gives the same job, so a caller that chooses one may call again after a lost connection.
    request_id: str


def request_of(model: str, wishes: Wishes) -> wire.CreateOptimizationRequest:
    """The request; without a request_id a fresh one is drawn."""
    return wire.CreateOptimizationRequest(
        model=model,
        checkpoint=wishes.get("checkpoint", ""),
        recipes_yaml=wishes.get("recipes", ()),
        max_accuracy_drop=wishes.get("max_accuracy_drop"),
        max_p95_ms=wishes.get("max_p95_ms"),
        max_size_bytes=wishes.get("max_size_bytes"),
        prefer=wishes.get("prefer", ""),
        budget_seconds=wishes.get("budget_seconds", 0.0),
        seed=wishes.get("seed", 0),
        request_id=wishes.get("request_id") or uuid.uuid4().hex,
    )
