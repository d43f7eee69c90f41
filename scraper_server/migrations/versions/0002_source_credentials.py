"""People's own credentials at sources, sealed."""

import sqlalchemy as sa
from alembic import op

from servicekit.database import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "source_credentials",
        sa.Column("owner", sa.String, primary_key=True),
        sa.Column("source", sa.String, primary_key=True),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
