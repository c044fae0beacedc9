"""The changes of a job's row that control and worker share: moving its state, adding an event. One open transaction."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.jobs.states import JobState, TrialState, has_ended, may_become
from service.jobs.views import Happening
from service.registry import tables


def add_event(session: Session, job: tables.Job, happening: Happening, now: datetime) -> None:
    """Adds the job's next event. The caller holds the job's row, so the sequence has neither gap nor double."""
    session.flush()
    last = session.scalars(
        select(tables.JobEvent)
        .where(tables.JobEvent.job_id == job.id)
        .order_by(tables.JobEvent.sequence.desc())
        .limit(1)
    ).first()
    session.add(
        tables.JobEvent(
            job_id=job.id,
            sequence=1 if last is None else last.sequence + 1,
            tenant=job.tenant,
            created_at=now,
            body=happening.body(job.state, 0.0 if last is None else last.body["percent"]),
        )
    )


def move_job(session: Session, job: tables.Job, state: JobState, now: datetime, message: str = "") -> None:
    """Moves the job to `state` and says so in an event. An end closes the lease."""
    present = JobState(job.state)
    assert may_become(present, state), f"a job cannot go from {present} to {state}"
    job.state = state
    if has_ended(state):
        job.ended_at = now
        job.lease_expires_at = None
    percent = 100.0 if has_ended(state) else None
    add_event(session, job, Happening("state", percent=percent, message=message or state), now)


def move_trial(trial: tables.Trial, state: TrialState, reason: str = "") -> None:
    """Moves a trial of the job to `state`."""
    present = TrialState(trial.state)
    assert may_become(present, state), f"a trial cannot go from {present} to {state}"
    trial.state = state
    trial.reason = reason


def skip_rest(job: tables.Job, reason: str) -> None:
    """Skips every trial that has not ended."""
    for trial in job.trials:
        if not has_ended(TrialState(trial.state)):
            move_trial(trial, TrialState.SKIPPED, reason)
