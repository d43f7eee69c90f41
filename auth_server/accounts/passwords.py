"""Passwords: what makes a good one, and their hashes."""

import asyncio
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from servicekit.errors import InvalidArgument, Reason, ResourceExhausted

P = ParamSpec("P")
R = TypeVar("R")

SHORTEST_PASSWORD = 12
FEWEST_DIFFERENT_CHARACTERS = 5


def check_password(password: str, account_id: str, field: str) -> None:
    """Refuses a password that is guessed early.

    Raises:
        InvalidArgument: INVALID_FIELD, with what is wrong with it.
    """
    if len(password) < SHORTEST_PASSWORD:
        problem = f"it has {len(password)} characters: take at least {SHORTEST_PASSWORD}"
    elif len(set(password)) < FEWEST_DIFFERENT_CHARACTERS:
        problem = f"it repeats few characters: take at least {FEWEST_DIFFERENT_CHARACTERS} different ones"
    elif len(account_id) > 3 and account_id in password.lower():
        problem = "it contains the user name: leave that out"
    else:
        return
    raise InvalidArgument(Reason.INVALID_FIELD, f"the password is too weak: {problem}", field=field)


class Passwords:
    """Hashes with argon2id (RFC 9106) in threads of its own, so that the event loop never waits for one."""

    def __init__(self, hasher: PasswordHasher | None = None, *, threads: int = 2, most_waiting: int = 100) -> None:
        """Each thread takes the memory of one hash, 64 MiB by default; above `most_waiting` hashes at once, more are
        refused."""
        self._hasher = hasher or PasswordHasher()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._most_waiting = most_waiting
        self._waiting = 0
        # What an unknown user's password is held against, so that it takes as long as a known one's.
        self._nobody = self._hasher.hash("nobody")

    async def hash(self, password: str) -> str:
        """The hash to keep, with its parameters and salt.

        Raises:
            ResourceExhausted: TOO_MANY_ATTEMPTS, too many wait already.
        """
        return await self._in_thread(self._hasher.hash, _bytes(password))

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Whether this is the password; None, for an unknown user, takes as long and is always false.

        Raises:
            ResourceExhausted: TOO_MANY_ATTEMPTS, too many wait already.
        """
        return await self._in_thread(self._matches, _bytes(password), password_hash)

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        """Ends the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _matches(self, password: bytes, password_hash: str | None) -> bool:
        try:
            self._hasher.verify(password_hash or self._nobody, password)
        except (VerificationError, InvalidHashError):
            return False
        return password_hash is not None

    async def _in_thread(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        if self._waiting >= self._most_waiting:
            raise ResourceExhausted(
                Reason.TOO_MANY_ATTEMPTS,
                f"{self._waiting} passwords are being checked already: try again in a moment",
                retry_after_seconds=2,
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *args, **kwargs))
        finally:
            self._waiting -= 1


def _bytes(password: str) -> bytes:
    # The same characters can reach us composed or decomposed, depending on the keyboard and the system.
    return unicodedata.normalize("NFC", password).encode()
