"""What a worker needs to know to do a job: plain values read in one snapshot."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from optimizer.artifact.manifest import Hardware, Manifest, Verdict
from optimizer.recipe.objective import Objective
from optimizer.recipe.recipe import Recipe
from service.jobs.planning import Published, Work
from service.jobs.request import Asked
from service.jobs.states import TrialState
from service.registry import tables


@dataclass(frozen=True)
class Task:
    """One recipe to try."""

    ordinal: int
    recipe: Recipe
    state: TrialState
    # JSON of TrialSpec.study; None for a plain trial.
    study: dict[str, Any] | None = None


@dataclass(frozen=True)
class SourceFiles:
    """The checkpoint's published source, against which everything is compared."""

    name: str
    # [{"path", "sha256", "size_bytes"}]
    files: Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Assignment:
    """A job with everything that its trials start from."""

    tenant: str
    model: str
    # What the model's owner said that the data is for ("classification", "causal_lm").
    model_task: str
    revision: str
    checkpoint_digest: str
    checkpoint_format: str
    # [{"path", "sha256", "size_bytes"}]
    checkpoint_files: Sequence[dict[str, Any]]
    dataset_digest: str
    # {split: {"path", "sha256", "size_bytes", "rows"}}
    dataset_files: dict[str, dict[str, Any]]
    objective: Objective
    budget_seconds: float
    seed: int
    # Whether trials are added as results come in.
    auto: bool
    started_at: datetime
    tasks: tuple[Task, ...]


def assignment(job: tables.Job) -> Assignment:
    """The job as values. The row's session must be open, and the job must have been started."""
    assert job.started_at is not None
    asked = Asked.from_json(job.request)
    return Assignment(
        tenant=job.tenant,
        model=job.model.name,
        model_task=job.model.task,
        revision=job.checkpoint.name,
        checkpoint_digest=job.checkpoint.digest,
        checkpoint_format=job.checkpoint.format,
        checkpoint_files=job.checkpoint.files,
        dataset_digest=job.dataset.digest,
        dataset_files=job.dataset.files,
        objective=asked.objective,
        budget_seconds=asked.budget_seconds,
        seed=asked.seed,
        auto=asked.auto,
        started_at=job.started_at,
        tasks=tuple(
            Task(trial.ordinal, Recipe.model_validate(trial.recipe), TrialState(trial.state), trial.study)
            for trial in job.trials
        ),
    )


def source_row(session: Session, checkpoint_id: int) -> tables.Variant | None:
    """The checkpoint's oldest published source."""
    return session.scalars(
        select(tables.Variant)
        .where(tables.Variant.checkpoint_id == checkpoint_id, tables.Variant.verdict == Verdict.SOURCE)
        .order_by(tables.Variant.id)
        .limit(1)
    ).first()


def work_of(job: tables.Job, recipe: Recipe) -> Work:
    """What decides the result of trying `recipe` in `job`."""
    return Work(
        recipe_digest=recipe.digest,
        dataset_digest=job.dataset.digest,
        seed=job.request["seed"],
        objective=Asked.from_json(job.request).objective,
    )


def published_variants(session: Session, checkpoint_id: int) -> list[Published]:
    """Every variant of the checkpoint, with the work that made it."""
    rows = session.execute(
        select(tables.Variant.manifest, tables.Job.request)
        .join(tables.Job, tables.Variant.job_id == tables.Job.id)
        .where(tables.Variant.checkpoint_id == checkpoint_id)
        .order_by(tables.Variant.id)
    )
    return [_published(Manifest.model_validate(manifest), request) for manifest, request in rows]


def _published(manifest: Manifest, request: dict[str, Any]) -> Published:
    hardware: Hardware | None = manifest.measurements[-1].hardware if manifest.measurements else None
    return Published(
        name=manifest.name,
        recipe=manifest.lineage.recipe,
        work=Work(
            recipe_digest=manifest.lineage.recipe_digest,
            dataset_digest=manifest.lineage.dataset_digest,
            seed=manifest.lineage.seed,
            objective=Asked.from_json(request).objective,
        ),
        hardware=hardware,
    )
