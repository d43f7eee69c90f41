"""Ed25519 keys that sign access tokens (RFC 8037)."""

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auth_server.tokens.values import StoredKey
from servicekit.key_sets import VerificationKey

ALGORITHM = "EdDSA"


class KeyFileError(ValueError):
    """The key file does not open the signing keys in the database."""


@dataclass(frozen=True)
class PublicKey:
    """A public key as a JSON web key (RFC 7517)."""

    kid: str
    x: str
    kty: str = "OKP"
    crv: str = "Ed25519"
    alg: str = ALGORITHM
    use: str = "sig"


@dataclass(frozen=True)
class SigningKey:
    """A private key. Without `withdraw_time` it signs; until then tokens that it signed may still be valid."""

    private_key: Ed25519PrivateKey
    public: PublicKey
    verification: VerificationKey
    create_time: datetime
    withdraw_time: datetime | None = None

    @property
    def kid(self) -> str:
        """The key's id: the thumbprint of its public half (RFC 7638)."""
        return self.public.kid


def new_signing_key(now: datetime) -> SigningKey:
    """A random key."""
    return _signing_key(Ed25519PrivateKey.generate(), now, None)


class KeySealer:
    """Encrypts private keys, so that neither the database nor its backups alone can sign tokens."""

    def __init__(self, key: str) -> None:
        """Takes a Fernet key: 32 random bytes in base64url.

        Raises:
            KeyFileError: It is something else.
        """
        try:
            self._fernet = Fernet(key)
        except ValueError as error:
            raise KeyFileError("the key file does not hold 32 bytes in base64url: restore it from a backup") from error

    @staticmethod
    def new_key() -> str:
        """A random key for a key file."""
        return Fernet.generate_key().decode()

    def seal(self, key: SigningKey) -> StoredKey:
        """The key as it is kept."""
        sealed = self._fernet.encrypt(key.private_key.private_bytes_raw()).decode()
        return StoredKey(key.kid, sealed, key.create_time, key.withdraw_time)

    def open(self, stored: StoredKey) -> SigningKey:
        """The key as it was before `seal`.

        Raises:
            KeyFileError: It was sealed with another key file.
        """
        try:
            raw = self._fernet.decrypt(stored.sealed_private_key)
        except InvalidToken as error:
            raise KeyFileError(
                f"the key file does not open signing key '{stored.kid}' of the database: restore the file that belongs "
                "to this database, or empty its table signing_keys, which ends every access token"
            ) from error
        return _signing_key(Ed25519PrivateKey.from_private_bytes(raw), stored.create_time, stored.withdraw_time)


def _signing_key(private_key: Ed25519PrivateKey, created: datetime, withdrawn: datetime | None) -> SigningKey:
    public_key = private_key.public_key()
    x = _base64url(public_key.public_bytes_raw())
    members = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":"))
    kid = _base64url(hashlib.sha256(members.encode()).digest())
    return SigningKey(private_key, PublicKey(kid, x), VerificationKey(kid, ALGORITHM, public_key), created, withdrawn)


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
