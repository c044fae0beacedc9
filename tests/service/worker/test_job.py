"""One leased job: the order of its trials, what its ends are, and what interrupts it."""

import errno
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.artifact.manifest import MANIFEST_FILE, Manifest, Verdict
from optimizer.recipe.document import parse_yaml
from optimizer.recipe.objective import Objective
from optimizer.recipe.trial import STUDY_FILE, Failed, Finalist, Finished, Studied, TrialSpec
from service.errors import LeaseLost
from service.jobs.assignment import Assignment
from service.jobs.states import JobState, TrialState
from service.worker.executor import INTERNAL, KILLED, Listener, Order, Outcome
from service.worker.fake_executor import FakeExecutor
from service.worker.job import out_of_time
from tests.service.worker.conftest import RECIPES


class Scripted(FakeExecutor):
    """The fake, with something done before a trial of the given ordinal begins."""

    def __init__(self, ordinal: int, act: Callable[[Order, Callable[[], bool]], None]) -> None:
        self._ordinal = ordinal
        self._act = act

    def run(self, order: Order, listener: Listener, interrupted: Callable[[], bool]) -> Outcome:
        if order.directory.root.name.endswith(f"-{self._ordinal}"):
            self._act(order, interrupted)
        return super().run(order, listener, interrupted)


def states(installation: Any, job_id: str) -> list[TrialState]:
    return [trial.state for trial in installation.job(job_id).trials]


def test_every_recipe_becomes_a_variant_and_steps_are_shared(installation: Any, leased: Any) -> None:
    leased.run()
    assert leased.leases.finish(leased.lease) is JobState.SUCCEEDED
    job = installation.job(leased.lease.job_id)
    assert [trial.variant for trial in job.trials] == ["r1.fp32", "r1.int8", "r1.distilled", "r1.small"]
    assert job.sandbox == FakeExecutor.level
    events = installation.queue.events("default", job.job_id)
    assert [event.percent for event in events] == sorted(event.percent for event in events)
    cached = [event.trial for event in events if "from the cache" in event.message]
    assert cached == ["int8"]
    for variant in installation.variants():
        manifest = Manifest.model_validate(variant.manifest)
        files = {file["path"]: file["sha256"] for file in variant.files}
        assert files["model.onnx"] == manifest.digest == variant.digest
        assert all(installation.store.has(sha256) for sha256 in files.values())
        assert manifest.lineage.parent == (None if variant.name == "r1.fp32" else "r1.fp32")
    assert list(leased.workshop.directory.iterdir()) == []


def test_a_second_revision_is_compared_with_the_first_on_the_same_rows(installation: Any, lease_job: Any) -> None:
    installation.push()
    first = lease_job(RECIPES[0])
    first.run()
    first.leases.finish(first.lease)
    installation.push_again()
    second = lease_job(*RECIPES[:2])
    second.run()
    second.leases.finish(second.lease)
    manifests = [Manifest.model_validate(variant.manifest) for variant in installation.variants()]
    against = {manifest.name: manifest.measurements[0].against for manifest in manifests}
    named = {name: None if found is None else found.name for name, found in against.items()}
    assert named == {
        "r1.fp32": None,
        "r1.int8": None,
        "r2.fp32": "r1.fp32",
        "r2.int8": "r1.int8",
        "r2.distilled": "r1.fp32",
    }
    # Another seed splits the data into other rows.
    third = lease_job(RECIPES[2], seed=1)
    third.run()
    assert Manifest.model_validate(installation.variants()[-1].manifest).measurements[0].against is None


