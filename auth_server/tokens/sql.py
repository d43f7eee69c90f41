"""Logins and signing keys in the database."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row, or_, select
from sqlalchemy.exc import IntegrityError

from auth_server.tables import logins, signing_keys
from auth_server.tokens.values import Login, StoredKey
from servicekit.database import Database


class SqlLoginStore:
    """`LoginStore` in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, login: Login) -> None:
        """Inserts."""
        async with self._database.write() as connection:
            await connection.execute(
                logins.insert().values(
                    login_id=login.login_id,
                    subject=login.subject,
                    token_hash=login.token_hash,
                    idle_end_time=login.idle_end_time,
                    end_time=login.end_time,
                )
            )

    async def advance(
        self, login_id: str, presented_hash: str, next_hash: str, now: datetime, idle_end_time: datetime
    ) -> Login | None:
        """One UPDATE that finds the row only by its newest token: of two that present it, one finds nothing."""
        update = (
            logins.update()
            .filter_by(login_id=login_id, token_hash=presented_hash)
            .where(logins.c.idle_end_time > now, logins.c.end_time > now)
            .values(token_hash=next_hash, idle_end_time=idle_end_time)
            .returning(logins)
        )
        async with self._database.write() as connection:
            row = (await connection.execute(update)).one_or_none()
        return _login(row) if row else None

    async def remove(self, login_id: str) -> bool:
        """Deletes the row."""
        async with self._database.write() as connection:
            return (await connection.execute(logins.delete().filter_by(login_id=login_id))).rowcount == 1

    async def remove_all(self, subject: str) -> int:
        """Deletes the subject's rows."""
        async with self._database.write() as connection:
            return (await connection.execute(logins.delete().filter_by(subject=subject))).rowcount

    async def remove_ended(self, now: datetime) -> int:
        """Deletes the rows whose time is over."""
        ended = logins.delete().where(or_(logins.c.idle_end_time <= now, logins.c.end_time <= now))
        async with self._database.write() as connection:
            return (await connection.execute(ended)).rowcount


class SqlSigningKeyStore:
    """`SigningKeyStore` in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self) -> list[StoredKey]:
        """Selects all."""
        async with self._database.read() as connection:
            rows = await connection.execute(signing_keys.select().order_by(signing_keys.c.create_time.desc()))
            return [_key(row) for row in rows]

    async def add(self, key: StoredKey, replaced_kid: str | None, withdraw_time: datetime) -> bool:
        """Withdraws the signing row and inserts the next one.

        `signs` is unique, so of two servers that do this at once one finds the place taken.
        """
        signing = select(signing_keys.c.kid).where(signing_keys.c.signs).with_for_update()
        try:
            async with self._database.write() as connection:
                if await connection.scalar(signing) != replaced_kid:
                    return False
                await connection.execute(
                    signing_keys.update().filter_by(kid=replaced_kid).values(signs=None, withdraw_time=withdraw_time)
                )
                await connection.execute(
                    signing_keys.insert().values(
                        kid=key.kid,
                        sealed_private_key=key.sealed_private_key,
                        create_time=key.create_time,
                        signs=True,
                        withdraw_time=None,
                    )
                )
        except IntegrityError:
            return False
        return True

    async def remove_withdrawn(self, now: datetime) -> None:
        """Deletes the rows whose time is over."""
        async with self._database.write() as connection:
            await connection.execute(signing_keys.delete().where(signing_keys.c.withdraw_time <= now))


def _login(row: Row[Any]) -> Login:
    return Login(
        login_id=row.login_id,
        subject=row.subject,
        token_hash=row.token_hash,
        idle_end_time=row.idle_end_time,
        end_time=row.end_time,
    )


def _key(row: Row[Any]) -> StoredKey:
    return StoredKey(
        kid=row.kid,
        sealed_private_key=row.sealed_private_key,
        create_time=row.create_time,
        withdraw_time=row.withdraw_time,
    )
