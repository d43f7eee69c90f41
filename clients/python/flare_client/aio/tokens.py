"""Access tokens that are renewed before they end, by one call at a time."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Protocol

import grpc

from flare_client.aio.runtime import Lock, sleep
from flare_client.errors import FlareError, is_away
from flare_client.profile import ProfileStore, Tokens

LOCK_POLL_SECONDS = 0.05


class Issuer(Protocol):
    """What the auth service does for a caller without a token."""

    async def login(self, username: str, password: str) -> Tokens:
        """Tokens for a password."""

    async def refresh(self, refresh_token: str) -> Tokens:
        """The next tokens."""


class TokenSource(Protocol):
    """Gives the token that a call presents."""

    async def current(self) -> str:
        """A token that has not ended, as far as this machine's clock can say."""

    async def renew(self, rejected: str) -> None:
        """Replaces a token that a service called expired. Raises FlareError if there is no way to."""


class GivenToken:
    """A token that somebody else issued and renews."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def current(self) -> str:
        """The token."""
        return self._token

    async def renew(self, rejected: str) -> None:
        """Raises FlareError: there is no other."""
        raise FlareError(
            grpc.StatusCode.UNAUTHENTICATED,
            "TOKEN_EXPIRED",
            "the given token has ended: give a new one, or a user name and password, which renew it by themselves",
        )


class RenewableTokens(ABC):
    """Keeps tokens and replaces them. Calls that need new ones at the same time wait for one answer."""

    def __init__(self, tokens: Tokens | None) -> None:
        self._tokens = tokens
        self._lock = Lock()

    async def current(self) -> str:
        """A token that lasts a while longer."""
        tokens = self._tokens
        if tokens is not None and not tokens.ends_soon():
            return tokens.access_token
        async with self._lock:
            if self._tokens is None or self._tokens.ends_soon():
                await self._replace()
            assert self._tokens is not None
            return self._tokens.access_token

    async def renew(self, rejected: str) -> None:
        """Replaces the token unless another call did so meanwhile."""
        async with self._lock:
            if self._tokens is None or self._tokens.access_token == rejected:
                self._tokens = await self._next(self._tokens)

    async def _replace(self) -> None:
        try:
            self._tokens = await self._next(self._tokens)
        except FlareError as error:
            usable = self._tokens is not None and self._tokens.access_expire_time > time.time()
            if not (usable and is_away(error)):
                raise  # while the auth service restarts, a token that ends soon is still good

    @abstractmethod
    async def _next(self, tokens: Tokens | None) -> Tokens:
        """Newer tokens than these."""


class AccountTokens(RenewableTokens):
    """The tokens of an account whose password is known."""

    def __init__(self, issuer: Issuer, username: str, password: str) -> None:
        super().__init__(None)
        self._issuer = issuer
        self._username = username
        self._password = password

    async def _next(self, tokens: Tokens | None) -> Tokens:
        if tokens is not None and tokens.refresh_token:
            try:
                return await self._issuer.refresh(tokens.refresh_token)
            except FlareError as error:
                if error.code is not grpc.StatusCode.UNAUTHENTICATED:
                    raise
        return await self._issuer.login(self._username, self._password)


class StoredTokens(RenewableTokens):
    """The tokens of the stored login, shared with other processes."""

    def __init__(self, issuer: Issuer, store: ProfileStore, tokens: Tokens) -> None:
        super().__init__(tokens)
        self._issuer = issuer
        self._store = store

    async def _next(self, tokens: Tokens | None) -> Tokens:
        while True:
            with self._store.try_lock() as is_ours:
                if is_ours:
                    return await self._next_while_locked(tokens)
            await sleep(LOCK_POLL_SECONDS)

    async def _next_while_locked(self, tokens: Tokens | None) -> Tokens:
        profile = self._store.load()
        stored = profile.tokens if profile else tokens
        if stored is None:
            raise _login_needed("nobody is logged in")
        if (tokens is None or stored.access_token != tokens.access_token) and not stored.ends_soon():
            return stored  # another process was here first
        if not stored.refresh_token:
            raise _login_needed("the stored login has ended")
        try:
            newer = await self._issuer.refresh(stored.refresh_token)
        except FlareError as error:
            if error.code is grpc.StatusCode.UNAUTHENTICATED:
                raise _login_needed("the stored login has ended", error.reason) from error
            raise
        self._store.save_tokens(newer)
        return newer


class NoTokens:
    """Nobody is logged in."""

    async def current(self) -> str:
        """Raises FlareError with the ways to log in."""
        raise _login_needed("nobody is logged in")

    async def renew(self, rejected: str) -> None:
        """Raises the same."""
        raise _login_needed("nobody is logged in")


def _login_needed(cause: str, reason: str = "TOKEN_MISSING") -> FlareError:
    return FlareError(
        grpc.StatusCode.UNAUTHENTICATED,
        reason,
        f"{cause}: run `flare login`, or give username and password, or a token (FLARE_USERNAME and FLARE_PASSWORD, "
        "FLARE_TOKEN)",
    )
