"""Aliases are shared out among versions, and may have a shadow."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Adds the columns; every alias named one version until now."""
    op.add_column("model_aliases", sa.Column("shares", sa.JSON, nullable=False, server_default="[]"))
    op.add_column("model_aliases", sa.Column("shadow_version", sa.BigInteger, nullable=False, server_default="0"))