def test_a_failing_recipe_is_a_result_and_a_failing_source_ends_the_job(installation: Any, lease_job: Any) -> None:
    fail = {"int8": {"kind": "pass_failed", "message": "no parity"}}
    fail["distilled"] = {"kind": "not_applicable", "message": "it cannot be trained"}
    fail["small"] = {"kind": "internal", "message": "cannot open /srv/x"}
    installation.push(script={"fail": fail})
    leased = lease_job()
    leased.run()
    assert leased.leases.finish(leased.lease) is JobState.SUCCEEDED
    trials = installation.job(leased.lease.job_id).trials
    assert [(trial.state, trial.reason) for trial in trials[1:]] == [
        (TrialState.FAILED, "no parity"),
        (TrialState.SKIPPED, "it cannot be trained"),
        (TrialState.FAILED, "cannot open <path>"),
    ]
    installation.push("broken", script={"fail": {"fp32": {"kind": "invalid_checkpoint", "message": "no weights"}}})
    leased = lease_job(model="broken")
    leased.run()
    assert leased.leases.finish(leased.lease) is JobState.FAILED
    job = installation.job(leased.lease.job_id)
    assert job.error == "the source could not be made: no weights"
    assert [trial.state for trial in job.trials] == [TrialState.FAILED, *[TrialState.SKIPPED] * 3]


def test_no_trial_starts_after_the_budget_but_the_source(installation: Any, lease_job: Any) -> None:
    installation.push()
    leased = lease_job(budget_seconds=1e-6)
    leased.run()
    assert leased.leases.finish(leased.lease) is JobState.SUCCEEDED
    trials = installation.job(leased.lease.job_id).trials
    assert [trial.state for trial in trials] == [TrialState.PUBLISHED, *[TrialState.SKIPPED] * 3]
    assert trials[1].reason == "not tried: the budget of 1e-06 seconds was used up"


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_budget_counts_from_the_first_start(budget: float, elapsed: float) -> None:
    started = datetime(2026, 1, 1, tzinfo=UTC)
    assignment = Assignment("t", "m", "", "r1", "", "", (), "", {}, Objective(), budget, 0, False, started, ())
    now = started + timedelta(seconds=elapsed)
    assert out_of_time(assignment, now) == (0 < budget <= (now - started).total_seconds())


def test_a_cancelled_job_keeps_what_is_finished(installation: Any, leased: Any) -> None:
    def cancel(order: Order, interrupted: Callable[[], bool]) -> None:
        installation.queue.cancel("default", leased.lease.job_id)
        deadline = time.monotonic() + 10
        while not interrupted():
            assert time.monotonic() < deadline
            threading.Event().wait(0.02)

    leased.run(Scripted(3, cancel))
    assert leased.leases.finish(leased.lease, cancelled=True) is JobState.CANCELLED
    assert states(installation, leased.lease.job_id) == [
        TrialState.PUBLISHED,
        TrialState.PUBLISHED,
        TrialState.SKIPPED,
        TrialState.SKIPPED,
    ]


def test_a_stopping_worker_leaves_the_trial_open(installation: Any, leased: Any) -> None:
    leased.run(Scripted(2, lambda order, interrupted: leased.stopping.set()))
    leased.leases.release(leased.lease)
    assert states(installation, leased.lease.job_id) == [TrialState.PUBLISHED, *[TrialState.QUEUED] * 3]
    assert installation.job(leased.lease.job_id).state is JobState.QUEUED


def test_a_lost_lease_drops_the_result(installation: Any, leased: Any) -> None:
    def lose(order: Order, interrupted: Callable[[], bool]) -> None:
        leased.leases.abandon("worker")
        assert leased.leases.take("other", 60) is not None

    with pytest.raises(LeaseLost):
        leased.run(Scripted(2, lose))
    assert [variant.name for variant in installation.variants()] == ["r1.fp32"]
    assert list(leased.workshop.directory.iterdir()) == []


def test_a_name_that_another_worker_took_meanwhile_gets_a_number(installation: Any, lease_job: Any) -> None:
    installation.push()
    leased = lease_job()

    def take_the_name(order: Order, interrupted: Callable[[], bool]) -> None:
        with installation.sessions.begin() as session:
            source = session.get(type(installation.variants()[0]), 1)
            values = {column.key: getattr(source, column.key) for column in source.__table__.columns}
            session.add(type(source)(**(values | {"id": None, "name": "r1.int8", "verdict": "reject"})))

    leased.run(Scripted(2, take_the_name))
    leased.leases.finish(leased.lease)
    assert installation.job(leased.lease.job_id).trials[1].variant == "r1.int8-2"
    (variant,) = (variant for variant in installation.variants() if variant.name == "r1.int8-2")
    assert variant.manifest["name"] == "r1.int8-2"
    (written,) = (file for file in variant.files if file["path"] == "manifest.json")
    assert b'"r1.int8-2"' in installation.store.path(written["sha256"]).read_bytes()


