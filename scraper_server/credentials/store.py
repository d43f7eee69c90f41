"""The port of the store of people's credentials."""

from typing import Protocol

from scraper_server.credentials.values import KeptCredentials
from scraper_server.sources.source import SourceKind
from servicekit.errors import NotFound, Reason


class CredentialsStore(Protocol):
    """Keeps at most one set of credentials of an owner for a source."""

    async def put(self, kept: KeptCredentials) -> None:
        """Keeps credentials in the place of those before."""
        ...

    async def replace(self, old: KeptCredentials, new: KeptCredentials) -> bool:
        """Puts `new` in the place of `old`; False, with nothing changed, if `old` is not there any more."""
        ...

    async def find(self, owner: str, source: SourceKind) -> KeptCredentials | None:
        """An owner's credentials for a source, None if there are none."""
        ...

    async def delete(self, owner: str, source: SourceKind) -> None:
        """Forgets them. Raises NotFound."""
        ...

    async def all(self) -> list[KeptCredentials]:
        """Everybody's."""
        ...


def no_credentials(source: SourceKind) -> NotFound:
    """What a caller gets who has set none."""
    message = f"you have set no credentials for source '{source.value}': SetSourceCredentials sets them"
    return NotFound(Reason.NOT_FOUND, message)
