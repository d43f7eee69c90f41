"""Jobs say what they have to have to themselves while they run."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Adds the column; no job needed anything until now."""
    op.add_column("jobs", sa.Column("resource", sa.String, nullable=False, server_default=""))
