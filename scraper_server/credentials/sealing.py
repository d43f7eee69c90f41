"""Encrypts small secrets (AES-256-GCM), each bound to what it belongs to, under keys that can be changed.

A sealed secret is 1 byte of format, 4 bytes that name its key, a nonce of 12 bytes, and the ciphertext with its tag.
"""

import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAKE_A_KEY = "openssl rand -base64 32"
KEY_BYTES = 32
FORMAT = b"\x01"
KEY_NAME_BYTES = 4
NONCE_BYTES = 12
KEY_END = len(FORMAT) + KEY_NAME_BYTES


class Unsealable(Exception):  # a signal to whoever keeps the secret, and knows whose it is
    """No key opens it: it was sealed with another one, was changed, or belongs to something else."""


class Sealer:
    """Seals with the first of its keys, and opens with any of them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """At least one key, each of 32 bytes."""
        names = [_key_name(key) for key in keys]
        self._newest = names[0]
        self._ciphers = {name: AESGCM(key) for name, key in zip(names, keys, strict=True)}

    def seal(self, secret: bytes, belongs_to: bytes) -> bytes:
        """The secret, to be opened only together with the same `belongs_to`."""
        nonce = os.urandom(NONCE_BYTES)
        ciphertext = self._ciphers[self._newest].encrypt(nonce, secret, belongs_to)
        return FORMAT + self._newest + nonce + ciphertext

    def open(self, sealed: bytes, belongs_to: bytes) -> bytes:
        """The secret. Raises Unsealable."""
        name, rest = sealed[len(FORMAT) : KEY_END], sealed[KEY_END:]
        cipher = self._ciphers.get(name)
        if cipher is None or not sealed.startswith(FORMAT) or len(rest) < NONCE_BYTES:
            raise Unsealable
        try:
            return cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], belongs_to)
        except InvalidTag as error:
            raise Unsealable from error

    def is_newest(self, sealed: bytes) -> bool:
        """True if it was sealed with the first key."""
        return sealed.startswith(FORMAT + self._newest)


def new_key() -> str:
    """A key as settings hold it."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def read_keys(text: str) -> tuple[bytes, ...]:
    """The keys that a setting holds, separated by commas or line ends; none if it is empty.

    Raises:
        ValueError: One is not a key; the message says which, and not what it is.
    """
    parts = [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]
    return tuple(_read_key(part, number, len(parts)) for number, part in enumerate(parts, 1))


def _read_key(text: str, number: int, count: int) -> bytes:
    try:
        key = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        problem = f"key {number} of {count} is not {KEY_BYTES} bytes in base64: `{MAKE_A_KEY}` makes one"
        raise ValueError(problem) from None  # its cause might show the key
    return key


def _key_name(key: bytes) -> bytes:
    return hashlib.sha256(b"flare sealing key" + key).digest()[:KEY_NAME_BYTES]
