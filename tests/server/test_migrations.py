"""The migrations of each service make the tables that its code uses."""

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, create_engine, text

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


async def test_versions_of_an_older_database_keep_their_files(tmp_path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", "ml_server:migrations")
    with create_engine(f"sqlite:///{tmp_path}/ml.db").connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        connection.execute(
            text(
                "INSERT INTO models VALUES"
                " ('u1', 'accounts/ann', 'iris', '', '{}', 0, 7, 7, 1, '2026-01-01', '2026-01-01')"
            )
        )
        connection.execute(text("INSERT INTO model_versions VALUES ('u1', 7, '{}', NULL, 9, '2026-01-01')"))
        command.upgrade(config, "head")
        assert connection.execute(text("SELECT artifact FROM model_versions")).scalar_one() == "versions/u1/7"
