"""Jobs say what they have to have to themselves while they run."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Adds the column; no job needed anything until now."""
    for table in ("jobs", "sweep_jobs"):
        op.add_column(table, sa.Column("resource", sa.String, nullable=False, server_default=""))