def test_a_full_disk_fails_the_trial_and_the_job_goes_on(installation: Any, leased: Any) -> None:
    def fill(order: Order, interrupted: Callable[[], bool]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(order.directory.root))

    leased.run(Scripted(2, fill))
    assert leased.leases.finish(leased.lease) is JobState.SUCCEEDED
    trials = installation.job(leased.lease.job_id).trials
    assert trials[1].reason == "the worker's disk is full; free some space and optimize again"
    assert [trial.state for trial in trials[2:]] == [TrialState.PUBLISHED] * 2


def test_a_missing_blob_fails_the_trial_without_naming_our_folders(installation: Any, lease_job: Any) -> None:
    installation.push()
    leased = lease_job()
    for digest in list(installation.store.digests()):
        installation.store.delete(digest)
    leased.run()
    trial = installation.job(leased.lease.job_id).trials[0]
    assert (trial.state, trial.reason) == (
        TrialState.FAILED,
        "a file of the checkpoint or of the data set is missing on the worker",
    )


class Lying(FakeExecutor):
    """Hands in another result than the one announced."""

    def run(self, order: Order, listener: Listener, interrupted: Callable[[], bool]) -> Outcome:
        outcome = super().run(order, listener, interrupted)
        assert isinstance(outcome, Finished)
        (order.directory.scratch / "result" / "model.onnx").write_bytes(b"another")
        return outcome


def test_an_untrue_result_is_refused_with_a_reason(installation: Any, leased: Any) -> None:
    leased.run(Lying())
    assert leased.leases.finish(leased.lease) is JobState.FAILED
    reason = installation.job(leased.lease.job_id).trials[0].reason
    assert reason == "the optimizer's result was refused: the manifest is not true to the trial: digest, size"
    assert installation.variants() == []


class Broken(FakeExecutor):
    """Fails in a pass, with a hostile message."""

    def run(self, order: Order, listener: Listener, interrupted: Callable[[], bool]) -> Outcome:
        return Failed(kind=INTERNAL, message="\x1b[31mat /srv/x\nline two" + "x" * 5000, step="export")


def test_a_reason_is_short_plain_and_says_the_step(installation: Any, leased: Any) -> None:
    leased.run(Broken())
    reason = installation.job(leased.lease.job_id).trials[0].reason
    assert reason.startswith("in step export: [31mat <path> line two")
    assert len(reason) < 1100


def test_steps_of_one_tenant_and_checkpoint_stay_theirs(installation: Any, lease_job: Any) -> None:
    installation.push()
    leased = lease_job()
    leased.run()
    leased.leases.finish(leased.lease)
    kept = {path.name for path in (installation.home.cache / "default").iterdir()}
    installation.push("other", script={"step_seconds": 0.0})
    leased = lease_job(model="other")
    leased.run()
    both = {path.name for path in (installation.home.cache / "default").iterdir()}
    assert len(both) == 2 * len(kept)
    events = installation.queue.events("default", leased.lease.job_id)
    assert [event.trial for event in events if "from the cache" in event.message] == ["int8"]


class Deadly(FakeExecutor):
    """Its children are killed from outside the given number of times."""

    def __init__(self, deaths: int) -> None:
        self.deaths = deaths

    def run(self, order: Order, listener: Listener, interrupted: Callable[[], bool]) -> Outcome:
        outcome = super().run(order, listener, interrupted)
        self.deaths -= 1
        return outcome if self.deaths < 0 else Failed(kind=KILLED, message="killed")


