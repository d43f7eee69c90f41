"""Tokens of an issuer that tests own."""

import secrets
from datetime import UTC, datetime, timedelta

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from servicekit.key_sets import StaticKeySet, VerificationKey
from servicekit.tokens import TokenVerifier

ISSUER = "https://issuer.test"
AUDIENCE = "flare"
ALL_SCOPES = (
    "auth.read auth.admin datasets.read datasets.write models.read models.write training.read training.write "
    "predictions.read"
)


class TokenIssuer:
    """Signs tokens the way any OpenID provider would, and verifies them the way a service does."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        keys = StaticKeySet([VerificationKey("test-key", "EdDSA", self.key.public_key())])
        self.verifier = TokenVerifier(ISSUER, AUDIENCE, keys, leeway_seconds=0)

    def token(self, subject: str = "accounts/ann", scope: str = ALL_SCOPES, seconds: float = 600) -> str:
        """A token that ends `seconds` from now."""
        now = datetime.now(UTC)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "iat": now - timedelta(hours=1),
            "exp": (now + timedelta(seconds=seconds)).timestamp(),
            "jti": secrets.token_hex(8),
            "scope": scope,
        }
        return jwt.encode(claims, self.key, algorithm="EdDSA", headers={"kid": "test-key"})

    def metadata(
        self, subject: str = "accounts/ann", scope: str = ALL_SCOPES, seconds: float = 600
    ) -> tuple[tuple[str, str], ...]:
        """A call's metadata with such a token."""
        return (("authorization", f"Bearer {self.token(subject, scope, seconds)}"),)
