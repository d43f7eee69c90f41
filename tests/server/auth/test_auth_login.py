"""Logging in, renewing, logging out, and every way in which that is refused."""

import re
from datetime import UTC, datetime, timedelta

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flare.auth.v1 import account_service_pb2, auth_service_pb2

from servicekit.key_sets import ALGORITHM_OF_KEY
from tests.server.auth.conftest import ISSUER, AuthServer, bearer, refusal

PASSWORD = "correct horse battery"
ALL_BUT_DELEGATE = [
    "auth.admin",
    "auth.read",
    "datasets.read",
    "datasets.write",
    "models.read",
    "models.write",
    "predictions.read",
    "training.read",
    "training.write",
]


async def test_first_start_makes_an_administrator(server: AuthServer) -> None:
    path = server.directory / "admin-password"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(server.admin_password) >= 24
    pair = await server.login()
    assert pair.subject == "accounts/admin"
    assert list(pair.scopes) == ALL_BUT_DELEGATE
    lifetime = pair.access_expire_time.ToDatetime(UTC) - datetime.now(UTC)
    assert timedelta(seconds=880) < lifetime <= timedelta(seconds=900)
    assert pair.refresh_expire_time.ToDatetime(UTC) - datetime.now(UTC) > timedelta(days=13)


async def test_access_token_says_who_calls(server: AuthServer) -> None:
    caller = await server.auth.GetCaller(auth_service_pb2.GetCallerRequest(), metadata=await server.bearer())
    assert (caller.subject, list(caller.scopes)) == ("accounts/admin", ALL_BUT_DELEGATE)


