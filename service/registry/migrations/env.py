"""Alembic's entry: runs migrations on the connection, and in the transaction, that service.registry.database gives.

A new migration is written by `python -m service.registry.revise "what changes"`.
"""

from typing import Any, Literal

from alembic import context

from service.registry.tables import Base, UtcDateTime


def render_item(_kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Migrations name no class of ours: they must run when that class has long changed."""
    return "sa.DateTime(timezone=True)" if isinstance(item, UtcDateTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite alters a table by copying it.
    render_as_batch=True,
    render_item=render_item,
)
with context.begin_transaction():
    context.run_migrations()
