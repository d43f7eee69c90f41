"""Accounts and service identities in the database."""

from typing import Any

from sqlalchemy import Row, func, literal, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from auth_server.accounts.scopes import AUTH_ADMIN
from auth_server.accounts.store import LastAdministrator
from auth_server.accounts.values import Account, ServiceIdentity
from auth_server.tables import accounts, service_identities
from servicekit.database import Database


class SqlAccountStore:
    """`AccountStore` in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, account: Account) -> bool:
        """Inserts, unless the user name is taken."""
        try:
            async with self._database.write() as connection:
                await connection.execute(accounts.insert().values(_account_row(account)))
        except IntegrityError:
            return False
        return True

    async def get(self, account_id: str) -> Account | None:
        """Selects by user name."""
        async with self._database.read() as connection:
            row = (await connection.execute(accounts.select().filter_by(account_id=account_id))).one_or_none()
        return _account(row) if row else None

    async def list(self, after: str, limit: int) -> list[Account]:
        """Selects by user name, in its order."""
        query = accounts.select().where(accounts.c.account_id > after).order_by(accounts.c.account_id).limit(limit)
        async with self._database.read() as connection:
            return [_account(row) for row in await connection.execute(query)]

    async def replace(self, account: Account, revision: int) -> bool:
        """Updates the row that has this revision."""
        update = accounts.update().filter_by(account_id=account.account_id, revision=revision)
        async with self._database.write() as connection:
            if account.disabled or AUTH_ADMIN not in account.scopes:
                await _require_another_administrator(connection, account.account_id)
            return (await connection.execute(update.values(_account_row(account)))).rowcount == 1

    async def remove(self, account_id: str) -> bool:
        """Deletes the row."""
        async with self._database.write() as connection:
            await _require_another_administrator(connection, account_id)
            return (await connection.execute(accounts.delete().filter_by(account_id=account_id))).rowcount == 1

    async def is_empty(self) -> bool:
        """Counts the rows."""
        async with self._database.read() as connection:
            return await connection.scalar(select(func.count()).select_from(accounts)) == 0


async def _require_another_administrator(connection: AsyncConnection, account_id: str) -> None:
    spaced = literal(" ") + accounts.c.scopes + literal(" ")
    # FOR UPDATE: two administrators who remove one another at the same moment must not both succeed.
    query = (
        select(accounts.c.account_id)
        .where(~accounts.c.disabled, spaced.contains(f" {AUTH_ADMIN} ", autoescape=True))
        .with_for_update()
    )
    if set(await connection.scalars(query)) == {account_id}:
        raise LastAdministrator


class SqlServiceIdentityStore:
    """`ServiceIdentityStore` in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, identity: ServiceIdentity) -> bool:
        """Inserts, unless the id is taken."""
        try:
            async with self._database.write() as connection:
                await connection.execute(service_identities.insert().values(_identity_row(identity)))
        except IntegrityError:
            return False
        return True

    async def put(self, identity: ServiceIdentity) -> None:
        """Inserts, or updates all but the time of creation."""
        if await self.add(identity):
            return
        values = _identity_row(identity)
        del values["create_time"]
        async with self._database.write() as connection:
            await connection.execute(
                service_identities.update().filter_by(identity_id=identity.identity_id).values(values)
            )

    async def get(self, identity_id: str) -> ServiceIdentity | None:
        """Selects by id."""
        query = service_identities.select().filter_by(identity_id=identity_id)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return _identity(row) if row else None

    async def list(self, after: str, limit: int) -> list[ServiceIdentity]:
        """Selects by id, in its order."""
        column = service_identities.c.identity_id
        query = service_identities.select().where(column > after).order_by(column).limit(limit)
        async with self._database.read() as connection:
            return [_identity(row) for row in await connection.execute(query)]

    async def set_secret(self, identity_id: str, secret_hash: str) -> bool:
        """Updates the hash."""
        update = service_identities.update().filter_by(identity_id=identity_id).values(secret_hash=secret_hash)
        async with self._database.write() as connection:
            return (await connection.execute(update)).rowcount == 1

    async def remove(self, identity_id: str) -> bool:
        """Deletes the row."""
        delete = service_identities.delete().filter_by(identity_id=identity_id)
        async with self._database.write() as connection:
            return (await connection.execute(delete)).rowcount == 1


def _account_row(account: Account) -> dict[str, Any]:
    return {
        "account_id": account.account_id,
        "display_name": account.display_name,
        "scopes": " ".join(sorted(account.scopes)),
        "disabled": account.disabled,
        "password_hash": account.password_hash,
        "revision": account.revision,
        "create_time": account.create_time,
        "update_time": account.update_time,
    }


def _account(row: Row[Any]) -> Account:
    return Account(
        account_id=row.account_id,
        display_name=row.display_name,
        scopes=frozenset(row.scopes.split()),
        disabled=row.disabled,
        password_hash=row.password_hash,
        revision=row.revision,
        create_time=row.create_time,
        update_time=row.update_time,
    )


def _identity_row(identity: ServiceIdentity) -> dict[str, Any]:
    return {
        "identity_id": identity.identity_id,
        "display_name": identity.display_name,
        "scopes": " ".join(sorted(identity.scopes)),
        "secret_hash": identity.secret_hash,
        "create_time": identity.create_time,
    }


def _identity(row: Row[Any]) -> ServiceIdentity:
    return ServiceIdentity(
        identity_id=row.identity_id,
        display_name=row.display_name,
        scopes=frozenset(row.scopes.split()),
        secret_hash=row.secret_hash,
        create_time=row.create_time,
    )
