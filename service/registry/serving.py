"""What engines are to serve, read from the registry in one snapshot."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload, sessionmaker

from service.registry.database import reading
from service.registry.tables import Checkpoint, Model, Traffic, Variant


@dataclass(frozen=True)
class PublishedVariant:
    """A variant as far as an engine cares."""

    tenant: str
    model: str
    name: str
    # 1 for "r1".
    revision: int
    # Grows in the order of publication.
    ordinal: int
    accepted: bool
    verdict: str
    # Path within the variant to sha256.
    files: dict[str, str]
    manifest: dict[str, Any]


@dataclass(frozen=True)
class Split:
    """The newest generation of a model's traffic."""

    tenant: str
    model: str
    generation: int
    # Variant name to hundredths of a percent.
    arms: dict[str, int]
    salt: str


@dataclass(frozen=True)
class Snapshot:
    """Every published variant and every present split."""

    variants: tuple[PublishedVariant, ...]
    splits: tuple[Split, ...]


# Equal marks mean equal snapshots: variants and generations are only ever added.
Mark = tuple[int, int, int, int]


class ServingRecords:
    """Short reading transactions over all tenants. Thread-safe."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions

    def mark(self) -> Mark:
        """Cheap to ask often."""
        with reading(self._sessions) as session:
            variants = session.execute(select(func.count(), func.coalesce(func.max(Variant.id), 0))).one()
            traffic = session.execute(select(func.count(), func.coalesce(func.max(Traffic.id), 0))).one()
            return (*variants, *traffic)

    def snapshot(self) -> Snapshot:
        """Everything, as of one moment."""
        with reading(self._sessions) as session:
            variants = session.scalars(
                select(Variant)
                .join(Variant.checkpoint)
                .order_by(Variant.model_id, Checkpoint.revision, Variant.id)
                .options(joinedload(Variant.model), joinedload(Variant.checkpoint))
            )
            newest = (
                select(Traffic.model_id, func.max(Traffic.generation).label("generation"))
                .group_by(Traffic.model_id)
                .subquery()
            )
            splits = session.execute(
                select(Traffic, Model)
                .join(Model, Traffic.model_id == Model.id)
                .join(newest, (Traffic.model_id == newest.c.model_id) & (Traffic.generation == newest.c.generation))
                .order_by(Model.id)
            )
            return Snapshot(
                tuple(_variant(row) for row in variants), tuple(_split(traffic, model) for traffic, model in splits)
            )


def _variant(row: Variant) -> PublishedVariant:
    return PublishedVariant(
        tenant=row.tenant,
        model=row.model.name,
        name=row.name,
        revision=row.checkpoint.revision,
        ordinal=row.id,
        accepted=row.accepted,
        verdict=row.verdict,
        files={file["path"]: file["sha256"] for file in row.files},
        manifest=row.manifest,
    )


def _split(traffic: Traffic, model: Model) -> Split:
    return Split(
        tenant=traffic.tenant,
        model=model.name,
        generation=traffic.generation,
        arms={arm["variant"]: arm["basis_points"] for arm in traffic.arms},
        salt=model.salt,
    )
