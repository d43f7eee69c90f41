"""Keeps people's credentials sealed, and opens them for calls that are made on their behalf."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime

import structlog

from scraper_server.credentials.sealing import MAKE_A_KEY, Sealer, Unsealable
from scraper_server.credentials.store import CredentialsStore, no_credentials
from scraper_server.credentials.values import KeptCredentials
from scraper_server.sources.kaggle.credentials import AccessToken, ApiKey
from scraper_server.sources.source import SourceKind
from servicekit.errors import FailedPrecondition, Reason

log = structlog.get_logger()


class CredentialsVault:
    """Everybody's credentials. Without a sealer it takes none."""

    def __init__(self, store: CredentialsStore, sealer: Sealer | None) -> None:
        self._store = store
        self._sealer = sealer

    async def start(self) -> None:
        """Seals anew what older keys sealed, so that those can be taken out of the settings."""
        if self._sealer is None:
            return
        unreadable = 0
        for kept in await self._store.all():
            if self._sealer.is_newest(kept.sealed):
                continue
            try:
                secret = self._sealer.open(kept.sealed, _belonging(kept))
            except Unsealable:
                unreadable += 1
                continue
            await self._store.replace(kept, replace(kept, sealed=self._sealer.seal(secret, _belonging(kept))))
        if unreadable:
            log.warning("credentials_unreadable", count=unreadable, remedy="add the keys that sealed them")

    async def drain(self) -> None:
        """Nothing to do."""

    def check_open(self) -> None:
        """Raises FailedPrecondition (CREDENTIALS_NOT_KEPT) if this server can't keep credentials."""
        self._opened()

    async def keep(self, owner: str, source: SourceKind, credentials: ApiKey | AccessToken) -> KeptCredentials:
        """Keeps credentials in the place of those before. Raises FailedPrecondition (CREDENTIALS_NOT_KEPT)."""
        kept = KeptCredentials(owner, source, credentials.account, datetime.now(UTC), b"")
        sealed = self._opened().seal(json.dumps(asdict(credentials)).encode(), _belonging(kept))
        kept = replace(kept, sealed=sealed)
        await self._store.put(kept)
        return kept

    async def known(self, owner: str, source: SourceKind) -> KeptCredentials:
        """What is known of an owner's credentials. Raises NotFound."""
        kept = await self._store.find(owner, source)
        if kept is None:
            raise no_credentials(source)
        return kept

    async def credentials(self, owner: str, source: SourceKind) -> ApiKey | AccessToken | None:
        """An owner's credentials, None if they have set none.

        Raises:
            FailedPrecondition: CREDENTIALS_NOT_KEPT, this server has not the key that they were sealed with.
        """
        kept = await self._store.find(owner, source)
        if kept is None:
            return None
        if self._sealer is None:
            raise _unreadable(kept)
        try:
            return _credentials(self._sealer.open(kept.sealed, _belonging(kept)))
        except Unsealable as error:
            raise _unreadable(kept) from error

    async def forget(self, owner: str, source: SourceKind) -> None:
        """Forgets an owner's credentials. Raises NotFound."""
        await self._store.delete(owner, source)

    def _opened(self) -> Sealer:
        if self._sealer is None:
            raise FailedPrecondition(
                Reason.CREDENTIALS_NOT_KEPT,
                "this server has no key to encrypt credentials with, so it keeps none: let the operator set "
                f"FLARE_SCRAPER_CREDENTIALS_KEYS to what `{MAKE_A_KEY}` prints, and restart it",
            )
        return self._sealer


def _belonging(kept: KeptCredentials) -> bytes:
    """What sealed credentials are bound to: a row that is copied to somebody else's place does not open."""
    return json.dumps([kept.owner, kept.source.value, kept.account]).encode()


def _credentials(secret: bytes) -> ApiKey | AccessToken:
    match json.loads(secret):
        case {"username": str(username), "key": str(key)}:
            return ApiKey(username, key)
        case {"token": str(token), "account": str(account)}:
            return AccessToken(token, account)
    raise Unsealable  # of a version of Flare that knows other kinds


def _unreadable(kept: KeptCredentials) -> FailedPrecondition:
    return FailedPrecondition(
        Reason.CREDENTIALS_NOT_KEPT,
        f"your credentials for source '{kept.source.value}' can't be read, as this server has not the key that they "
        "were encrypted with: set them again with SetSourceCredentials, or go on with the server's after "
        "DeleteSourceCredentials",
    )
