"""Lets a repeated Create return its first answer: the request's id is remembered in the creating transaction."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Column, MetaData, PrimaryKeyConstraint, String, Table, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import UtcDateTime
from servicekit.errors import InvalidArgument, Reason


@dataclass(frozen=True)
class RequestKey:
    """A request that carries an id: who sent it, to which method, and a fingerprint of all it says."""

    owner: str
    method: str
    request_id: str
    fingerprint: str


def fingerprint_of(message: bytes) -> str:
    """The fingerprint of a serialized request."""
    return hashlib.sha256(message).hexdigest()


def request_key(owner: str, method: str, request_id: str, message: bytes) -> RequestKey | None:
    """The key of a request, None if it carries no id."""
    return RequestKey(owner, method, request_id, fingerprint_of(message)) if request_id else None


def request_table(metadata: MetaData) -> Table:
    """The table of remembered requests, in the same database as what they create."""
    return Table(
        "requests",
        metadata,
        Column("owner", String, nullable=False),
        Column("method", String, nullable=False),
        Column("request_id", String, nullable=False),
        Column("fingerprint", String, nullable=False),
        Column("resource", String, nullable=False),
        Column("create_time", UtcDateTime, nullable=False),
        PrimaryKeyConstraint("owner", "method", "request_id"),
    )


async def remembered(connection: AsyncConnection, table: Table, key: RequestKey | None) -> str | None:
    """The id of what the same request created before, None if it is new.

    Raises:
        InvalidArgument: REQUEST_ID_REUSED, if the id came with another request.
    """
    if key is None:
        return None
    query = select(table.c.fingerprint, table.c.resource).where(
        table.c.owner == key.owner, table.c.method == key.method, table.c.request_id == key.request_id
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    if row.fingerprint != key.fingerprint:
        raise different_request(key)
    return str(row.resource)


async def remember(connection: AsyncConnection, table: Table, key: RequestKey | None, resource: str) -> None:
    """Keeps what a request created, in the transaction that creates it."""
    if key is None:
        return
    await connection.execute(
        insert(table).values(
            owner=key.owner,
            method=key.method,
            request_id=key.request_id,
            fingerprint=key.fingerprint,
            resource=resource,
            create_time=datetime.now(UTC),
        )
    )


def different_request(key: RequestKey) -> InvalidArgument:
    """What a caller gets who uses one id for two different requests."""
    return InvalidArgument(
        Reason.REQUEST_ID_REUSED,
        f"request_id '{key.request_id}' came before with a different {key.method} request: use a new UUID",
        field="request_id",
    )
