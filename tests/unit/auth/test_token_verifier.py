"""Which tokens a service accepts, and what it says of the others."""

import asyncio
import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from servicekit.errors import Reason, Unauthenticated
from servicekit.key_sets import StaticKeySet, VerificationKey, keys_of
from servicekit.tokens import TokenVerifier
from tests.unit.auth.conftest import Clock

ISSUER = "https://issuer.example"
AUDIENCE = "flare"
KEY = Ed25519PrivateKey.generate()
KEYS = StaticKeySet([VerificationKey("k1", "EdDSA", KEY.public_key())])


def claims(clock: Clock, **changes: Any) -> dict[str, Any]:
    """Good claims with some changed; None leaves one out."""
    now = clock.seconds()
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "accounts/ann",
        "iat": now,
        "exp": now + 60,
        "scope": "a.read b.read",
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def signed(body: dict[str, Any], key: Any = KEY, algorithm: str = "EdDSA", kid: str | None = "k1") -> str:
    return jwt.encode(body, key, algorithm, headers={"kid": kid} if kid else {})


def verifier(clock: Clock, keys: Any = KEYS, **options: Any) -> TokenVerifier:
    return TokenVerifier(ISSUER, AUDIENCE, keys, now=clock.seconds, **options)


async def refusal(token: str, clock: Clock) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as caught:
        await verifier(clock).verify(token)
    return caught.value


async def test_good_token_names_its_caller(clock: Clock) -> None:
    token = signed(claims(clock))
    caller = await verifier(clock).verify(token)
    assert (caller.subject, caller.scopes, caller.token) == ("accounts/ann", frozenset({"a.read", "b.read"}), token)
    assert caller.expire_time.timestamp() == clock.seconds() + 60


@pytest.mark.parametrize(
    "scopes",
    [
        {"scope": None, "scp": ["a.read", "b.read"]},
        {"scope": None, "scp": "a.read b.read"},
        {"scope": ["b.read", "a.read"]},
    ],
)
async def test_scopes_as_other_providers_write_them(clock: Clock, scopes: dict[str, Any]) -> None:
    assert (await verifier(clock).verify(signed(claims(clock, **scopes)))).scopes == {"a.read", "b.read"}


async def test_token_without_scopes_has_none(clock: Clock) -> None:
    assert (await verifier(clock).verify(signed(claims(clock, scope=None)))).scopes == frozenset()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"iss": "https://other.example"}, "not issued by 'https://issuer.example'"),
        ({"aud": "other"}, "not meant for 'flare'"),
        ({"sub": None}, '"sub" claim'),
        ({"sub": ""}, "subject"),
        ({"sub": "x" * 256}, "subject"),
        ({"exp": None}, '"exp" claim'),
        ({"exp": "soon"}, "'exp' is not a time"),
        ({"exp": 1e300}, "'exp' is not a time"),
        ({"iat": None}, '"iat" claim'),
        ({"aud": None}, '"aud" claim'),
        ({"iss": None}, '"iss" claim'),
        ({"scope": {"a": 1}}, "scopes"),
        ({"scope": ["a", 1]}, "scopes"),
    ],
)
async def test_wrong_claims_are_named(clock: Clock, changes: dict[str, Any], text: str) -> None:
    error = await refusal(signed(claims(clock, **changes)), clock)
    assert error.reason is Reason.TOKEN_INVALID
    assert text in error.message


async def test_expired_token_says_when_it_ended_and_what_to_do(clock: Clock) -> None:
    token = signed(claims(clock))
    clock.advance(66)
    error = await refusal(token, clock)
    assert error.reason is Reason.TOKEN_EXPIRED
    assert "ended at 2026-01-01 12:01:00 UTC" in error.message
    assert "refresh" in error.message


async def test_clocks_may_differ_by_the_leeway(clock: Clock) -> None:
    token = signed(claims(clock, nbf=clock.seconds() + 4))
    await verifier(clock).verify(token)
    clock.advance(64)
    await verifier(clock).verify(token)


@pytest.mark.parametrize("claim", ["nbf", "iat"])
async def test_token_of_the_future_is_refused(clock: Clock, claim: str) -> None:
    error = await refusal(signed(claims(clock, **{claim: clock.seconds() + 30})), clock)
    assert error.reason is Reason.TOKEN_INVALID
    assert "not valid before 2026-01-01 12:00:30 UTC" in error.message


@pytest.mark.parametrize("token", ["", "garbage", "a.b.c", "é" * 10, "\udcff.x.y", "x" * 20_000, "..", "a" * 5 + ".."])
async def test_garbage_is_refused(clock: Clock, token: str) -> None:
    assert (await refusal(token, clock)).reason is Reason.TOKEN_INVALID


async def test_header_that_no_parser_survives_is_refused(clock: Clock) -> None:
    header = base64.urlsafe_b64encode(b'{"a":' + b"[" * 11_000).decode().rstrip("=")
    assert (await refusal(f"{header}.e30.AA", clock)).reason is Reason.TOKEN_INVALID


