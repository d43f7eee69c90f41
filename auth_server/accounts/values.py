"""People and programs that can call Flare."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime

ACCOUNT_PREFIX = "accounts/"
SERVICE_IDENTITY_PREFIX = "serviceIdentities/"
# As in the contract.
ACCOUNT_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
SERVICE_IDENTITY_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True)
class Account:
    """A person who logs in with a password. `account_id` is the user name; times are UTC."""

    account_id: str
    display_name: str
    scopes: frozenset[str]
    disabled: bool
    password_hash: str
    revision: int
    create_time: datetime
    update_time: datetime

    @property
    def name(self) -> str:
        """The resource name, which is the `sub` of the account's tokens."""
        return f"{ACCOUNT_PREFIX}{self.account_id}"

    @property
    def etag(self) -> str:
        """Differs between any two states of the account, also when it was deleted and made anew."""
        state = f"{self.account_id} {self.create_time.isoformat()} {self.revision}"
        return hashlib.sha256(state.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class ServiceIdentity:
    """A program that gets tokens with a secret, of which only the SHA-256 is kept."""

    identity_id: str
    display_name: str
    scopes: frozenset[str]
    secret_hash: str
    create_time: datetime

    @property
    def name(self) -> str:
        """The resource name, which is the `sub` of the identity's tokens."""
        return f"{SERVICE_IDENTITY_PREFIX}{self.identity_id}"
