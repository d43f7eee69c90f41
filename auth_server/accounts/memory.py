"""Accounts and service identities in memory, for tests."""

from dataclasses import replace

from auth_server.accounts.scopes import AUTH_ADMIN
from auth_server.accounts.store import LastAdministrator
from auth_server.accounts.values import Account, ServiceIdentity


class MemoryAccountStore:
    """`AccountStore` in a dict."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}

    async def add(self, account: Account) -> bool:
        """Keeps it, unless the user name is taken."""
        return self._accounts.setdefault(account.account_id, account) is account

    async def get(self, account_id: str) -> Account | None:
        """Looks it up."""
        return self._accounts.get(account_id)

    async def list(self, after: str, limit: int) -> list[Account]:
        """Sorts and cuts."""
        return [self._accounts[key] for key in sorted(self._accounts) if key > after][:limit]

    async def replace(self, account: Account, revision: int) -> bool:
        """Replaces it at this revision."""
        if account.disabled or AUTH_ADMIN not in account.scopes:
            self._require_another_administrator(account.account_id)
        known = self._accounts.get(account.account_id)
        if known is None or known.revision != revision:
            return False
        self._accounts[account.account_id] = account
        return True

    async def remove(self, account_id: str) -> bool:
        """Forgets it."""
        self._require_another_administrator(account_id)
        return self._accounts.pop(account_id, None) is not None

    async def is_empty(self) -> bool:
        """Whether the dict is empty."""
        return not self._accounts

    def _require_another_administrator(self, account_id: str) -> None:
        administrators = {
            account.account_id
            for account in self._accounts.values()
            if not account.disabled and AUTH_ADMIN in account.scopes
        }
        if administrators == {account_id}:
            raise LastAdministrator


class MemoryServiceIdentityStore:
    """`ServiceIdentityStore` in a dict."""

    def __init__(self) -> None:
        self._identities: dict[str, ServiceIdentity] = {}

    async def add(self, identity: ServiceIdentity) -> bool:
        """Keeps it, unless the id is taken."""
        return self._identities.setdefault(identity.identity_id, identity) is identity

    async def put(self, identity: ServiceIdentity) -> None:
        """Keeps it with the first time of creation."""
        known = self._identities.get(identity.identity_id, identity)
        self._identities[identity.identity_id] = replace(identity, create_time=known.create_time)

    async def get(self, identity_id: str) -> ServiceIdentity | None:
        """Looks it up."""
        return self._identities.get(identity_id)

    async def list(self, after: str, limit: int) -> list[ServiceIdentity]:
        """Sorts and cuts."""
        return [self._identities[key] for key in sorted(self._identities) if key > after][:limit]

    async def set_secret(self, identity_id: str, secret_hash: str) -> bool:
        """Replaces the hash."""
        known = self._identities.get(identity_id)
        if known is not None:
            self._identities[identity_id] = replace(known, secret_hash=secret_hash)
        return known is not None

    async def remove(self, identity_id: str) -> bool:
        """Forgets it."""
        return self._identities.pop(identity_id, None) is not None
