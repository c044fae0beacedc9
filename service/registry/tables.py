"""The registry's tables, the same on SQLite and PostgreSQL. The tenant is part of every unique key."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, DateTime, ForeignKey, Index, MetaData, String, TypeDecorator, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite stores it without its zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Stores UTC. Refuses naive times."""
        if value is not None and value.tzinfo is None:
            raise ValueError("naive datetime")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Gives the zone back."""
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Root of the mapping. Constraints have predictable names, since a later migration must name what it changes."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {datetime: UtcDateTime, dict[str, Any]: JSON, list[Any]: JSON}


class Blob(Base):
    """A content-addressed file that rows may refer to."""

    __tablename__ = "blobs"

    tenant: Mapped[str] = mapped_column(String(63), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]


class Upload(Base):
    """A file on its way in; its bytes lie in uploads/<id>.part until the digest is verified."""

    __tablename__ = "uploads"
    __table_args__ = (Index("uploads_by_digest", "tenant", "sha256"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(63))
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    complete: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]


class Model(Base):
    """A name, a task and (after the first source) one signature."""

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("tenant", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(String(63))
    name: Mapped[str] = mapped_column(String(128))
    task: Mapped[str] = mapped_column(String(32))
    # JSON of optimizer.artifact.signature.Signature; null until the first source is published.
    signature: Mapped[dict[str, Any] | None]
    # Salt of the sticky hash; constant for the model's life.
    salt: Mapped[str] = mapped_column(String(32))
    dataset_id: Mapped[int | None] = mapped_column(ForeignKey("datasets.id"))
    created_at: Mapped[datetime]

    checkpoints: Mapped[list["Checkpoint"]] = relationship(back_populates="model", order_by="Checkpoint.revision")
    dataset: Mapped["Dataset | None"] = relationship(foreign_keys=[dataset_id])


class Checkpoint(Base):
    """A revision of a model, immutable."""

    __tablename__ = "checkpoints"
    __table_args__ = (UniqueConstraint("tenant", "model_id", "revision"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(String(63))
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    # 1 for "r1".
    revision: Mapped[int]
    format: Mapped[str] = mapped_column(String(32))
    digest: Mapped[str] = mapped_column(String(64))
    # [{"path", "sha256", "size_bytes"}]
    files: Mapped[list[Any]]
    # What inspection found ("kind", "classes", ...), to choose the default recipes by.
    inspection: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]

    model: Mapped[Model] = relationship(back_populates="checkpoints")

    @property
    def name(self) -> str:
        """The revision's name, "r1"."""
        return f"r{self.revision}"


class Dataset(Base):
    """A labelled (or unlabelled) data set, immutable, by digest."""

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("tenant", "digest"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(String(63))
    digest: Mapped[str] = mapped_column(String(64))
    # {split: {"path", "sha256", "size_bytes", "rows"}}
    files: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Job(Base):
    """One optimization request. States and their legal transitions: service.jobs.states."""

    __tablename__ = "jobs"
    __table_args__ = (UniqueConstraint("tenant", "request_id"), Index("jobs_by_state", "state", "created_at"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(63))
    request_id: Mapped[str] = mapped_column(String(64))
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    checkpoint_id: Mapped[int] = mapped_column(ForeignKey("checkpoints.id"))
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"))
    state: Mapped[str] = mapped_column(String(16))
    # JSON of service.jobs.request.Asked.
    request: Mapped[dict[str, Any]]
    error: Mapped[str] = mapped_column(default="")
    sandbox: Mapped[str] = mapped_column(default="")
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    # The lease: who works on it, until when, and the token that only the newest holder has.
    lease_owner: Mapped[str] = mapped_column(String(64), default="")
    lease_expires_at: Mapped[datetime | None]
    fencing_token: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    model: Mapped[Model] = relationship()
    checkpoint: Mapped[Checkpoint] = relationship()
    dataset: Mapped[Dataset] = relationship()
    trials: Mapped[list["Trial"]] = relationship(back_populates="job", order_by="Trial.ordinal")


class Trial(Base):
    """One recipe tried in a job."""

    __tablename__ = "trials"
    __table_args__ = (UniqueConstraint("tenant", "job_id", "ordinal"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(String(63))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    ordinal: Mapped[int]
    # JSON of optimizer.recipe.recipe.Recipe.
    recipe: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16))
    variant_id: Mapped[int | None] = mapped_column(ForeignKey("variants.id"))
    reason: Mapped[str] = mapped_column(default="")
    # Times it was begun since it last finished a step: what kills its worker again and again is given up.
    attempts: Mapped[int] = mapped_column(default=0)
    # Why it was chosen; empty for a recipe that the owner gave.
    why: Mapped[str] = mapped_column(default="", server_default="")
    # JSON of TrialSpec.study; null for a plain trial.
    study: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))

    job: Mapped[Job] = relationship(back_populates="trials")
    variant: Mapped["Variant | None"] = relationship()


class JobEvent(Base):
    """What a watcher sees; the sequence grows by one within a job."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str] = mapped_column(String(63))
    created_at: Mapped[datetime]
    # {"kind", "job_state", "trial", "step", "percent", "loss", "eta_seconds", "message"}
    body: Mapped[dict[str, Any]]


class Variant(Base):
    """A published ONNX artefact. It exists if and only if this row is committed."""

    __tablename__ = "variants"
    __table_args__ = (UniqueConstraint("tenant", "model_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(String(63))
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    checkpoint_id: Mapped[int] = mapped_column(ForeignKey("checkpoints.id"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    name: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64))
    accepted: Mapped[bool]
    verdict: Mapped[str] = mapped_column(String(16))
    # [{"path", "sha256", "size_bytes"}]
    files: Mapped[list[Any]]
    # JSON of optimizer.artifact.manifest.Manifest.
    manifest: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]

    model: Mapped[Model] = relationship()
    checkpoint: Mapped[Checkpoint] = relationship()


class Traffic(Base):
    """A generation of a model's desired split."""

    __tablename__ = "traffic"
    __table_args__ = (UniqueConstraint("tenant", "model_id", "generation"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(String(63))
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    generation: Mapped[int]
    # [{"variant", "basis_points"}]
    arms: Mapped[list[Any]]
    actor: Mapped[str] = mapped_column(String(128))
    reason: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime]

    model: Mapped[Model] = relationship()
