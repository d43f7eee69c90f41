"""Upload sessions: what was announced of each file. Its bytes lie in a folder."""

import sqlalchemy as sa
from alembic import op

from servicekit.database import UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "upload_sessions",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("file_name", sa.String, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("whole_sha256", sa.String, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
    )
    op.create_index("upload_sessions_by_owner", "upload_sessions", ["owner"])
