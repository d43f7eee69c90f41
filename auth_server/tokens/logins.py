"""Logins, and the refresh tokens that keep them alive."""

import hashlib
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from auth_server.tokens.store import LoginStore
from auth_server.tokens.values import Login, RefreshToken
from servicekit.errors import Reason, Unauthenticated

log = structlog.get_logger()

LOGIN_ID_BYTES = 16
SECRET_BYTES = 32
TOKEN = re.compile(r"[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}")


class Logins:
    """All logins. A refresh token is `login id.secret`; only the hash of the newest secret is kept.

    Each works once. An older one that comes again was copied by somebody, and nobody can tell who of the two is right:
    the login ends for both (RFC 9700, 4.14.2).
    """

    def __init__(
        self,
        store: LoginStore,
        *,
        idle_lifetime: timedelta,
        lifetime: timedelta,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """A login ends when its newest token was not used for `idle_lifetime`, and in any case after `lifetime`."""
        self._store = store
        self._idle_lifetime = idle_lifetime
        self._lifetime = lifetime
        self._now = now

    async def open(self, subject: str) -> RefreshToken:
        """Begins a login and returns its first refresh token."""
        now = self._now()
        secret = secrets.token_urlsafe(SECRET_BYTES)
        login = Login(
            login_id=secrets.token_urlsafe(LOGIN_ID_BYTES),
            subject=subject,
            token_hash=_hash(secret),
            idle_end_time=now + self._idle_lifetime,
            end_time=now + self._lifetime,
        )
        await self._store.add(login)
        return _refresh_token(login, secret)

    async def renew(self, token: str) -> tuple[str, RefreshToken]:
        """Returns the login's subject and its next refresh token.

        Raises:
            Unauthenticated: REFRESH_TOKEN_REJECTED; if the token was used before, its login has ended now.
        """
        if not TOKEN.fullmatch(token):
            raise refresh_token_rejected()
        login_id, secret = token.split(".")
        now = self._now()
        next_secret = secrets.token_urlsafe(SECRET_BYTES)
        login = await self._store.advance(login_id, _hash(secret), _hash(next_secret), now, now + self._idle_lifetime)
        if login is None:
            if await self._store.remove(login_id):
                log.warning("refresh_token_reused", login=login_id)
            raise refresh_token_rejected()
        return login.subject, _refresh_token(login, next_secret)

    async def end(self, token: str) -> None:
        """Ends the login of a refresh token, if there is one. Who has any of its tokens may end it."""
        if TOKEN.fullmatch(token):
            await self._store.remove(token.split(".")[0])

    async def end_all(self, subject: str) -> None:
        """Ends every login of a subject."""
        count = await self._store.remove_all(subject)
        log.info("logins_ended", subject=subject, count=count)

    async def forget_ended(self) -> None:
        """Deletes what is kept of logins whose time is over."""
        await self._store.remove_ended(self._now())


def refresh_token_rejected() -> Unauthenticated:
    """The one answer to every refresh token that is not good."""
    return Unauthenticated(
        Reason.REFRESH_TOKEN_REJECTED,
        "the refresh token is unknown, used before, revoked or too old: log in again",
    )


def _refresh_token(login: Login, secret: str) -> RefreshToken:
    return RefreshToken(f"{login.login_id}.{secret}", min(login.idle_end_time, login.end_time))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
