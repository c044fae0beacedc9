"""A registry that holds one model with a checkpoint and data, and a clock that tests move by hand."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker

from optimizer.artifact.inspected import InputFacts, Inspection
from optimizer.artifact.manifest import Hardware, Lineage, Manifest, Verdict
from optimizer.artifact.signature import Signature, TensorSpec
from optimizer.recipe.quantize import QuantizeDynamic
from optimizer.recipe.recipe import Recipe
from service.jobs.lease import Lease
from service.jobs.leases import Leases
from service.jobs.queue import JobQueue
from service.registry import tables
from service.registry.database import close, open_registry

CHECKPOINT = "c" * 64
DATASET = "d" * 64


class Clock:
    """Stands still until told otherwise."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Jobs:
    """Both sides of the queue on one registry."""

    sessions: sessionmaker[Session]
    clock: Clock
    queue: JobQueue
    leases: Leases
    hardware: Hardware = field(
        default_factory=lambda: Hardware(cpu="test", cores=1, isa=("avx2",), gpu=None, onnxruntime="1")
    )

    def push(self, name: str = "digits", *, data: bool = True, revisions: int = 1) -> None:
        """A model with checkpoints r1, r2, ..."""
        inspection = Inspection(
            format="onnx",
            kind="tensor",
            classes=2,
            inputs={"x": InputFacts(datatype="FP32", shape=("batch", 4))},
            outputs={"y": InputFacts(datatype="FP32", shape=("batch", 2))},
            operators={"MatMul": 1},
            weights_bytes=1,
        )
        with self.sessions.begin() as session:
            model = tables.Model(
                tenant="default", name=name, task="classification", salt="s", created_at=self.clock.now
            )
            for revision in range(1, revisions + 1):
                model.checkpoints.append(
                    tables.Checkpoint(
                        tenant="default",
                        revision=revision,
                        format="onnx",
                        digest=CHECKPOINT,
                        files=[],
                        inspection=inspection.model_dump(mode="json"),
                        created_at=self.clock.now,
                    )
                )
            if data:
                model.dataset = session.query(tables.Dataset).first() or tables.Dataset(
                    tenant="default",
                    digest=DATASET,
                    files={"all": {"path": "rows.npz", "sha256": DATASET, "size_bytes": 1, "rows": 100}},
                    created_at=self.clock.now,
                )
            session.add(model)

    def create(self, *recipes: Recipe, model: str = "digits", **options: Any) -> str:
        """A job, by default for recipes "fp32" (the source) and "int8"; no two at the same time."""
        self.clock.advance(1)
        return self.queue.create("default", model, recipes=recipes or (int8(),), **options)

    def take(self, owner: str = "worker", seconds: float = 30) -> Lease:
        """A lease that must be there to take."""
        lease = self.leases.take(owner, seconds)
        assert lease is not None
        return lease

    def publish(self, lease: Lease, ordinal: int, **changes: Any) -> Manifest:
        """Begins a trial and publishes a variant of it."""
        begun = self.leases.begin_trial(lease, ordinal, self.hardware)
        assert begun is not None
        job = self.queue.get("default", lease.job_id)
        made = manifest(begun.variant, job.trials[ordinal - 1].recipe, **changes)
        self.leases.publish(lease, ordinal, made, [{"path": "model.onnx", "sha256": "a" * 64, "size_bytes": 1}], 50.0)
        return made

    def variants(self) -> list[str]:
        """Names of all variants, in the order of their publication."""
        with self.sessions() as session:
            return [row.name for row in session.query(tables.Variant).order_by(tables.Variant.id)]


def int8(name: str = "int8", **config: Any) -> Recipe:
    """A recipe for an ONNX checkpoint."""
    return Recipe(name=name, steps=(QuantizeDynamic(**config),))


def signature(classes: int = 2) -> Signature:
    """A signature with one input and one output."""
    return Signature(
        inputs=(TensorSpec(name="x", datatype="FP32", shape=("batch", 4)),),
        outputs=(TensorSpec(name="y", datatype="FP32", shape=("batch", classes)),),
    )


def manifest(name: str, recipe: str, classes: int = 2, **lineage: Any) -> Manifest:
    """A manifest of what recipe "fp32" (the source) or "int8" makes."""
    source = recipe == "fp32"
    return Manifest(
        name=name,
        task="classification",
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
        digest="a" * 64,
        size_bytes=1,
        signature=signature(classes),
        target="cpu",
        lineage=Lineage(
            **{
                "tenant": "default",
                "model": "digits",
                "checkpoint": "r1",
                "checkpoint_digest": CHECKPOINT,
                "parent": None if source else "r1.fp32",
                "recipe": recipe,
                "recipe_digest": Recipe(name="fp32", steps=()).digest if source else int8().digest,
                "steps": (),
                "seed": 0,
                "dataset_digest": DATASET,
                "splits": {},
                "tools": {},
            }
            | lineage
        ),
        measurements=(),
        verdict=Verdict.SOURCE if source else Verdict.ACCEPT,
        reason="" if source else "as good and faster",
    )


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """A queue with the model "digits"."""
    clock = Clock()
    sessions = open_registry(f"sqlite:///{tmp_path / 'registry.sqlite3'}")
    made = Jobs(sessions, clock, JobQueue(sessions, clock), Leases(sessions, clock))
    made.push()
    yield made
    close(sessions)
