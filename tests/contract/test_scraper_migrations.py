"""The migrations make the very tables that the code uses."""

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from scraper_server.sql_tables import metadata
from servicekit.database import Database


async def test_a_migrated_database_has_the_tables_of_the_code(tmp_path: Path) -> None:
    path = tmp_path / "scraper.db"
    database = Database(f"sqlite+aiosqlite:///{path}")
    await database.migrate("scraper_server:migrations")
    await database.migrate("scraper_server:migrations")  # a second time changes nothing
    await database.close()
    with create_engine(f"sqlite:///{path}").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
