"""Logins and signing keys in memory, for tests."""

from dataclasses import replace
from datetime import datetime

from auth_server.tokens.values import Login, StoredKey


class MemoryLoginStore:
    """`LoginStore` in a dict."""

    def __init__(self) -> None:
        self._logins: dict[str, Login] = {}

    async def add(self, login: Login) -> None:
        """Keeps it."""
        self._logins[login.login_id] = login

    async def advance(
        self, login_id: str, presented_hash: str, next_hash: str, now: datetime, idle_end_time: datetime
    ) -> Login | None:
        """Replaces the hash if the presented one is the newest and its time is not over."""
        login = self._logins.get(login_id)
        if login is None or login.token_hash != presented_hash or min(login.idle_end_time, login.end_time) <= now:
            return None
        self._logins[login_id] = replace(login, token_hash=next_hash, idle_end_time=idle_end_time)
        return self._logins[login_id]

    async def remove(self, login_id: str) -> bool:
        """Forgets it."""
        return self._logins.pop(login_id, None) is not None

    async def remove_all(self, subject: str) -> int:
        """Forgets those of the subject."""
        return self._forget([login for login in self._logins.values() if login.subject == subject])

    async def remove_ended(self, now: datetime) -> int:
        """Forgets those that have ended."""
        return self._forget(
            [login for login in self._logins.values() if min(login.idle_end_time, login.end_time) <= now]
        )

    def _forget(self, logins: list[Login]) -> int:
        for login in logins:
            del self._logins[login.login_id]
        return len(logins)


class MemorySigningKeyStore:
    """`SigningKeyStore` in a list."""

    def __init__(self) -> None:
        self._keys: list[StoredKey] = []

    async def list(self) -> list[StoredKey]:
        """A copy of the list."""
        return list(self._keys)

    async def add(self, key: StoredKey, replaced_kid: str | None, withdraw_time: datetime) -> bool:
        """Puts it first, if nobody else did."""
        signing = next((known.kid for known in self._keys if known.withdraw_time is None), None)
        if signing != replaced_kid:
            return False
        withdrawn = [
            replace(known, withdraw_time=withdraw_time) if known.kid == replaced_kid else known for known in self._keys
        ]
        self._keys = [key, *withdrawn]
        return True

    async def remove_withdrawn(self, now: datetime) -> None:
        """Keeps the others."""
        self._keys = [key for key in self._keys if key.withdraw_time is None or key.withdraw_time > now]
