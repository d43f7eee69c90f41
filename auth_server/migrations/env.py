"""Called by Alembic."""

from auth_server.tables import metadata
from servicekit.migrations import run

run(metadata)
