"""Access tokens: short-lived JWTs (RFC 9068) that the other services verify without asking back."""

import uuid
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

import jwt

from auth_server.tokens.key_ring import KeyRing
from auth_server.tokens.signing_keys import ALGORITHM
from auth_server.tokens.values import AccessToken


class AccessTokens:
    """Issues access tokens."""

    def __init__(
        self,
        keys: KeyRing,
        issuer: str,
        audience: str,
        lifetime: timedelta,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._lifetime = lifetime
        self._now = now

    def issue(self, subject: str, scopes: Collection[str]) -> AccessToken:
        """A token for `subject` that permits `scopes`, signed with the current key."""
        issued = self._now().replace(microsecond=0)
        expires = issued + self._lifetime
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject,
            "iat": issued,
            "nbf": issued,
            "exp": expires,
            "jti": uuid.uuid4().hex,
            "scope": " ".join(sorted(scopes)),
        }
        key = self._keys.current()
        value = jwt.encode(claims, key.private_key, ALGORITHM, headers={"kid": key.kid, "typ": "at+jwt"})
        return AccessToken(value, subject, frozenset(scopes), issued, expires)
