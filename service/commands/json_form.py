"""The JSON that `--json` prints. docs/cli.md describes it; fields are added, never renamed or removed.

Times are ISO 8601 in UTC; what is unknown or does not apply is null.
"""

import json
import math
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np
import typer

from service.client.figures import Metric
from service.client.resources import File, Job, JobEvent, Model, Plan, Traffic, Variant
from service.client.tensors import Array

Json = dict[str, Any]


def write(value: Json | list[Json]) -> None:
    """Prints one JSON document on stdout, on one line. Numbers that JSON cannot say become null."""
    typer.echo(json.dumps(_sayable(value), ensure_ascii=False, allow_nan=False))


def variant(item: Variant) -> Json:
    """A variant with all its figures."""
    return {
        "name": item.name,
        "model": item.model,
        "checkpoint": item.checkpoint,
        "parent": item.parent,
        "recipe": item.recipe,
        "state": item.state.value,
        "accepted": item.accepted,
        "verdict": item.verdict.value,
        "reason": item.reason,
        "metric": _metric(item.metric),
        "source_metric": _metric(item.source_metric),
        "difference": _metric(item.difference),
        "against": None
        if item.against is None
        else {
            "variant": item.against.variant,
            "metric": _metric(item.against.metric),
            "difference": _metric(item.against.difference),
        },
        "latency_ms": {
            str(latency.batch): {"p50": latency.p50_ms, "p95": latency.p95_ms, "p99": latency.p99_ms}
            for latency in item.latencies
        },
        "speedup": {
            str(latency.batch): None if latency.speedup is None else asdict(latency.speedup)
            for latency in item.latencies
        },
        "size_bytes": item.size_bytes,
        "peak_memory_bytes": item.peak_memory_bytes,
        "target": item.target,
        "traffic": item.traffic,
        "digest": item.digest,
        "files": [_file(file) for file in item.files],
        "created_at": _time(item.created_at),
    }


def job(item: Job) -> Json:
    """A job with its trials."""
    return {
        "job_id": item.job_id,
        "model": item.model,
        "checkpoint": item.checkpoint,
        "state": item.state.value,
        "error": item.error,
        "trials": [
            {
                "ordinal": trial.ordinal,
                "recipe": trial.recipe,
                "state": trial.state.value,
                "variant": trial.variant or None,
                "reason": trial.reason,
                "why": trial.why,
            }
            for trial in item.trials
        ],
        "created_at": _time(item.created_at),
        "started_at": _time(item.started_at),
        "ended_at": _time(item.ended_at),
        "sandbox": item.sandbox,
        "attempts": item.attempts,
    }


def plan(item: Plan) -> Json:
    """What a job would try."""
    return asdict(item)


def event(item: JobEvent) -> Json:
    """One thing that happened in a job."""
    return {
        "sequence": item.sequence,
        "time": _time(item.time),
        "kind": item.kind,
        "trial": item.trial,
        "step": item.step,
        "percent": item.percent,
        "loss": item.loss,
        "eta_seconds": item.eta_seconds,
        "message": item.message,
        "job_state": item.job_state.value,
    }


def pushed(model: Model, revision: str, left_out: tuple[str, ...]) -> Json:
    """What a push made."""
    checkpoint = next(item for item in model.checkpoints if item.revision == revision)
    dataset = model.dataset
    return {
        "model": model.name,
        "task": model.task,
        "checkpoint": {
            "revision": checkpoint.revision,
            "format": checkpoint.format,
            "digest": checkpoint.digest,
            "files": [_file(file) for file in checkpoint.files],
            "created_at": _time(checkpoint.created_at),
        },
        "dataset": None if dataset is None else {"digest": dataset.digest, "rows": dict(dataset.rows)},
        "left_out": list(left_out),
    }


def traffic(item: Traffic) -> Json:
    """A split."""
    return {
        "model": item.model,
        "generation": item.generation,
        "applied_generation": item.applied_generation,
        "applied": item.applied,
        "arms": [{"variant": arm.variant, "weight": arm.weight} for arm in item.arms],
        "warnings": list(item.warnings),
    }


def tensor(array: Array, datatype: str) -> Json:
    """A tensor; its data is nested by axis. Byte strings are shown as text."""
    data = array if array.dtype != np.dtype(object) else np.vectorize(_text, otypes=[object])(array)
    return {"datatype": datatype, "shape": list(array.shape), "data": data.tolist()}


def _text(element: bytes) -> str:
    return element.decode(errors="replace")


def _metric(item: Metric | None) -> Json | None:
    return None if item is None else asdict(item)


def _file(item: File) -> Json:
    return asdict(item)


def _time(item: datetime | None) -> str | None:
    return None if item is None else item.isoformat()


def _sayable(value: Any) -> Any:
    """The value with NaN and infinities as null, which strict JSON has no other word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _sayable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_sayable(item) for item in value]
    return value
