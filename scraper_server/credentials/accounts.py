"""As whom Kaggle is asked for somebody: as themselves, if they have set credentials, else as the operator."""

from scraper_server.credentials.vault import CredentialsVault
from scraper_server.sources.kaggle.accounts import Account, Whose
from scraper_server.sources.kaggle.credentials import Credentials
from scraper_server.sources.source import SourceKind


class PersonalAccounts:
    """The `Accounts` of the Kaggle source."""

    def __init__(self, vault: CredentialsVault, operator: Credentials) -> None:
        self._vault = vault
        self.operator = Account(operator)

    async def of(self, owner: str) -> Account:
        """Looked up at each call: credentials that were just set, changed or deleted count at once.

        Raises:
            FailedPrecondition: CREDENTIALS_NOT_KEPT, the owner has set credentials and this server can't read them. It
                then asks as nobody else: what is found would be another account's.
        """
        own = await self._vault.credentials(owner, SourceKind.KAGGLE)
        return self.operator if own is None else Account(own, Whose.OWN)
