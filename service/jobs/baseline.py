"""Which variant of an earlier revision a new one is compared with, on the same rows of the same data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from optimizer.artifact.manifest import EVALUATION_FILE, Manifest, Verdict
from service.registry import tables


@dataclass(frozen=True)
class Baseline:
    """A variant whose answers are known."""

    name: str
    # Its evaluation.npz: {"path", "sha256", "size_bytes"}.
    file: dict[str, Any]
    rows_digest: str
    metric: str


@dataclass(frozen=True)
class Candidate:
    """A measured variant of an earlier revision."""

    revision: int
    recipe: str
    is_source: bool
    baseline: Baseline


def choose(candidates: Sequence[Candidate], recipe: str) -> Baseline | None:
    """Of the newest revision among `candidates` (oldest first): its newest of this recipe, else its newest source."""
    newest = max((candidate.revision for candidate in candidates), default=None)
    last = [candidate for candidate in reversed(candidates) if candidate.revision == newest]
    alike = [candidate for candidate in last if candidate.recipe == recipe]
    sources = [candidate for candidate in last if candidate.is_source]
    return next((candidate.baseline for candidate in (*alike, *sources)), None)


def baseline_of(session: Session, job: tables.Job, recipe: str) -> Baseline | None:
    """What a variant of the job by this recipe is compared with; None where no earlier revision was measured so.

    The same data and the same seed make the same evaluation rows.
    """
    rows = session.execute(
        select(tables.Checkpoint.revision, tables.Variant)
        .join(tables.Variant, tables.Variant.checkpoint_id == tables.Checkpoint.id)
        .where(
            tables.Variant.model_id == job.model_id,
            tables.Checkpoint.revision < job.checkpoint.revision,
        )
        .order_by(tables.Variant.id)
    )
    found = [_candidate(revision, variant, job) for revision, variant in rows]
    return choose([candidate for candidate in found if candidate is not None], recipe)


def _candidate(revision: int, variant: tables.Variant, job: tables.Job) -> Candidate | None:
    manifest = Manifest.model_validate(variant.manifest)
    file = next((file for file in variant.files if file["path"] == EVALUATION_FILE), None)
    if file is None or not manifest.measurements or manifest.lineage.seed != job.request["seed"]:
        return None
    measurement = manifest.measurements[-1]
    if measurement.dataset_digest != job.dataset.digest:
        return None
    baseline = Baseline(variant.name, file, measurement.rows_digest, measurement.metric.name)
    return Candidate(revision, manifest.lineage.recipe, manifest.verdict is Verdict.SOURCE, baseline)
