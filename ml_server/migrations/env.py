"""Called by Alembic."""

from ml_server.tables import metadata
from servicekit.migrations import run

run(metadata)
