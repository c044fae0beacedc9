"""What control asks of the queue: create once, say clearly what is wrong, list, watch, cancel."""

import threading
from typing import Any

import pytest

from optimizer.errors import InvalidRecipe
from optimizer.recipe.export import Export
from optimizer.recipe.quantize import QuantizeDynamic
from optimizer.recipe.recipe import Recipe
from service.errors import FailedPrecondition, InvalidArgument, LeaseLost, NotFound
from service.jobs.states import JobState, TrialState

INT8 = Recipe(name="int8", steps=(QuantizeDynamic(),))


def test_a_job_starts_with_the_source(jobs: Any) -> None:
    job = jobs.queue.get("default", jobs.create(INT8, INT8))
    assert job.state is JobState.QUEUED
    assert (job.model, job.checkpoint) == ("digits", "r1")
    assert [(trial.ordinal, trial.recipe, trial.state) for trial in job.trials] == [
        (1, "fp32", TrialState.QUEUED),
        (2, "int8", TrialState.QUEUED),
    ]


def test_no_recipes_means_the_default_set(jobs: Any) -> None:
    job = jobs.queue.get("default", jobs.queue.create("default", "digits"))
    assert [trial.recipe for trial in job.trials] == ["fp32", "int8-dynamic", "int8", "fp16"]


def test_a_forecast_names_what_would_be_tried_and_starts_nothing(jobs: Any) -> None:
    told = jobs.queue.forecast("default", "digits")
    assert [trial.recipe for trial in told.trials] == ["fp32", "int8-dynamic", "int8", "fp16"]
    assert told.goes_on
    assert all(trial.why for trial in told.trials)
    assert not jobs.queue.list("default")
    asked = jobs.queue.forecast("default", "digits", recipes=[INT8])
    assert ([trial.recipe for trial in asked.trials], asked.goes_on) == (["fp32", "int8"], False)
    with pytest.raises(NotFound):
        jobs.queue.forecast("default", "nobody")


def test_a_checkpoint_with_a_source_is_not_exported_again(jobs: Any) -> None:
    jobs.create(INT8)
    lease = jobs.take()
    jobs.publish(lease, 1)
    job = jobs.queue.get("default", jobs.create(INT8))
    assert [trial.recipe for trial in job.trials] == ["int8"]


def test_the_same_request_gives_the_same_job(jobs: Any) -> None:
    first = jobs.create(INT8, request_id="once")
    assert jobs.create(INT8, request_id="once") == first
    assert jobs.create(INT8, request_id="twice") != first
    jobs.push("other")
    with pytest.raises(InvalidArgument, match="belongs to a job of another model"):
        jobs.create(INT8, model="other", request_id="once")
    # Tenants do not see each other's requests.
    with pytest.raises(NotFound):
        jobs.queue.create("somebody", "digits", request_id="once")


