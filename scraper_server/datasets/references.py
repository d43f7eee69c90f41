"""Counts who refers to an artifact, in the transactions that add and delete them.

The count's row is locked until its transaction ends, so an artifact is never deleted while somebody begins to refer to
it, whichever process they are in.
"""

from sqlalchemy import delete, insert, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from scraper_server.datasets.store import ArtifactGone
from scraper_server.sql_tables import artifacts as table
from servicekit.artifacts import ArtifactStore


async def refer(connection: AsyncConnection, artifacts: ArtifactStore, key: str) -> None:
    """Adds a reference. Raises ArtifactGone if the artifact went with its last one; then repeat."""
    counted = update(table).where(table.c.key == key).values(reference_count=table.c.reference_count + 1)
    if not (await connection.execute(counted)).rowcount:
        try:
            await connection.execute(insert(table).values(key=key, reference_count=1))
        except IntegrityError as error:  # somebody else began to refer to it at the same moment
            raise ArtifactGone(key) from error
    if not await artifacts.exists(key):
        raise ArtifactGone(key)


async def release(connection: AsyncConnection, artifacts: ArtifactStore, key: str) -> None:
    """Takes a reference away, and the artifact if it was the last."""
    counted = (
        update(table)
        .where(table.c.key == key)
        .values(reference_count=table.c.reference_count - 1)
        .returning(table.c.reference_count)
    )
    if (await connection.execute(counted)).scalar_one() > 0:
        return
    await connection.execute(delete(table).where(table.c.key == key))
    await artifacts.delete(key)
