"""The states of a job and of a trial, and which may follow which."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar


class JobState(StrEnum):
    """Where a job stands.

        QUEUED ⇄ RUNNING ──→ SUCCEEDED
           │        ├──────→ FAILED
           └────────┴──────→ CANCELLED

    RUNNING goes back to QUEUED when its worker is asked to stop. A job whose worker died stays RUNNING until another
    worker takes its expired lease.
    """

    QUEUED = "queued"
    RUNNING = "running"
    # The source exists; every other recipe has its result, good or bad.
    SUCCEEDED = "succeeded"
    # The source could not be made.
    FAILED = "failed"
    CANCELLED = "cancelled"


class TrialState(StrEnum):
    """Where one recipe of a job stands.

        QUEUED ⇄ RUNNING ──→ PUBLISHED | STUDIED
           │        ├──────→ FAILED
           └────────┴──────→ SKIPPED

    RUNNING goes back to QUEUED when its worker died or was asked to stop. QUEUED goes straight to FAILED when it has
    killed its worker too often.
    """

    QUEUED = "queued"
    RUNNING = "running"
    # A variant exists, whatever the gate said of it.
    PUBLISHED = "published"
    # A study has ended; its finalists were added to the job as trials of their own.
    STUDIED = "studied"
    FAILED = "failed"
    # Not attempted, or given up without fault: does not apply, no time left, cancelled.
    SKIPPED = "skipped"


_JOB: Mapping[JobState, frozenset[JobState]] = MappingProxyType(
    {
        JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
        JobState.RUNNING: frozenset({JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
    }
)

_TRIAL: Mapping[TrialState, frozenset[TrialState]] = MappingProxyType(
    {
        TrialState.QUEUED: frozenset({TrialState.RUNNING, TrialState.FAILED, TrialState.SKIPPED}),
        TrialState.RUNNING: frozenset(set(TrialState) - {TrialState.RUNNING}),
    }
)

_State = TypeVar("_State", JobState, TrialState)


def may_become(present: _State, following: _State) -> bool:
    """Whether a job, or a trial, in state `present` may go over to `following`."""
    if isinstance(present, JobState):
        return following in _JOB.get(present, frozenset())
    return following in _TRIAL.get(present, frozenset())


def has_ended(state: JobState | TrialState) -> bool:
    """Whether nothing can follow."""
    return not (_JOB.get(state) if isinstance(state, JobState) else _TRIAL.get(state))
