"""As whom Kaggle is asked: each call carries an account, so that one process serves many people without mixing them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from scraper_server.sources.kaggle.credentials import AccessToken, ApiKey, Credentials


class Whose(StrEnum):
    """Whose account it is, which decides who can do something about a refusal."""

    OPERATOR = "operator"
    """The server's, for whoever has none of their own."""
    OWN = "own"
    """The caller's own."""
    OFFERED = "offered"
    """The caller's own, to be tried before it is kept."""


@dataclass(frozen=True)
class Account:
    """Credentials, and whose they are."""

    credentials: Credentials = None
    whose: Whose = Whose.OPERATOR

    @property
    def is_anonymous(self) -> bool:
        """True if there are no credentials."""
        return self.credentials is None

    def owns(self, publisher: str) -> bool:
        """True if it is the caller's own, and this its name: then it may ask for what it keeps private."""
        name = self.credentials.account if self.credentials is not None else ""
        return self.whose is Whose.OWN and bool(name) and name.casefold() == publisher.casefold()

    def described(self) -> str:
        """What to call it in a message to whoever asks Kaggle with it."""
        whose = "the configured" if self.whose is Whose.OPERATOR else "your"
        match self.credentials:
            case ApiKey(username=username):
                return f"{whose} account '{username}'"
            case AccessToken(account=account):
                return f"{whose} access token" + (f" of account '{account}'" if account else "")
            case None:
                return "callers without credentials"

    def without_secret(self, text: str) -> str:
        """What Kaggle says, fit to be told: whatever it repeats, the account's secret is not in it."""
        match self.credentials:
            case ApiKey(key=secret) | AccessToken(token=secret):
                return text.replace(secret, "...")
            case None:
                return text


class Accounts(Protocol):
    """Finds the account with which to ask Kaggle for somebody."""

    @property
    def operator(self) -> Account:
        """The operator's."""
        ...

    async def of(self, owner: str) -> Account:
        """The owner's own account if they have set one, else the operator's."""
        ...


class OperatorAccount:
    """Everybody asks with the operator's account."""

    def __init__(self, credentials: Credentials = None) -> None:
        self.operator = Account(credentials)

    async def of(self, owner: str) -> Account:
        """The one that there is."""
        return self.operator
