"""No state leads out of an end, and every state leads to one."""

import pytest

from service.jobs.states import JobState, TrialState, has_ended, may_become

JOB_ENDS = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
TRIAL_ENDS = {TrialState.PUBLISHED, TrialState.STUDIED, TrialState.FAILED, TrialState.SKIPPED}


@pytest.mark.parametrize("state", JobState)
def test_job_ends_are_final(state: JobState) -> None:
    assert has_ended(state) == (state in JOB_ENDS)
    assert has_ended(state) != any(may_become(state, following) for following in JobState)


@pytest.mark.parametrize("state", TrialState)
def test_trial_ends_are_final(state: TrialState) -> None:
    assert has_ended(state) == (state in TRIAL_ENDS)
    assert has_ended(state) != any(may_become(state, following) for following in TrialState)


@pytest.mark.parametrize("ends", [JOB_ENDS, TRIAL_ENDS])
def test_every_end_can_be_reached_by_running(ends: set[JobState] | set[TrialState]) -> None:
    states = type(next(iter(ends)))
    assert all(may_become(states.RUNNING, end) for end in ends)
    assert may_become(states.RUNNING, states.QUEUED)
    assert may_become(states.QUEUED, states.RUNNING)


def test_nothing_is_published_that_has_not_run() -> None:
    assert not may_become(TrialState.QUEUED, TrialState.PUBLISHED)
    assert not may_become(JobState.QUEUED, JobState.SUCCEEDED)
