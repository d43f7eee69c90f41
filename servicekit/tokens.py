"""Access tokens at the services: a caller's verified off the network, a service's own obtained and renewed."""

import asyncio
import base64
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

import aiohttp
import jwt
import structlog

from servicekit.errors import Reason, Unauthenticated, Unavailable
from servicekit.identity import Caller
from servicekit.key_sets import KeySet, RemoteKeySet, VerificationKey

log = structlog.get_logger()

TOKEN_LIMIT_CHARACTERS = 16_384
SUBJECT_LIMIT_CHARACTERS = 255
# Not `nbf`: it is checked where it stands, but many OpenID providers do not write it.
REQUIRED_CLAIMS = ["iss", "aud", "sub", "iat", "exp"]


@dataclass(frozen=True)
class _Verified:
    caller: Caller
    key: VerificationKey
    last_moment: float  # Unix seconds


class TokenVerifier:
    """Tells who calls from a signed JWT of the issuer that this service trusts. A `Component` of the server."""

    def __init__(
        self,
        issuer: str,
        audience: str,
        keys: str | KeySet,
        *,
        algorithms: Sequence[str] = ("EdDSA", "RS256", "ES256"),
        leeway_seconds: float = 5,
        remembered_tokens: int = 4096,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`keys` is the issuer's JWKS address or a key set; `leeway_seconds` is how far clocks may differ."""
        self._issuer = issuer
        self._audience = audience
        self._keys = RemoteKeySet(keys) if isinstance(keys, str) else keys
        self._algorithms = frozenset(algorithms)
        self._leeway_seconds = leeway_seconds
        self._remembered_tokens = remembered_tokens
        self._now = now
        self._verified: OrderedDict[str, _Verified] = OrderedDict()
        """By token, which a caller holds anyhow."""

    async def start(self) -> None:
        """Begins to fetch the keys, without waiting for them."""
        await self._keys.start()

    async def drain(self) -> None:
        """Stops fetching."""
        await self._keys.close()

    def known(self, token: str) -> Caller | None:
        """The caller of a token that was verified before, if it and its key are still good."""
        known = self._verified.get(token)
        if known is None or self._now() >= known.last_moment:
            return None
        if self._keys.find(known.key.kid) is not known.key:  # a withdrawn key takes its tokens along
            return None
        self._verified.move_to_end(token)
        return known.caller

    async def verify(self, token: str) -> Caller:
        """Returns the token's caller.

        Raises:
            Unauthenticated: TOKEN_INVALID or TOKEN_EXPIRED.
            Unavailable: DEPENDENCY_UNAVAILABLE, the key is not known and the issuer does not answer.
        """
        if caller := self.known(token):
            return caller
        self._verified.pop(token, None)
        if len(token) > TOKEN_LIMIT_CHARACTERS:
            raise _invalid(f"it is longer than {TOKEN_LIMIT_CHARACTERS} characters")
        if not token.isascii():
            raise _invalid("it is not a signed JWT")
        key = await self._key_of(token)
        claims = self._claims(token, key)
        caller = _caller(claims, token)
        self._verified[token] = _Verified(caller, key, claims["exp"] + self._leeway_seconds)
        if len(self._verified) > self._remembered_tokens:
            self._verified.popitem(last=False)
        return caller

    async def _key_of(self, token: str) -> VerificationKey:
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError) as error:  # the header is anybody's JSON
            raise _invalid("it is not a signed JWT") from error
        kid, algorithm = header.get("kid"), header.get("alg")
        if algorithm not in self._algorithms:
            raise _invalid(f"its algorithm '{algorithm}' is not one of {', '.join(sorted(self._algorithms))}")
        if not isinstance(kid, str) or not kid:
            raise _invalid("its header names no key (kid)")
        key = self._keys.find(kid) or await self._keys.look_for(kid)
        if key is None:
            raise _invalid(f"the issuer '{self._issuer}' has no key '{kid[:80]}'")
        if key.algorithm != algorithm:
            raise _invalid(f"its algorithm '{algorithm}' is not that of key '{kid[:80]}'")
        return key

    def _claims(self, token: str, key: VerificationKey) -> Mapping[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                issuer=self._issuer,
                audience=self._audience,
                # The times are checked below, by the clock that this verifier was given.
                options={"require": REQUIRED_CLAIMS, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
            starts, ends = max(_time(claims, "iat"), _time(claims, "nbf", 0)), _time(claims, "exp")
        except jwt.InvalidIssuerError as error:
            raise _invalid(f"it was not issued by '{self._issuer}'") from error
        except jwt.InvalidAudienceError as error:
            raise _invalid(f"it is not meant for '{self._audience}'") from error
        except (jwt.PyJWTError, ValueError) as error:
            raise _invalid(str(error)) from error
        now = self._now()
        if starts > now + self._leeway_seconds:
            raise _invalid(f"it is not valid before {_utc(starts):%Y-%m-%d %H:%M:%S} UTC: are the clocks right?")
        if ends + self._leeway_seconds <= now:
            raise _expired(_utc(ends))
        return claims


def _caller(claims: Mapping[str, Any], token: str) -> Caller:
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_LIMIT_CHARACTERS:
        raise _invalid(f"its subject is not a text of 1 to {SUBJECT_LIMIT_CHARACTERS} characters")
    return Caller(subject, _scopes(claims), token, _utc(claims["exp"]))


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """The scopes: `scope` of RFC 9068, or `scp` as some providers write it; each a text or a list."""
    value = claims.get("scope", claims.get("scp", ""))
    if isinstance(value, str):
        return frozenset(value.split())
    if isinstance(value, list) and all(isinstance(scope, str) for scope in value):
        return frozenset(value)
    raise _invalid("its scopes are neither a text nor a list of texts")


def _time(claims: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = claims.get(name, default)
    # 253402300800 is the year 10000, where datetime ends; the comparison refuses NaN as well.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 253_402_300_800:
        raise ValueError(f"its claim '{name}' is not a time")
    return value


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _invalid(cause: str) -> Unauthenticated:
    return Unauthenticated(Reason.TOKEN_INVALID, f"the access token is not accepted: {cause}")


def _expired(ended: datetime) -> Unauthenticated:
    return Unauthenticated(
        Reason.TOKEN_EXPIRED,
        f"the access token ended at {ended:%Y-%m-%d %H:%M:%S} UTC: refresh it, or log in again",
    )


class ServiceTokenSource:
    """A service's own access token, from any OpenID provider's token endpoint (client credentials, RFC 6749 4.4)."""

    def __init__(
        self,
        token_url: str,
        client_id: str,
        secret: str,
        *,
        timeout_seconds: float = 10,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._token_url = token_url
        # RFC 6749 2.3.1: both parts are form-encoded before they go into the Basic header.
        credentials = f"{quote_plus(client_id)}:{quote_plus(secret)}"
        self._authorization = f"Basic {base64.b64encode(credentials.encode()).decode()}"
        self._client_id = client_id
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._now = now
        self._token = ""
        self._renew_time = 0.0  # Unix seconds
        self._end_time = 0.0
        self._one_at_a_time = asyncio.Lock()

    async def token(self) -> str:
        """Returns a token with life left in it: the same one until four fifths of its time are over.

        Raises:
            Unavailable: DEPENDENCY_UNAVAILABLE, the endpoint does not answer or refuses this service.
        """
        if self._now() < self._renew_time:
            return self._token
        async with self._one_at_a_time:
            if self._now() < self._renew_time:  # somebody else has just renewed it
                return self._token
            try:
                await self._renew()
            except Unavailable as error:
                if self._now() >= self._end_time:
                    raise
                log.warning("service_token_not_renewed", token_url=self._token_url, error=error.message)
            return self._token

    async def _renew(self) -> None:
        try:
            async with (
                aiohttp.ClientSession(timeout=self._timeout) as session,
                session.post(
                    self._token_url,
                    data={"grant_type": "client_credentials"},
                    headers={"Authorization": self._authorization, "Accept": "application/json"},
                    allow_redirects=False,  # a secret goes where it was sent and nowhere else
                ) as response,
            ):
                answer = await response.json(content_type=None)
                status = response.status
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise self._unavailable(str(error) or type(error).__name__) from error
        if not isinstance(answer, dict) or status != 200:
            cause = answer.get("error", "") if isinstance(answer, dict) else ""
            raise self._unavailable(f"HTTP status {status} {cause}".rstrip())
        token, lifetime = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(token, str) or not isinstance(lifetime, int | float) or not lifetime > 0:
            raise self._unavailable("the answer lacks access_token or expires_in")
        now = self._now()
        self._token, self._renew_time, self._end_time = token, now + 0.8 * lifetime, now + lifetime

    def _unavailable(self, cause: str) -> Unavailable:
        return Unavailable(
            Reason.DEPENDENCY_UNAVAILABLE,
            f"client '{self._client_id}' gets no token from {self._token_url} ({cause}): check the address, the id and "
            "the secret",
            retry_after_seconds=2,
        )
