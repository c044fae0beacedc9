"""A lease on a job: the right to work on it, which jobs may be had, and whether one is still held."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from service.errors import LeaseLost
from service.jobs.states import JobState, has_ended
from service.registry import tables


@dataclass(frozen=True)
class Lease:
    """The right to work on one job until somebody else is given a newer token."""

    job_id: str
    fencing_token: int
    # How long the lease lasts after each heartbeat.
    seconds: float


def available(now: datetime, seconds: float) -> Any:
    """Selects the oldest job that waits or whose lease has run out."""
    # A lease that ends later than one given just now was written before the clock was set back.
    expired = or_(
        tables.Job.lease_expires_at.is_(None),
        tables.Job.lease_expires_at <= now,
        tables.Job.lease_expires_at > now + timedelta(seconds=2 * seconds),
    )
    return (
        select(tables.Job)
        .where(or_(tables.Job.state == JobState.QUEUED, (tables.Job.state == JobState.RUNNING) & expired))
        .order_by(tables.Job.created_at, tables.Job.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


def held(session: Session, lease: Lease) -> tables.Job:
    """The leased job, locked for this transaction. Raises LeaseLost when somebody else has a newer token."""
    job = session.scalars(select(tables.Job).where(tables.Job.id == lease.job_id).with_for_update()).first()
    if job is None or job.fencing_token != lease.fencing_token or has_ended(JobState(job.state)):
        raise LeaseLost(f"job {lease.job_id} is not held by this worker any more")
    return job
