"""What people do with their own credentials: set them once they are known to be good, look, and take them back."""

from typing import Protocol

from scraper_server.credentials.values import KeptCredentials
from scraper_server.credentials.vault import CredentialsVault
from scraper_server.sources.kaggle.credentials import AccessToken, ApiKey
from scraper_server.sources.source import SourceKind


class Trial(Protocol):
    """A source that tells whether it takes credentials."""

    async def tried(self, credentials: ApiKey | AccessToken) -> ApiKey | AccessToken:
        """The credentials with what the source says of them. Raises FlareError."""
        ...


class OwnCredentials:
    """Everybody's, each for themselves."""

    def __init__(self, vault: CredentialsVault, kaggle: Trial) -> None:
        self._vault = vault
        self._kaggle = kaggle

    async def set(self, owner: str, credentials: ApiKey | AccessToken) -> KeptCredentials:
        """Keeps credentials for Kaggle in the place of those before, if Kaggle takes them.

        Raises:
            FailedPrecondition: CREDENTIALS_NOT_KEPT, this server has no key; SOURCE_CREDENTIALS_REJECTED.
            Unavailable: SOURCE_UNAVAILABLE, Kaggle does not answer. Nothing was kept in any of these cases.
        """
        self._vault.check_open()
        return await self._vault.keep(owner, SourceKind.KAGGLE, await self._kaggle.tried(credentials))

    async def get(self, owner: str, source: SourceKind) -> KeptCredentials:
        """What is known of an owner's credentials. Raises NotFound."""
        return await self._vault.known(owner, source)

    async def delete(self, owner: str, source: SourceKind) -> None:
        """Forgets an owner's credentials. Raises NotFound."""
        await self._vault.forget(owner, source)
