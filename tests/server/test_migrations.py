"""The migrations of each service make the tables that its code uses."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData

import auth_server.tables
import ml_server.tables
import scraper_server.sql_tables
from servicekit.database import Database

METADATA = {
    "auth_server": auth_server.tables.metadata,
    "ml_server": ml_server.tables.metadata,
    "scraper_server": scraper_server.sql_tables.metadata,
}


@pytest.mark.parametrize("service", METADATA)
async def test_migrated_tables_are_those_of_the_code(service: str, tmp_path: Path) -> None:
    def differences(connection: Connection, metadata: MetaData) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    database = Database(f"sqlite+aiosqlite:///{tmp_path}/x.db")
    for _ in range(2):  # a second start finds nothing to do
        await database.migrate(f"{service}:migrations")
    async with database.read() as connection:
        assert await connection.run_sync(differences, METADATA[service]) == []
    await database.close()
