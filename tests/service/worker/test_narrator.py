"""What a child says becomes events within what was planned, and no more."""

import time
from typing import Any

import pytest

from optimizer.recipe.trial import Progress, StepFinished, StepStarted
from service.worker.narrator import Narrator
from service.worker.progress import Course, Place

KEYS = ("1" * 64, "2" * 64)


@pytest.fixture
def told(installation: Any, leased: Any) -> Any:
    """A narrator of the job's second trial (export, quantize_dynamic), the keys it kept, and its job's events."""

    class Told:
        def __init__(self) -> None:
            lease, leases = leased.lease, leased.leases
            self.kept: list[str] = []
            task = leases.read(lease).tasks[1]
            course = Course(Place(0.5, 0.5), time.monotonic(), 0.5)
            self.narrator = Narrator(leases, lease, task, course, KEYS, self.kept.append, lambda recipe: KEYS)
            self.before = len(self.events(0))

        def events(self, after: int | None = None) -> list[Any]:
            return installation.queue.events("default", leased.lease.job_id, self.before if after is None else after)

    return Told()


def test_steps_are_told_once_and_kept_under_planned_keys(told: Any) -> None:
    told.narrator.happened(StepStarted(step="export", index=0, of=2))
    told.narrator.happened(StepFinished(step="export", key=KEYS[0], seconds=1.25))
    told.narrator.happened(StepStarted(step="quantize_dynamic", index=1, of=2, cached=True))
    assert told.kept == [KEYS[0]]
    assert [(event.kind, event.trial, event.step, event.message) for event in told.events()] == [
        ("step", "int8", "export", "export"),
        ("step", "int8", "export", "export: finished in 1.2 s"),
        ("step", "int8", "quantize_dynamic", "quantize_dynamic: from the cache"),
    ]


@pytest.mark.parametrize("key", ["3" * 64, "../../../blobs", "", "/etc", KEYS[0] + "/.."])
def test_a_key_that_was_not_planned_is_not_kept(told: Any, key: str) -> None:
    told.narrator.happened(StepFinished(step="export", key=key, seconds=0))
    assert told.kept == []
    assert told.events() == []


def test_a_repeated_step_is_kept_once(told: Any) -> None:
    for _ in range(3):
        told.narrator.happened(StepFinished(step="export", key=KEYS[0], seconds=0))
    assert told.kept == [KEYS[0]]
    assert len(told.events()) == 1


def test_steps_that_the_recipe_lacks_are_not_told(told: Any) -> None:
    for index in range(100):
        told.narrator.happened(StepStarted(step="mining", index=index, of=100))
    assert told.events() == []
    for index in range(100):
        told.narrator.happened(StepStarted(step="export", index=index, of=100))
    assert len(told.events()) == 2


def test_progress_is_of_the_whole_job_and_harmless(told: Any) -> None:
    hostile = Progress(step="x\n\x1b[31m" * 99, percent=1e308, loss=float("nan"), message="a\nb" * 999)
    told.narrator.happened(Progress(step="export", percent=50, loss=0.5, message="training"))
    # Too soon after the last one.
    told.narrator.happened(hostile)
    (event,) = told.events()
    assert (event.percent, event.loss, event.message) == (75.0, 0.5, "training")
    told.narrator._told_seconds = 0
    told.narrator.happened(hostile)
    event = told.events()[-1]
    assert (event.percent, event.loss) == (100.0, None)
    assert len(event.step) <= 40
    assert len(event.message) <= 200
    assert "\n" not in event.message + event.step


def test_the_sandboxs_level_is_written_down(installation: Any, told: Any, leased: Any) -> None:
    told.narrator.confined("landlock:7,seccomp")
    assert installation.job(leased.lease.job_id).sandbox == "landlock:7,seccomp"
