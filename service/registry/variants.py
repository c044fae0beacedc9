"""Rows of published variants, and of the traffic between them."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload, sessionmaker

from service.errors import Conflict, NotFound
from service.registry.database import reading
from service.registry.tables import Model, Traffic, Variant


class VariantRecords:
    """Short transactions on variants and traffic. Thread-safe; what is returned is detached."""

    def __init__(self, sessions: sessionmaker[Session], clock: Callable[[], datetime]) -> None:
        self._sessions = sessions
        self._clock = clock

    def list(self, tenant: str, model: str) -> Sequence[Variant]:
        """The variants of a model in the order of their publication, checkpoints loaded. Unknown model: none."""
        wanted = (
            select(Variant)
            .join(Variant.model)
            .where(Variant.tenant == tenant, Model.name == model)
            .order_by(Variant.id)
            .options(joinedload(Variant.checkpoint))
        )
        with reading(self._sessions) as session:
            return session.scalars(wanted).all()

    def get(self, tenant: str, model: str, name: str) -> Variant:
        """Raises NotFound, naming the variants that exist."""
        variants = {variant.name: variant for variant in self.list(tenant, model)}
        if name not in variants:
            raise NotFound(f"model {model!r} has no variant {name[:64]!r}; it has {', '.join(variants) or 'none yet'}")
        return variants[name]

    def traffic(self, tenant: str, model: str) -> Traffic | None:
        """The newest generation; None before the first."""
        with reading(self._sessions) as session:
            return session.scalar(_newest(tenant, model))

    def set_traffic(
        self, tenant: str, model: Model, arms: Sequence[dict[str, Any]], actor: str, reason: str
    ) -> Traffic:
        """Commits the next generation. Raises Conflict when somebody else did at the same moment."""
        try:
            with self._sessions.begin() as session:
                newest = session.scalar(_newest(tenant, model.name))
                row = Traffic(
                    tenant=tenant,
                    model_id=model.id,
                    generation=1 if newest is None else newest.generation + 1,
                    arms=[*arms],
                    actor=actor,
                    reason=reason,
                    created_at=self._clock(),
                )
                session.add(row)
        except IntegrityError as error:
            raise Conflict(f"somebody else split {model.name!r} at the same moment; look, and try again") from error
        return row


def _newest(tenant: str, model: str) -> Select[Traffic]:
    return (
        select(Traffic)
        .join(Traffic.model)
        .where(Traffic.tenant == tenant, Model.name == model)
        .order_by(Traffic.generation.desc())
        .limit(1)
    )
