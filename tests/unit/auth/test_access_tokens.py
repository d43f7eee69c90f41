"""Issue and verification are each other's inverse, whatever happens to the keys in between."""

from datetime import timedelta

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_server.accounts.scopes import ALL_SCOPES
from auth_server.tokens.access_tokens import AccessTokens
from auth_server.tokens.key_ring import KeyRing
from auth_server.tokens.memory import MemorySigningKeyStore
from auth_server.tokens.signing_keys import KeySealer
from servicekit.errors import Reason, Unauthenticated
from servicekit.tokens import TokenVerifier
from tests.unit.auth.conftest import Clock

ISSUER = "https://auth.example"
LIFETIME = timedelta(seconds=900)


def key_ring(clock: Clock) -> KeyRing:
    return KeyRing(
        MemorySigningKeyStore(),
        KeySealer(KeySealer.new_key()),
        overlap=LIFETIME + timedelta(seconds=300),
        longest_use=timedelta(days=90),
        now=clock,
    )


@given(
    subject=st.text(min_size=1, max_size=255).filter(lambda text: text.isprintable()),
    scopes=st.frozensets(st.sampled_from(ALL_SCOPES)),
    rotations=st.integers(0, 3),
    age=st.integers(0, 899),
)
async def test_verify_of_issue_is_identity(subject: str, scopes: frozenset[str], rotations: int, age: int) -> None:
    clock = Clock()
    ring = key_ring(clock)
    await ring.start()
    token = AccessTokens(ring, ISSUER, "flare", LIFETIME, clock).issue(subject, scopes)
    for _ in range(rotations):
        await ring.rotate()
    clock.advance(age)
    await ring.refresh()
    caller = await TokenVerifier(ISSUER, "flare", ring, now=clock.seconds).verify(token.value)
    assert (caller.subject, caller.scopes, caller.expire_time) == (subject, scopes, token.expire_time)


async def test_token_ends_after_its_lifetime(clock: Clock) -> None:
    ring = key_ring(clock)
    await ring.start()
    token = AccessTokens(ring, ISSUER, "flare", LIFETIME, clock).issue("accounts/ann", [])
    clock.advance(906)
    with pytest.raises(Unauthenticated) as caught:
        await TokenVerifier(ISSUER, "flare", ring, now=clock.seconds).verify(token.value)
    assert caught.value.reason is Reason.TOKEN_EXPIRED


async def test_claims_are_those_of_the_standard(clock: Clock) -> None:
    ring = key_ring(clock)
    await ring.start()
    tokens = AccessTokens(ring, ISSUER, "flare", LIFETIME, clock)
    first, second = (tokens.issue("accounts/ann", ["b.read", "a.read"]).value for _ in range(2))
    now = int(clock.seconds())
    claims = jwt.decode(first, options={"verify_signature": False})
    assert claims.pop("jti") != jwt.decode(second, options={"verify_signature": False})["jti"]
    assert claims == {
        "iss": ISSUER,
        "aud": "flare",
        "sub": "accounts/ann",
        "iat": now,
        "nbf": now,
        "exp": now + 900,
        "scope": "a.read b.read",
    }
    assert jwt.get_unverified_header(first) == {"alg": "EdDSA", "typ": "at+jwt", "kid": ring.current().kid}
