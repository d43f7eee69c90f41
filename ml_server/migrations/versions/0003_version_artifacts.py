"""A version says where its files are."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds the key of the files; until now it followed from the version's number."""
    op.add_column("model_versions", sa.Column("artifact", sa.String, nullable=False, server_default=""))
    op.execute("UPDATE model_versions SET artifact = 'versions/' || model_uid || '/' || number")
