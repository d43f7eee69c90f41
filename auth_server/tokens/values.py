"""What a caller gets when it proves who it is."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class AccessToken:
    """A signed JWT; its times are UTC and whole seconds."""

    value: str
    subject: str
    scopes: frozenset[str]
    issue_time: datetime
    expire_time: datetime

    @property
    def lifetime_seconds(self) -> int:
        """How long it is valid from its issue on."""
        return int((self.expire_time - self.issue_time).total_seconds())


@dataclass(frozen=True)
class RefreshToken:
    """Good for one renewal. `expire_time` (UTC) is when it ends unused."""

    value: str
    expire_time: datetime


@dataclass(frozen=True)
class TokenPair:
    """What a login gives; a service identity gets no refresh token, since it has its secret."""

    access: AccessToken
    refresh: RefreshToken | None


@dataclass(frozen=True)
class Login:
    """What is kept of a login: the hash of its newest refresh token, and when it ends, unused or in any case."""

    login_id: str
    subject: str
    token_hash: str
    idle_end_time: datetime
    end_time: datetime


@dataclass(frozen=True)
class StoredKey:
    """A signing key as it is kept: readable with the key file only. Without `withdraw_time` it signs."""

    kid: str
    sealed_private_key: str
    create_time: datetime
    withdraw_time: datetime | None
