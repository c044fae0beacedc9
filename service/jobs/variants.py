"""Inserts a variant's row, with the rows of its blobs, if it answers to the model's signature."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from optimizer.artifact.manifest import Manifest, Verdict
from optimizer.artifact.signature import Signature, TensorSpec
from service.errors import FailedPrecondition
from service.registry import tables


def insert_variant(
    session: Session, job: tables.Job, manifest: Manifest, files: Sequence[dict[str, Any]], now: datetime
) -> tables.Variant:
    """Adds the variant within the open transaction; the first source gives the model its signature.

    Raises FailedPrecondition when the signature is another than the model's.
    """
    _agree_on_signature(job.model, manifest)
    for file in files:
        # Flushed one by one: two files of a variant may have the same content.
        if session.get(tables.Blob, (job.tenant, file["sha256"])) is None:
            blob = {"sha256": file["sha256"], "size_bytes": file["size_bytes"]}
            session.add(tables.Blob(tenant=job.tenant, created_at=now, **blob))
            session.flush()
    variant = tables.Variant(
        tenant=job.tenant,
        model_id=job.model_id,
        checkpoint_id=job.checkpoint_id,
        job_id=job.id,
        name=manifest.name,
        digest=manifest.digest,
        accepted=manifest.accepted,
        verdict=manifest.verdict,
        files=list(files),
        manifest=manifest.model_dump(mode="json"),
        created_at=now,
    )
    session.add(variant)
    session.flush()
    return variant


def _agree_on_signature(model: tables.Model, manifest: Manifest) -> None:
    if model.signature is None and manifest.verdict is Verdict.SOURCE:
        model.signature = manifest.signature.model_dump(mode="json")
    known = None if model.signature is None else Signature.model_validate(model.signature)
    if known is None or not known.promises(manifest.signature):
        raise FailedPrecondition(
            f"the variant's inputs and outputs ({_describe(manifest.signature)}) are not those of model "
            f"{model.name!r} ({'none yet' if known is None else _describe(known)}): push it as another model"
        )


def _describe(signature: Signature) -> str:
    def side(specs: Sequence[TensorSpec]) -> str:
        return ", ".join(f"{spec.name} {spec.datatype}[{','.join(map(str, spec.shape))}]" for spec in specs)

    return f"{side(signature.inputs)} -> {side(signature.outputs)}"
