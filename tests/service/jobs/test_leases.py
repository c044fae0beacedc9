"""Leases: one holder at a time, whoever is late writes nothing, and what is published is published once."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from optimizer.recipe.objective import Objective
from optimizer.recipe.quantize import QuantizeDynamic
from optimizer.recipe.recipe import Recipe
from service.errors import AlreadyExists, FailedPrecondition, LeaseLost
from service.jobs.leases import MAX_ATTEMPTS
from service.jobs.states import JobState, TrialState
from service.jobs.views import Happening
from service.registry import tables

INT8 = Recipe(name="int8", steps=(QuantizeDynamic(),))
PER_TENSOR = Recipe(name="int8", steps=(QuantizeDynamic(per_channel=False),))
FILES = [{"path": "model.onnx", "sha256": "a" * 64, "size_bytes": 1}]


def reclaim(jobs: Any) -> Any:
    """The lease of the job's next holder, after the present one has gone silent."""
    jobs.clock.advance(31)
    return jobs.take()


def test_the_oldest_job_is_taken_first(jobs: Any) -> None:
    made = []
    for _ in range(3):
        made.append(jobs.create())
    assert [jobs.take().job_id for _ in range(3)] == made
    assert jobs.leases.take("worker", 30) is None


def test_a_job_has_one_holder(jobs: Any) -> None:
    jobs.create()
    taken: list[Any] = []
    barrier = threading.Barrier(6)

    def race() -> None:
        barrier.wait()
        taken.append(jobs.leases.take("worker", 30))

    threads = [threading.Thread(target=race) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([lease for lease in taken if lease is not None]) == 1


def test_heartbeats_keep_a_lease_and_silence_loses_it(jobs: Any) -> None:
    job_id = jobs.create()
    lease = jobs.take(seconds=30)
    for _ in range(3):
        jobs.clock.advance(29)
        jobs.leases.heartbeat(lease)
        assert jobs.leases.take("other", 30) is None
    jobs.clock.advance(31)
    # Nobody else has come: the late worker may still go on.
    jobs.leases.heartbeat(lease)
    jobs.clock.advance(31)
    other = jobs.take()
    assert other.fencing_token > lease.fencing_token
    assert jobs.queue.get("default", job_id).attempts == 2
    with pytest.raises(LeaseLost):
        jobs.leases.heartbeat(lease)


def test_a_clock_set_back_strands_no_job(jobs: Any) -> None:
    jobs.create()
    jobs.take(seconds=30)
    jobs.clock.advance(-3600)
    assert jobs.leases.take("other", 30) is not None


@pytest.mark.parametrize(
    "call",
    [
        lambda leases, lease, jobs: leases.heartbeat(lease),
        lambda leases, lease, jobs: leases.is_cancelled(lease),
        lambda leases, lease, jobs: leases.read(lease),
        lambda leases, lease, jobs: leases.source(lease),
        lambda leases, lease, jobs: leases.free_name(lease, "int8"),
        lambda leases, lease, jobs: leases.begin_trial(lease, 1, jobs.hardware),
        lambda leases, lease, jobs: leases.record(lease, Happening("log")),
        lambda leases, lease, jobs: leases.record_sandbox(lease, "none"),
        lambda leases, lease, jobs: leases.step_finished(lease, 1, Happening("step")),
        lambda leases, lease, jobs: leases.publish(lease, 1, jobs.manifest, FILES, 50.0),
        lambda leases, lease, jobs: leases.end_trial(lease, 1, TrialState.FAILED, "late", 50.0),
        lambda leases, lease, jobs: leases.release(lease),
        lambda leases, lease, jobs: leases.finish(lease),
    ],
)
def test_an_outdated_token_moves_nothing(jobs: Any, call: Callable[[Any, Any, Any], object]) -> None:
    job_id = jobs.create()
    late = jobs.take()
    present = reclaim(jobs)
    jobs.manifest = jobs.publish(present, 1)
    before = (jobs.queue.get("default", job_id), jobs.queue.events("default", job_id), jobs.variants())
    with pytest.raises(LeaseLost):
        call(jobs.leases, late, jobs)
    assert (jobs.queue.get("default", job_id), jobs.queue.events("default", job_id), jobs.variants()) == before


def test_a_job_that_has_ended_is_held_by_nobody(jobs: Any) -> None:
    jobs.create()
    lease = jobs.take()
    jobs.publish(lease, 1)
    jobs.leases.finish(lease)
    with pytest.raises(LeaseLost):
        jobs.leases.heartbeat(lease)


def test_a_given_back_job_waits_again_as_if_never_begun(jobs: Any) -> None:
    job_id = jobs.create()
    lease = jobs.take()
    jobs.leases.begin_trial(lease, 1, jobs.hardware)
    jobs.leases.release(lease)
    job = jobs.queue.get("default", job_id)
    assert (job.state, job.attempts, job.trials[0].state) == (JobState.QUEUED, 0, TrialState.QUEUED)
    with pytest.raises(LeaseLost):
        jobs.leases.heartbeat(lease)
    assert jobs.take().job_id == job_id


def test_a_dead_workers_jobs_are_free_at_once(jobs: Any) -> None:
    first, second = jobs.create(), jobs.create()
    jobs.take("dead")
    jobs.take("alive")
    assert jobs.leases.abandon("dead") == 1
    assert jobs.take("next").job_id == first
    assert jobs.leases.take("next", 30) is None
    assert jobs.queue.get("default", second).attempts == 1


def test_publishing_makes_variant_blob_signature_and_event_together(jobs: Any) -> None:
    job_id = jobs.create()
    lease = jobs.take()
    jobs.publish(lease, 1)
    with jobs.sessions() as session:
        variant = session.query(tables.Variant).one()
        assert (variant.name, variant.verdict, variant.accepted, variant.files) == ("r1.fp32", "source", True, FILES)
        assert variant.job_id == job_id
        assert session.query(tables.Blob).one().sha256 == "a" * 64
        assert session.query(tables.Model).one().signature["inputs"][0]["name"] == "x"
    source = jobs.leases.source(lease)
    assert (source.name, source.files) == ("r1.fp32", FILES)


def test_a_taken_name_publishes_nothing(jobs: Any) -> None:
    jobs.create()
    lease = jobs.take()
    made = jobs.publish(lease, 1)
    jobs.leases.begin_trial(lease, 2, jobs.hardware)
    events = len(jobs.queue.events("default", lease.job_id))
    with pytest.raises(AlreadyExists, match=r"r1\.fp32"):
        jobs.leases.publish(lease, 2, made, FILES, 50.0)
    assert jobs.variants() == ["r1.fp32"]
    assert len(jobs.queue.events("default", lease.job_id)) == events
    assert jobs.leases.free_name(lease, "fp32") == "r1.fp32-2"


def test_another_signature_is_another_model(jobs: Any) -> None:
    jobs.create(INT8)
    lease = jobs.take()
    jobs.publish(lease, 1)
    with pytest.raises(FailedPrecondition, match=r"y FP32\[batch,3\].*y FP32\[batch,2\].*another model"):
        jobs.publish(lease, 2, classes=3)
    assert jobs.variants() == ["r1.fp32"]


def test_a_trial_that_kills_its_workers_is_given_up_alone(jobs: Any) -> None:
    job_id = jobs.create(INT8, PER_TENSOR)
    lease = jobs.take()
    jobs.publish(lease, 1)
    for _ in range(MAX_ATTEMPTS):
        assert jobs.leases.begin_trial(lease, 2, jobs.hardware) is not None
        lease = reclaim(jobs)
    assert jobs.leases.begin_trial(lease, 2, jobs.hardware) is None
    job = jobs.queue.get("default", job_id)
    assert job.trials[1].state is TrialState.FAILED
    assert job.trials[1].reason == f"given up: the worker died {MAX_ATTEMPTS} times while it tried this recipe"
    assert jobs.leases.begin_trial(lease, 3, jobs.hardware).variant == "r1.int8"
    jobs.leases.end_trial(lease, 3, TrialState.FAILED, "no", 100.0)
    assert jobs.leases.finish(lease) is JobState.SUCCEEDED


def test_a_job_whose_source_kills_its_workers_fails(jobs: Any) -> None:
    jobs.create()
    lease = jobs.take()
    for _ in range(MAX_ATTEMPTS):
        jobs.leases.begin_trial(lease, 1, jobs.hardware)
        lease = reclaim(jobs)
    assert jobs.leases.begin_trial(lease, 1, jobs.hardware) is None
    assert jobs.leases.finish(lease) is JobState.FAILED
    job = jobs.queue.get("default", lease.job_id)
    assert "the worker died" in job.error
    assert job.trials[1].state is TrialState.SKIPPED


def test_a_finished_step_counts_as_getting_on(jobs: Any) -> None:
    jobs.create()
    lease = jobs.take()
    for _ in range(3 * MAX_ATTEMPTS):
        assert jobs.leases.begin_trial(lease, 1, jobs.hardware) is not None
        jobs.leases.step_finished(lease, 1, Happening("step"))
        lease = reclaim(jobs)


def test_only_the_source_can_fail_a_job(jobs: Any) -> None:
    jobs.create()
    lease = jobs.take()
    jobs.publish(lease, 1)
    jobs.leases.begin_trial(lease, 2, jobs.hardware)
    jobs.leases.end_trial(lease, 2, TrialState.FAILED, "no parity", 100.0)
    assert jobs.leases.finish(lease) is JobState.SUCCEEDED
    jobs.push("other")
    jobs.create(model="other")
    lease = jobs.take()
    jobs.leases.begin_trial(lease, 1, jobs.hardware)
    jobs.leases.end_trial(lease, 1, TrialState.FAILED, "no parity", 50.0)
    assert jobs.leases.finish(lease) is JobState.FAILED
    job = jobs.queue.get("default", lease.job_id)
    assert job.error == "the source could not be made: no parity"
    assert [trial.state for trial in job.trials] == [TrialState.FAILED, TrialState.SKIPPED]


def test_the_same_work_is_not_done_twice(jobs: Any) -> None:
    # Both are planned before either has made anything.
    jobs.create(INT8)
    second = jobs.create(INT8, PER_TENSOR, objective=Objective(max_accuracy_drop=0.01))
    lease = jobs.take()
    jobs.publish(lease, 1)
    jobs.publish(lease, 2)
    jobs.leases.finish(lease)
    lease = jobs.take()
    assert jobs.leases.begin_trial(lease, 1, jobs.hardware) is None
    assert jobs.leases.begin_trial(lease, 2, jobs.hardware) is None
    assert jobs.leases.begin_trial(lease, 3, jobs.hardware).variant == "r1.int8-2"
    job = jobs.queue.get("default", second)
    assert [(trial.state, trial.variant) for trial in job.trials[:2]] == [
        (TrialState.PUBLISHED, "r1.fp32"),
        (TrialState.PUBLISHED, "r1.int8"),
    ]
    assert jobs.variants() == ["r1.fp32", "r1.int8"]


def test_another_margin_is_judged_anew(jobs: Any) -> None:
    jobs.create(INT8)
    lease = jobs.take()
    jobs.publish(lease, 1)
    jobs.publish(lease, 2)
    jobs.leases.finish(lease)
    jobs.create(INT8, objective=Objective(max_accuracy_drop=0.2))
    assert jobs.leases.begin_trial(jobs.take(), 1, jobs.hardware).variant == "r1.int8-2"


def test_waiting_jobs_are_explained_once(jobs: Any) -> None:
    job_id = jobs.create()
    for _ in range(3):
        jobs.leases.explain_waiting("no worker can do it")
    messages = [event.message for event in jobs.queue.events("default", job_id)]
    assert messages.count("no worker can do it") == 1
    assert jobs.queue.get("default", job_id).state is JobState.QUEUED


def test_the_assignment_tells_the_whole_request(jobs: Any) -> None:
    jobs.create(INT8, seed=7, budget_seconds=60.0, objective=Objective(max_accuracy_drop=0.02))
    assignment = jobs.leases.read(jobs.take())
    assert (assignment.seed, assignment.budget_seconds, assignment.objective.max_accuracy_drop) == (7, 60.0, 0.02)
    assert (assignment.model, assignment.revision, assignment.checkpoint_format) == ("digits", "r1", "onnx")
    assert [task.recipe.name for task in assignment.tasks] == ["fp32", "int8"]
    assert assignment.tasks[1].recipe == INT8
