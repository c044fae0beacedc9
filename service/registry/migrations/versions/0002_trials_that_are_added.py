"""Trials say why they were chosen, and may be studies of many recipes."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Brings the schema forward."""
    with op.batch_alter_table("trials") as trials:
        trials.add_column(sa.Column("why", sa.String(), nullable=False, server_default=""))
        trials.add_column(sa.Column("study", sa.JSON(), nullable=True))
