"""What every executor does alike: the fake in the caller's thread, and the sandboxed child's parent."""

import sys
from pathlib import Path
from typing import Any

import pytest

from optimizer.artifact.session import SessionSpec
from optimizer.recipe.export import Export
from optimizer.recipe.recipe import Recipe
from optimizer.recipe.trial import (
    CheckpointRef,
    DatasetRef,
    Event,
    Failed,
    Finished,
    Progress,
    StepFinished,
    StepStarted,
    TrialSpec,
)  # fmt: skip
from service.worker.executor import Executor, Interrupted, LocalExecutor, Order
from service.worker.fake_executor import FakeExecutor
from service.worker.trial_directory import TrialDirectory
from service.worker.watchdog import Limits

FAKE_CHILD = (sys.executable, "-m", "service.worker.fake_child")


class Ear:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.levels: list[str] = []
        self.events: list[Event] = []

    def confined(self, level: str) -> None:
        self.levels.append(level)

    def happened(self, event: Any) -> None:
        self.events.append(event)


@pytest.fixture(params=["fake", "local"])
def executor(request: pytest.FixtureRequest) -> Executor:
    if request.param == "fake":
        return FakeExecutor()
    return LocalExecutor(FAKE_CHILD, Limits(2**32, 60, 2**30), require_sandbox=False)


@pytest.fixture
def order(tmp_path: Path) -> Order:
    """The trial of a source."""
    directory = TrialDirectory(tmp_path / "trial")
    directory.create()
    directory.checkpoint.mkdir()
    spec = TrialSpec(
        tenant="default",
        model="digits",
        task="classification",
        variant="r1.fp32",
        checkpoint=CheckpointRef(revision="r1", digest="c" * 64, format="huggingface", directory=directory.checkpoint),
        dataset=DatasetRef(digest="d" * 64, files={}),
        recipe=Recipe(name="fp32", steps=(Export(),)),
        source=None,
        session=SessionSpec(),
        scratch=directory.scratch,
    )
    directory.spec.write_text(spec.model_dump_json())
    return Order(directory)


def test_a_trial_is_told_step_by_step_and_leaves_its_result(executor: Executor, order: Order) -> None:
    ear = Ear()
    outcome = executor.run(order, ear, lambda: False)
    assert isinstance(outcome, Finished)
    assert outcome.manifest.name == "r1.fp32"
    assert len(ear.levels) == 1
    assert [type(event) for event in ear.events] == [StepStarted, Progress, StepFinished]
    assert (order.directory.scratch / "result" / "model.onnx").is_file()


def test_a_failure_is_handed_on(executor: Executor, order: Order) -> None:
    script = order.directory.checkpoint / "script.json"
    script.write_text('{"fail": {"fp32": {"kind": "invalid_dataset", "message": "no rows"}}}')
    assert executor.run(order, Ear(), lambda: False) == Failed(kind="invalid_dataset", message="no rows")


def test_an_unwanted_trial_has_no_result(executor: Executor, order: Order) -> None:
    (order.directory.checkpoint / "script.json").write_text('{"step_seconds": 0.5}')
    ear = Ear()
    assert executor.run(order, ear, lambda: len(ear.events) > 0) == Interrupted()
    assert not (order.directory.scratch / "result").exists()