def test_a_killed_child_is_tried_again_from_its_last_step(installation: Any, leased: Any) -> None:
    leased.run(Deadly(2))
    assert leased.leases.finish(leased.lease) is JobState.SUCCEEDED
    assert states(installation, leased.lease.job_id) == [TrialState.PUBLISHED] * 4
    events = installation.queue.events("default", leased.lease.job_id)
    assert [event.message for event in events if event.kind == "log"] == [
        "the trial's process was killed; it is tried again"
    ] * 2
    assert [event.trial for event in events if "from the cache" in event.message] == ["fp32", "fp32", "int8"]


def test_a_child_that_is_always_killed_fails(installation: Any, leased: Any) -> None:
    leased.run(Deadly(3))
    assert leased.leases.finish(leased.lease) is JobState.FAILED
    trial = installation.job(leased.lease.job_id).trials[0]
    assert (trial.state, trial.reason) == (TrialState.FAILED, "killed")


class Searching(FakeExecutor):
    """Answers a study with one finalist; every other trial as the fake does."""

    def run(self, order: Order, listener: Listener, interrupted: Callable[[], bool]) -> Outcome:
        spec = TrialSpec.model_validate_json(order.directory.spec.read_bytes())
        if spec.study is None:
            return super().run(order, listener, interrupted)
        folder = order.directory.scratch / "study"
        folder.mkdir()
        (folder / STUDY_FILE).write_bytes(b"storage")
        finalist = spec.recipe.model_copy(update={"name": f"{spec.recipe.name}-1"})
        return Studied(finalists=(Finalist(recipe=finalist, why="on the front"),), why="1 of 5 points is a finalist")


def test_a_study_adds_its_finalists_as_trials(installation: Any, lease_job: Any) -> None:
    installation.push()
    study = parse_yaml(
        "name: tuned\nsteps: [{use: export}, {use: quantize_static}]\nsearch: {space: {2.rows: [32, 64]}, trials: 5}\n"
    )
    leased = lease_job(study)
    leased.run(Searching())
    assert leased.leases.finish(leased.lease) is JobState.SUCCEEDED
    trials = installation.job(leased.lease.job_id).trials
    assert [(trial.recipe, trial.state, trial.why) for trial in trials] == [
        ("fp32", TrialState.PUBLISHED, ""),
        ("tuned", TrialState.STUDIED, ""),
        ("tuned-1", TrialState.PUBLISHED, "on the front"),
    ]
    assert trials[1].reason == "1 of 5 points is a finalist"
    (kept,) = installation.home.studies.glob("*/*")
    assert kept.read_bytes() == b"storage"


def test_a_study_that_was_not_asked_for_fails(installation: Any, leased: Any) -> None:
    class Lying(FakeExecutor):
        def run(self, order: Order, listener: Listener, interrupted: Callable[[], bool]) -> Outcome:
            return Studied(finalists=())

    leased.run(Lying())
    assert leased.leases.finish(leased.lease) is JobState.FAILED
    assert "a study where a variant was asked for" in installation.job(leased.lease.job_id).trials[0].reason


class Accepting(FakeExecutor):
    """The fake, whose variants are all accepted."""

    def run(self, order: Order, listener: Listener, interrupted: Callable[[], bool]) -> Outcome:
        outcome = super().run(order, listener, interrupted)
        if not isinstance(outcome, Finished) or outcome.manifest.lineage.parent is None:
            return outcome
        manifest = outcome.manifest.model_copy(update={"verdict": Verdict.ACCEPT})
        (order.directory.scratch / "result" / MANIFEST_FILE).write_text(manifest.model_dump_json())
        return Finished(manifest=manifest)


def test_an_automatic_job_goes_on_where_its_results_point(installation: Any, lease_job: Any) -> None:
    installation.push()
    automatic = installation.queue.create("default", "digits")
    leased = lease_job()
    assert leased.lease.job_id == automatic
    before = len(installation.job(automatic).trials)
    leased.run(Accepting())
    assert leased.leases.finish(leased.lease) is JobState.SUCCEEDED
    trials = installation.job(automatic).trials
    assert all(trial.why for trial in trials)
    added = [trial.recipe for trial in trials[before:]]
    assert added
    assert added[0].startswith("narrower-")
    assert len(set(added)) == len(added)
    last = installation.queue.events("default", automatic)[-2]
    assert last.message.startswith("stopped"), last
