"""Runs a service's Alembic scripts on a connection that the service has opened."""

from alembic import command, context
from alembic.config import Config
from sqlalchemy import Connection, MetaData, text

LOCK_KEY = 0x464C415245  # any number that is ours; the lock ends with the transaction


def upgrade(connection: Connection, scripts: str) -> None:
    """Runs every script that the database has not seen. `scripts` is `package:folder`."""
    config = Config()
    config.set_main_option("script_location", scripts)
    config.attributes["connection"] = connection
    if connection.dialect.name == "postgresql":  # servers that start at once on one database take turns
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
    command.upgrade(config, "head")
    connection.commit()


def run(metadata: MetaData) -> None:
    """The whole of a service's `migrations/env.py`: called by Alembic, uses the connection given to `upgrade`."""
    connection: Connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
