"""The key that signs now, and those whose tokens may still be valid."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from auth_server.tokens.signing_keys import KeySealer, SigningKey, new_signing_key
from auth_server.tokens.store import SigningKeyStore
from servicekit.key_sets import VerificationKey

log = structlog.get_logger()


class KeyRing:
    """The signing keys of the database, at hand in memory. Several servers share one database and one key file.

    It is the `KeySet` by which this service verifies its own tokens.
    """

    def __init__(
        self,
        store: SigningKeyStore,
        sealer: KeySealer,
        *,
        overlap: timedelta,
        longest_use: timedelta,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """A replaced key stays published for `overlap`, which is more than a token lives; it is replaced by itself
        after `longest_use`."""
        self._store = store
        self._sealer = sealer
        self._overlap = overlap
        self._longest_use = longest_use
        self._now = now
        self._keys: list[SigningKey] = []
        self._reading = asyncio.Lock()

    async def start(self) -> None:
        """Reads the keys, and makes the first one if there is none.

        Raises:
            KeyFileError: The key file is not the one that belongs to this database.
        """
        await self.refresh()

    async def close(self) -> None:
        """Nothing to stop."""

    async def refresh(self) -> None:
        """Reads the keys that other servers made or withdrew, and replaces the signing one if it is due.

        Raises:
            KeyFileError: The key file is not the one that belongs to this database.
        """
        await self._store.remove_withdrawn(self._now())
        await self._read()
        due = self._now() - self._longest_use
        while (signing := self._signing()) is None or signing.create_time <= due:
            await self._replace(signing)

    async def rotate(self) -> str:
        """Signs with a new key from now on and returns its id."""
        while not await self._replace(self._signing()):
            pass
        return self.current().kid

    def current(self) -> SigningKey:
        """The key that signs now."""
        signing = self._signing()
        if signing is None:
            raise LookupError("the key ring was not started")
        return signing

    def published(self) -> list[SigningKey]:
        """The keys whose tokens may be valid, the signing one first."""
        now = self._now()
        return [key for key in self._keys if key.withdraw_time is None or key.withdraw_time > now]

    def find(self, kid: str) -> VerificationKey | None:
        """The public half of a published key."""
        return next((key.verification for key in self.published() if key.kid == kid), None)

    async def look_for(self, kid: str) -> VerificationKey | None:
        """The same, also if another server made the key since the last `refresh`."""
        await self._read()
        return self.find(kid)

    def _signing(self) -> SigningKey | None:
        return next((key for key in self._keys if key.withdraw_time is None), None)

    async def _replace(self, replaced: SigningKey | None) -> bool:
        """Makes a new key unless another server has just done so; either way the newest is known afterwards."""
        now = self._now()
        key = new_signing_key(now)
        is_ours = await self._store.add(self._sealer.seal(key), replaced.kid if replaced else None, now + self._overlap)
        await self._read()
        if is_ours:
            log.info("signing_key_made", kid=key.kid, replaced=replaced.kid if replaced else None)
        return is_ours

    async def _read(self) -> None:
        async with self._reading:
            known = {key.kid: key for key in self._keys}
            self._keys = [
                key
                if (key := known.get(stored.kid)) and key.withdraw_time == stored.withdraw_time
                else self._sealer.open(stored)
                for stored in await self._store.list()
            ]
