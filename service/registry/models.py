"""Rows of models, their checkpoints and their data sets."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload, selectinload, sessionmaker
from sqlalchemy.orm.interfaces import ORMOption

from service.errors import Conflict, NotFound
from service.registry.database import reading
from service.registry.tables import Checkpoint, Dataset, Model


@dataclass(frozen=True)
class NewCheckpoint:
    """An inspected checkpoint. `files` as tables.Checkpoint keeps them."""

    format: str
    digest: str
    files: list[Any]
    inspection: dict[str, Any]


@dataclass(frozen=True)
class NewDataset:
    """An inspected data set. `files` as tables.Dataset keeps them."""

    digest: str
    files: dict[str, Any]


class ModelRecords:
    """Short transactions on models. Thread-safe; what is returned is detached, with checkpoints and data set loaded."""

    def __init__(self, sessions: sessionmaker[Session], clock: Callable[[], datetime]) -> None:
        self._sessions = sessions
        self._clock = clock

    def get(self, tenant: str, name: str) -> Model:
        """Raises NotFound, naming the models that exist."""
        model = self.find(tenant, name)
        if model is not None:
            return model
        with reading(self._sessions) as session:
            known = session.scalars(select(Model.name).where(Model.tenant == tenant).order_by(Model.name).limit(20))
            listed = ", ".join(known) or "none yet; push one first"
        raise NotFound(f"there is no model {name[:128]!r}; models are: {listed}")

    def find(self, tenant: str, name: str) -> Model | None:
        """The model, if there is one of that name."""
        with reading(self._sessions) as session:
            wanted = select(Model).where(Model.tenant == tenant, Model.name == name)
            return session.scalar(wanted.options(*_everything()))

    def list(self, tenant: str) -> Sequence[Model]:
        """All models of a tenant, by name."""
        with reading(self._sessions) as session:
            wanted = select(Model).where(Model.tenant == tenant).order_by(Model.name)
            return session.scalars(wanted.options(*_everything())).all()

    def push(
        self, tenant: str, name: str, task: str, checkpoint: NewCheckpoint, dataset: NewDataset | None
    ) -> tuple[Model, Checkpoint]:
        """Commits the next revision with its data set, and the model if the name is new.

        Exactly what the newest revision already is gives that revision back, so that a push may be repeated. Without a
        data set the model keeps its own. Raises Conflict when somebody else pushed at the same moment.
        """
        try:
            with self._sessions.begin() as session:
                revision = self._push(session, tenant, name, task, checkpoint, dataset)
        except IntegrityError as error:
            raise Conflict(f"somebody else pushed {name!r} at the same moment; push again") from error
        model = self.get(tenant, name)
        return model, next(found for found in model.checkpoints if found.revision == revision)

    def _push(
        self,
        session: Session,
        tenant: str,
        name: str,
        task: str,
        checkpoint: NewCheckpoint,
        dataset: NewDataset | None,
    ) -> int:
        model = session.scalar(select(Model).where(Model.tenant == tenant, Model.name == name).with_for_update())
        if model is None:
            model = Model(tenant=tenant, name=name, task=task, salt=secrets.token_hex(16), created_at=self._clock())
            session.add(model)
        newest = model.checkpoints[-1] if model.checkpoints else None
        same_data = dataset is None or (model.dataset is not None and model.dataset.digest == dataset.digest)
        if newest is not None and newest.digest == checkpoint.digest and same_data and model.task == task:
            return newest.revision
        model.task = task
        if dataset is not None:
            model.dataset = self._dataset(session, tenant, dataset)
        row = Checkpoint(
            tenant=tenant,
            revision=1 if newest is None else newest.revision + 1,
            format=checkpoint.format,
            digest=checkpoint.digest,
            files=checkpoint.files,
            inspection=checkpoint.inspection,
            created_at=self._clock(),
        )
        model.checkpoints.append(row)
        return row.revision

    def _dataset(self, session: Session, tenant: str, dataset: NewDataset) -> Dataset:
        known = session.scalar(select(Dataset).where(Dataset.tenant == tenant, Dataset.digest == dataset.digest))
        return known or Dataset(tenant=tenant, digest=dataset.digest, files=dataset.files, created_at=self._clock())


def _everything() -> tuple[ORMOption, ...]:
    return selectinload(Model.checkpoints), joinedload(Model.dataset)