async def test_unsigned_token_is_refused(clock: Clock) -> None:
    error = await refusal(jwt.encode(claims(clock), None, "none", headers={"kid": "k1"}), clock)  # type: ignore[arg-type]
    assert error.reason is Reason.TOKEN_INVALID
    assert "algorithm 'none'" in error.message


async def test_hmac_with_the_public_key_is_refused(clock: Clock) -> None:
    public = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    error = await refusal(signed(claims(clock), public + b"\0" * 32, "HS256"), clock)
    assert error.reason is Reason.TOKEN_INVALID
    assert "algorithm 'HS256'" in error.message


async def test_algorithm_of_another_key_type_is_refused(clock: Clock) -> None:
    error = await refusal(signed(claims(clock), ec.generate_private_key(ec.SECP256R1()), "ES256"), clock)
    assert "'ES256' is not that of key 'k1'" in error.message


async def test_signature_of_another_key_is_refused(clock: Clock) -> None:
    assert (await refusal(signed(claims(clock), Ed25519PrivateKey.generate()), clock)).reason is Reason.TOKEN_INVALID


async def test_changed_claims_are_refused(clock: Clock) -> None:
    head, _, signature = signed(claims(clock)).split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims(clock, sub="accounts/eve")).encode()).decode().rstrip("=")
    assert (await refusal(f"{head}.{body}.{signature}", clock)).reason is Reason.TOKEN_INVALID


async def test_unknown_and_unnamed_keys_are_refused(clock: Clock) -> None:
    assert "no key 'k9'" in (await refusal(signed(claims(clock), kid="k9"), clock)).message
    assert "names no key" in (await refusal(signed(claims(clock), kid=None), clock)).message


async def test_algorithms_can_be_narrowed(clock: Clock) -> None:
    with pytest.raises(Unauthenticated, match="is not one of ES256"):
        await verifier(clock, algorithms=["ES256"]).verify(signed(claims(clock)))


async def test_remembered_token_ends_in_time(clock: Clock) -> None:
    token, checks = signed(claims(clock)), verifier(clock, leeway_seconds=0)
    assert await checks.verify(token) is await checks.verify(token)
    clock.advance(60)
    with pytest.raises(Unauthenticated) as caught:
        await checks.verify(token)
    assert caught.value.reason is Reason.TOKEN_EXPIRED


async def test_remembered_token_ends_with_its_key(clock: Clock) -> None:
    class Withdrawable(StaticKeySet):
        def withdraw(self) -> None:
            self._keys.clear()

    keys = Withdrawable([VerificationKey("k1", "EdDSA", KEY.public_key())])
    checks, token = verifier(clock, keys), signed(claims(clock))
    await checks.verify(token)
    keys.withdraw()
    with pytest.raises(Unauthenticated, match="no key 'k1'"):
        await checks.verify(token)


async def test_memory_of_tokens_is_bounded(clock: Clock) -> None:
    checks = verifier(clock, remembered_tokens=2)
    tokens = [signed(claims(clock, sub=f"accounts/a{index}")) for index in range(5)]
    callers = [await checks.verify(token) for token in tokens]
    assert await checks.verify(tokens[4]) is callers[4]
    assert await checks.verify(tokens[0]) is not callers[0]
    assert (await checks.verify(tokens[0])).subject == "accounts/a0"


async def test_keys_of_other_providers(clock: Clock) -> None:
    rsa_key, ec_key = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
    entries = [
        {**jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key.public_key(), as_dict=True), "kid": "r", "use": "sig"},
        {**jwt.algorithms.ECAlgorithm.to_jwk(ec_key.public_key(), as_dict=True), "kid": "e", "alg": "ES256"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "symmetric"},
        {**jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key.public_key(), as_dict=True), "kid": "encrypts", "use": "enc"},
        {**jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key.public_key(), as_dict=True), "kid": "pss", "alg": "PS256"},
    ]
    keys = keys_of(json.dumps({"keys": entries}).encode())
    assert [key.kid for key in keys] == ["r", "e"]
    checks = verifier(clock, StaticKeySet(keys))
    for key, algorithm, kid in [(rsa_key, "RS256", "r"), (ec_key, "ES256", "e")]:
        assert (await checks.verify(signed(claims(clock), key, algorithm, kid))).subject == "accounts/ann"


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b'{"keys": 3}', b'{"keys": [3]}', b"\xff", b'{"keys": [{"kid": "a", "kty": "RSA"}]}'],
)
def test_key_set_that_is_none_is_named(document: bytes) -> None:
    with pytest.raises(ValueError, match="not a JSON web key set"):
        keys_of(document)


async def test_repeated_token_costs_microseconds(clock: Clock) -> None:
    checks, token = verifier(clock), signed(claims(clock))
    await checks.verify(token)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(1000):
        await checks.verify(token)
    assert loop.time() - began < 0.1  # 100 µs each would be ten times too much
