"""Called by Alembic."""

from scraper_server.sql_tables import metadata
from servicekit.migrations import run

run(metadata)
