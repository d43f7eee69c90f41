"""Where accounts and service identities are kept."""

from typing import Protocol

from auth_server.accounts.values import Account, ServiceIdentity


class AccountStore(Protocol):
    """Accounts by user name."""

    async def add(self, account: Account) -> bool:
        """Keeps a new account; False, and nothing is kept, if the user name is taken."""

    async def get(self, account_id: str) -> Account | None:
        """The account, None if there is none."""

    async def list(self, after: str, limit: int) -> list[Account]:
        """At most `limit` accounts with a user name above `after`, by user name."""

    async def replace(self, account: Account, revision: int) -> bool:
        """Keeps the account's new state; False, and nothing changes, unless the kept one has this `revision`.

        Raises:
            LastAdministrator: Nobody enabled would hold `auth.admin` any more.
        """

    async def remove(self, account_id: str) -> bool:
        """Deletes an account; False if there is none.

        Raises:
            LastAdministrator: Nobody enabled would hold `auth.admin` any more.
        """

    async def is_empty(self) -> bool:
        """Whether there is no account at all."""


class ServiceIdentityStore(Protocol):
    """Service identities by id."""

    async def add(self, identity: ServiceIdentity) -> bool:
        """Keeps a new identity; False, and nothing is kept, if the id is taken."""

    async def put(self, identity: ServiceIdentity) -> None:
        """Keeps the identity's new state, whether there was one or not. The first `create_time` stays."""

    async def get(self, identity_id: str) -> ServiceIdentity | None:
        """The identity, None if there is none."""

    async def list(self, after: str, limit: int) -> list[ServiceIdentity]:
        """At most `limit` identities with an id above `after`, by id."""

    async def set_secret(self, identity_id: str, secret_hash: str) -> bool:
        """Replaces the secret; False if there is no such identity."""

    async def remove(self, identity_id: str) -> bool:
        """Deletes an identity; False if there is none."""


class LastAdministrator(Exception):
    """The change would leave nobody who can administer accounts."""
