"""How many bytes the rows of a view take, which count toward its owner's quota. Views made before count nothing."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds the column."""
    op.add_column("dataset_views", sa.Column("size_bytes", sa.BigInteger, nullable=False, server_default="0"))
