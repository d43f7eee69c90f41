"""Where logins and signing keys are kept."""

from datetime import datetime
from typing import Protocol

from auth_server.tokens.values import Login, StoredKey


class LoginStore(Protocol):
    """Logins by id."""

    async def add(self, login: Login) -> None:
        """Keeps a new login."""

    async def advance(
        self, login_id: str, presented_hash: str, next_hash: str, now: datetime, idle_end_time: datetime
    ) -> Login | None:
        """Exchanges the login's newest token for the next one, at most once for each, and returns the new state.

        None, and nothing changes, if there is no such login, it has ended, or `presented_hash` is not its newest.
        """

    async def remove(self, login_id: str) -> bool:
        """Ends a login; False if there is none."""

    async def remove_all(self, subject: str) -> int:
        """Ends every login of a subject and returns how many there were."""

    async def remove_ended(self, now: datetime) -> int:
        """Forgets the logins whose time is over and returns how many there were."""


class SigningKeyStore(Protocol):
    """Signing keys, of which at most one signs."""

    async def list(self) -> list[StoredKey]:
        """All keys, newest first."""

    async def add(self, key: StoredKey, replaced_kid: str | None, withdraw_time: datetime) -> bool:
        """Keeps a new key that signs from now on, and withdraws `replaced_kid` at the given time.

        False, and nothing changes, unless `replaced_kid` is the key that signs now (None: none does).
        """

    async def remove_withdrawn(self, now: datetime) -> None:
        """Forgets the keys that were withdrawn before now."""