def test_many_retries_at_once_make_one_job(jobs: Any) -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append(jobs.create(INT8, request_id="once"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(made)) == 1
    assert len(jobs.queue.list("default")) == 1


def test_the_newest_checkpoint_is_taken_unless_named(jobs: Any) -> None:
    jobs.push("grown", revisions=2)
    assert jobs.queue.get("default", jobs.create(INT8, model="grown")).checkpoint == "r2"
    assert jobs.queue.get("default", jobs.create(INT8, model="grown", checkpoint="r1")).checkpoint == "r1"


def test_what_is_not_there_is_named(jobs: Any) -> None:
    with pytest.raises(NotFound, match="no model 'nothing'"):
        jobs.create(INT8, model="nothing")
    for name in ("r2", "r0", "2", "r01"):
        with pytest.raises(NotFound, match=f"no checkpoint '{name}'; it has r1 to r1"):
            jobs.create(INT8, checkpoint=name)
    jobs.push("bare", revisions=0)
    with pytest.raises(NotFound, match="no checkpoint yet"):
        jobs.create(INT8, model="bare")
    for ask in (jobs.queue.get, jobs.queue.cancel, jobs.queue.events):
        with pytest.raises(NotFound, match="no job 'nothing'"):
            ask("default", "nothing")
    with pytest.raises(NotFound, match="no model 'nothing'"):
        jobs.queue.list("default", "nothing")


def test_a_model_without_data_cannot_be_optimized(jobs: Any) -> None:
    jobs.push("blind", data=False)
    with pytest.raises(FailedPrecondition, match="push it with --data"):
        jobs.create(INT8, model="blind")


def test_an_impossible_recipe_makes_no_job(jobs: Any) -> None:
    with pytest.raises(InvalidRecipe):
        jobs.create(Recipe(name="exported", steps=(Export(),)))
    assert jobs.queue.list("default") == []


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"budget_seconds": -1.0}, "budget_seconds"),
        ({"budget_seconds": float("inf")}, "budget_seconds"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"request_id": "x" * 65}, "request_id"),
    ],
)
def test_a_value_out_of_range_is_named(jobs: Any, options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        jobs.create(INT8, **options)


def test_the_newest_jobs_are_listed_first(jobs: Any) -> None:
    jobs.push("other")
    made = []
    for model in ("digits", "other", "digits"):
        made.append(jobs.create(INT8, model=model))
    assert [job.job_id for job in jobs.queue.list("default")] == made[::-1]
    assert [job.job_id for job in jobs.queue.list("default", "other")] == [made[1]]
    assert [job.job_id for job in jobs.queue.list("default", limit=1)] == [made[2]]
    assert jobs.queue.list("somebody") == []


def test_events_are_numbered_without_gaps_and_can_be_resumed(jobs: Any) -> None:
    job_id = jobs.create(INT8)
    lease = jobs.take()
    jobs.publish(lease, 1)
    jobs.leases.finish(lease)
    events = jobs.queue.events("default", job_id)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [event.kind for event in events] == ["state", "state", "trial", "published", "state"]
    assert [event.percent for event in events] == [0, 0, 0, 50, 100]
    assert events[-1].job_state is JobState.SUCCEEDED
    assert jobs.queue.events("default", job_id, 3) == events[3:]
    assert jobs.queue.events("default", job_id, 1, limit=2) == events[1:3]


def test_a_waiting_job_is_cancelled_at_once(jobs: Any) -> None:
    job_id = jobs.create(INT8)
    cancelled = jobs.queue.cancel("default", job_id)
    assert cancelled.state is JobState.CANCELLED
    assert {trial.state for trial in cancelled.trials} == {TrialState.SKIPPED}
    assert cancelled.ended_at == jobs.clock.now
    assert jobs.leases.take("worker", 30) is None
    assert jobs.queue.cancel("default", job_id) == cancelled


def test_a_running_job_is_ended_by_its_worker(jobs: Any) -> None:
    job_id = jobs.create(INT8)
    lease = jobs.take()
    jobs.publish(lease, 1)
    jobs.leases.begin_trial(lease, 2, jobs.hardware)
    assert not jobs.leases.is_cancelled(lease)
    assert jobs.queue.cancel("default", job_id).state is JobState.RUNNING
    assert jobs.leases.is_cancelled(lease)
    before = len(jobs.queue.events("default", job_id))
    jobs.queue.cancel("default", job_id)
    assert len(jobs.queue.events("default", job_id)) == before
    assert jobs.leases.finish(lease, cancelled=True) is JobState.CANCELLED
    assert [trial.state for trial in jobs.queue.get("default", job_id).trials] == [
        TrialState.PUBLISHED,
        TrialState.SKIPPED,
    ]


def test_a_job_whose_worker_is_gone_is_cancelled_without_it(jobs: Any) -> None:
    job_id = jobs.create(INT8)
    lease = jobs.take(seconds=30)
    jobs.clock.advance(31)
    assert jobs.queue.cancel("default", job_id).state is JobState.CANCELLED
    with pytest.raises(LeaseLost):
        jobs.leases.heartbeat(lease)


def test_a_cancel_outlives_the_worker_that_was_asked(jobs: Any) -> None:
    job_id = jobs.create(INT8)
    jobs.take(seconds=30)
    jobs.queue.cancel("default", job_id)
    jobs.clock.advance(31)
    assert jobs.leases.take("next", 30) is None
    assert jobs.queue.get("default", job_id).state is JobState.CANCELLED