async def test_wrong_password_and_unknown_user_get_one_answer(server: AuthServer) -> None:
    wrong = await refusal(server.login("admin", "wrong password"))
    for username in ("nobody", "Admin", "accounts/admin", "\0", "ä" * 64):
        assert await refusal(server.login(username, "wrong password")) == wrong
    assert (wrong.code, wrong.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_REJECTED")
    assert "user name and password: check both" in wrong.text


async def test_guesser_is_told_to_wait(server: AuthServer) -> None:
    for _ in range(5):
        await refusal(server.login("admin", "wrong password"))
    refused = await refusal(server.login())
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_ATTEMPTS")
    assert refused.retry_seconds is not None
    assert 1 <= refused.retry_seconds <= 5
    assert re.match(r"too many failed logins as 'admin': wait [1-5] s", refused.text)


async def test_disabled_account_can_neither_log_in_nor_renew(server: AuthServer) -> None:
    admin = await server.bearer()
    await server.accounts.CreateAccount(
        account_service_pb2.CreateAccountRequest(account_id="ann", password=PASSWORD), metadata=admin
    )
    pair = await server.login("ann", PASSWORD)
    request = account_service_pb2.UpdateAccountRequest()
    request.account.name = "accounts/ann"
    request.account.disabled = True
    request.update_mask.paths.append("disabled")
    assert (await server.accounts.UpdateAccount(request, metadata=admin)).disabled
    refused = await refusal(server.login("ann", PASSWORD))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_REJECTED")
    renewed = await refusal(renew(server, pair.refresh_token))
    assert (renewed.code, renewed.reason) == (grpc.StatusCode.UNAUTHENTICATED, "REFRESH_TOKEN_REJECTED")


def renew(server: AuthServer, token: str):  # type: ignore[no-untyped-def]  # grpc's call object
    return server.auth.RefreshTokens(auth_service_pb2.RefreshTokensRequest(refresh_token=token))


async def test_refresh_token_works_once_and_its_reuse_ends_the_login(server: AuthServer) -> None:
    first = await server.login()
    second = await renew(server, first.refresh_token)
    assert second.subject == "accounts/admin"
    assert second.access_token != first.access_token
    third = await renew(server, second.refresh_token)
    reused = await refusal(renew(server, first.refresh_token))
    assert (reused.code, reused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "REFRESH_TOKEN_REJECTED")
    assert "log in again" in reused.text
    assert await refusal(renew(server, third.refresh_token)) == reused


async def test_renewed_token_has_the_scopes_of_today(server: AuthServer) -> None:
    admin = await server.bearer()
    await server.accounts.CreateAccount(
        account_service_pb2.CreateAccountRequest(account_id="ann", password=PASSWORD), metadata=admin
    )
    pair = await server.login("ann", PASSWORD)
    request = account_service_pb2.UpdateAccountRequest()
    request.account.name = "accounts/ann"
    request.account.scopes.append("datasets.read")
    request.update_mask.paths.append("scopes")
    await server.accounts.UpdateAccount(request, metadata=admin)
    assert list((await renew(server, pair.refresh_token)).scopes) == ["datasets.read"]


async def test_logout_ends_the_login_and_never_fails(server: AuthServer) -> None:
    pair = await server.login()
    for token in (pair.refresh_token, pair.refresh_token, "garbage"):
        await server.auth.Logout(auth_service_pb2.LogoutRequest(refresh_token=token))
    assert (await refusal(renew(server, pair.refresh_token))).reason == "REFRESH_TOKEN_REJECTED"


async def test_service_identity_gets_a_token_without_refresh_token(server: AuthServer) -> None:
    request = auth_service_pb2.IssueServiceTokenRequest(name="serviceIdentities/ml", secret=server.ml_secret)
    pair = await server.auth.IssueServiceToken(request)
    assert (pair.subject, list(pair.scopes)) == ("serviceIdentities/ml", ["auth.delegate", "datasets.read"])
    assert pair.refresh_token == ""
    assert not pair.HasField("refresh_expire_time")
    request.secret = "wrong"
    refused = await refusal(server.auth.IssueServiceToken(request))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_REJECTED")
    assert "no service identity has this id and secret" in refused.text


def forged(**changes: object) -> str:
    now = datetime.now(UTC)
    claims = {"iss": ISSUER, "aud": "flare", "sub": "accounts/admin", "iat": now, "exp": now + timedelta(hours=1)}
    return jwt.encode({**claims, "scope": "auth.read", **changes}, Ed25519PrivateKey.generate(), "EdDSA", {"kid": "k"})


def unsigned(token: str) -> str:
    claims = jwt.decode(token, options={"verify_signature": False})
    return jwt.encode(claims, "", "none", {"kid": jwt.get_unverified_header(token)["kid"]})


async def signed_with_public_key(server: AuthServer, token: str) -> str:
    [key] = (await server.auth.GetJsonWebKeySet(auth_service_pb2.GetJsonWebKeySetRequest())).keys
    claims = jwt.decode(token, options={"verify_signature": False})
    return jwt.encode(claims, key.x.ljust(64, "="), "HS256", {"kid": key.kid})


async def test_forged_tokens_are_refused(server: AuthServer) -> None:
    good = (await server.login()).access_token
    head, body, signature = good.split(".")
    cases = {
        "garbage": "is not a signed JWT",
        forged(): "has no key 'k'",
        unsigned(good): "algorithm 'none'",
        await signed_with_public_key(server, good): "algorithm 'HS256'",
        f"{head}.{body}.{signature[::-1]}": "not accepted",
    }
    for token, text in cases.items():
        refused = await refusal(server.auth.GetCaller(auth_service_pb2.GetCallerRequest(), metadata=bearer(token)))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
        assert text in refused.text


@pytest.mark.parametrize(
    ("claim", "value", "text"),
    [("token_issuer", "http://other", "was not issued by"), ("token_audience", "other", "is not meant for 'flare'")],
)
async def test_tokens_of_elsewhere_are_refused(server: AuthServer, claim: str, value: str, text: str) -> None:
    now = datetime.now(UTC)
    key = server.service.keys.current()
    claims = {"iss": ISSUER, "aud": "flare", "sub": "accounts/admin", "iat": now, "exp": now + timedelta(hours=1)}
    claims["iss" if claim == "token_issuer" else "aud"] = value
    token = jwt.encode({**claims, "scope": "auth.read"}, key.private_key, "EdDSA", {"kid": key.kid})
    refused = await refusal(server.auth.GetCaller(auth_service_pb2.GetCallerRequest(), metadata=bearer(token)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
    assert text in refused.text


async def test_expired_token_says_so(server: AuthServer) -> None:
    now = datetime.now(UTC)
    key = server.service.keys.current()
    claims = {"iss": ISSUER, "aud": "flare", "sub": "accounts/admin", "iat": now - timedelta(hours=2)}
    claims |= {"exp": now - timedelta(hours=1), "scope": "auth.read"}
    token = jwt.encode(claims, key.private_key, "EdDSA", {"kid": key.kid})
    refused = await refusal(server.auth.GetCaller(auth_service_pb2.GetCallerRequest(), metadata=bearer(token)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
    assert "refresh it" in refused.text


async def test_call_without_token_says_how_to_get_one(server: AuthServer) -> None:
    for metadata in ((), (("authorization", "Basic YTpi"),), (("authorization", "Bearer "),)):
        refused = await refusal(server.auth.GetCaller(auth_service_pb2.GetCallerRequest(), metadata=metadata))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
        assert "log in" in refused.text


async def test_wrong_scope_is_named(server: AuthServer) -> None:
    await server.accounts.CreateAccount(
        account_service_pb2.CreateAccountRequest(account_id="ann", password=PASSWORD), metadata=await server.bearer()
    )
    ann = await server.bearer("ann", PASSWORD)
    refused = await refusal(server.accounts.ListAccounts(account_service_pb2.ListAccountsRequest(), metadata=ann))
    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
    assert "needs the scope 'auth.admin'" in refused.text
    assert "datasets.read" in refused.text


async def test_empty_fields_are_named(server: AuthServer) -> None:
    refused = await refusal(server.auth.Login(auth_service_pb2.LoginRequest()))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert set(refused.fields) == {"username", "password"}


async def test_tokens_stay_valid_when_the_key_is_replaced(server: AuthServer) -> None:
    old = await server.login()
    request = account_service_pb2.RotateSigningKeyRequest()
    kid = (await server.accounts.RotateSigningKey(request, metadata=bearer(old.access_token))).kid
    new = await server.login()
    assert jwt.get_unverified_header(new.access_token)["kid"] == kid
    for pair in (old, new):
        await server.auth.GetCaller(auth_service_pb2.GetCallerRequest(), metadata=bearer(pair.access_token))
    keys = (await server.auth.GetJsonWebKeySet(auth_service_pb2.GetJsonWebKeySetRequest())).keys
    assert keys[0].kid == kid
    assert len(keys) == 2
    assert {(key.kty, key.crv): key.alg for key in keys}.items() <= ALGORITHM_OF_KEY.items()
