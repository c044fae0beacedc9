"""What the rest of the program sees of a job: plain values that outlive the database session."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.jobs.states import JobState, TrialState
from service.registry import tables


@dataclass(frozen=True)
class TrialView:
    """One recipe of a job."""

    ordinal: int
    # Name of the recipe.
    recipe: str
    state: TrialState
    # Name of the published variant; empty when there is none.
    variant: str
    # Why it failed, was skipped, rejected or inconclusive.
    reason: str
    # Why it was chosen; empty for a recipe that the owner gave.
    why: str


@dataclass(frozen=True)
class JobView:
    """A job with its trials in order."""

    job_id: str
    model: str
    # "r1".
    checkpoint: str
    state: JobState
    trials: tuple[TrialView, ...]
    error: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    # Layers of the sandbox that the trials so far ran in; empty before the first.
    sandbox: str
    attempts: int


@dataclass(frozen=True)
class EventView:
    """Something that happened in a job; `sequence` grows by one within it."""

    sequence: int
    time: datetime
    # "trial", "step", "progress", "published", "log" or "state".
    kind: str
    # State of the job at the time.
    job_state: JobState
    # Name of the recipe.
    trial: str
    # Pass that runs.
    step: str
    # 0 to 100, of the whole job; never falls.
    percent: float
    loss: float | None
    # Seconds until the job's end.
    eta_seconds: float | None
    message: str


@dataclass(frozen=True)
class Happening:
    """What a worker says has happened, before it becomes an event of the job."""

    kind: str
    trial: str = ""
    step: str = ""
    # None: as far as the event before.
    percent: float | None = None
    loss: float | None = None
    eta_seconds: float | None = None
    message: str = ""

    def body(self, job_state: str, percent_before: float) -> dict[str, Any]:
        """The event's JSON: percent within 0 to 100 and never falling, no NaN and no infinity."""
        percent = percent_before if self.percent is None or math.isnan(self.percent) else self.percent
        return {
            "kind": self.kind,
            "job_state": job_state,
            "trial": self.trial,
            "step": self.step,
            "percent": min(100.0, max(percent_before, percent)),
            "loss": _finite(self.loss),
            "eta_seconds": _finite(self.eta_seconds),
            "message": self.message,
        }


def job_view(row: tables.Job) -> JobView:
    """The job as values. The row's session must be open."""
    return JobView(
        job_id=row.id,
        model=row.model.name,
        checkpoint=row.checkpoint.name,
        state=JobState(row.state),
        trials=tuple(trial_view(trial) for trial in row.trials),
        error=row.error,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        sandbox=row.sandbox,
        attempts=row.attempts,
    )


def trial_view(row: tables.Trial) -> TrialView:
    """The trial as values. The row's session must be open."""
    return TrialView(
        ordinal=row.ordinal,
        recipe=row.recipe["name"],
        state=TrialState(row.state),
        variant="" if row.variant is None else row.variant.name,
        reason=row.reason,
        why=row.why,
    )


def event_view(row: tables.JobEvent) -> EventView:
    """The event as values."""
    body = row.body
    return EventView(
        sequence=row.sequence,
        time=row.created_at,
        kind=body["kind"],
        job_state=JobState(body["job_state"]),
        trial=body["trial"],
        step=body["step"],
        percent=body["percent"],
        loss=body["loss"],
        eta_seconds=body["eta_seconds"],
        message=body["message"],
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
