"""The issuer over HTTP, and other services verifying its tokens from there."""

from typing import Any

import aiohttp
import pytest
from flare.auth.v1 import account_service_pb2, auth_service_pb2
from prometheus_client import CollectorRegistry

from auth_server.composition import AuthService
from servicekit.errors import Reason, Unauthenticated, Unavailable
from servicekit.key_sets import RemoteKeySet
from servicekit.tokens import ServiceTokenSource, TokenVerifier
from tests.server.auth.conftest import CHEAP_HASHER, ISSUER, AuthServer, settings


async def get(url: str) -> tuple[Any, str]:
    async with aiohttp.ClientSession() as session, session.get(url, raise_for_status=True) as response:
        return await response.json(), response.headers["Cache-Control"]


async def test_discovery_names_the_addresses(server: AuthServer) -> None:
    document, cache = await get(f"{server.http_url}/.well-known/openid-configuration")
    assert document["issuer"] == ISSUER
    assert document["jwks_uri"] == f"{ISSUER}/.well-known/jwks.json"
    assert document["token_endpoint"] == f"{ISSUER}/oauth2/token"
    assert document["grant_types_supported"] == ["client_credentials"]
    assert "datasets.read" in document["scopes_supported"]
    assert cache == "public, max-age=300"


async def test_key_set_is_the_same_by_http_and_rpc(server: AuthServer) -> None:
    document, cache = await get(f"{server.http_url}/.well-known/jwks.json")
    [key] = (await server.auth.GetJsonWebKeySet(auth_service_pb2.GetJsonWebKeySetRequest())).keys
    assert document == {
        "keys": [{"kid": key.kid, "kty": "OKP", "crv": "Ed25519", "x": key.x, "alg": "EdDSA", "use": "sig"}]
    }
    assert cache == "public, max-age=300"


async def test_another_service_verifies_tokens_before_and_after_a_key_change(server: AuthServer) -> None:
    keys = RemoteKeySet(f"{server.http_url}/.well-known/jwks.json", least_interval_seconds=0.05)
    verifier = TokenVerifier(ISSUER, "flare", keys)
    await verifier.start()
    old = (await server.login()).access_token
    assert (await verifier.verify(old)).subject == "accounts/admin"
    for _ in range(3):  # faster than the keys may be fetched
        request = account_service_pb2.RotateSigningKeyRequest()
        await server.accounts.RotateSigningKey(request, metadata=(("authorization", f"Bearer {old}"),))
        new = (await server.login()).access_token
        assert (await verifier.verify(new)).subject == "accounts/admin"
    assert (await verifier.verify(old)).subject == "accounts/admin"
    await verifier.drain()


async def test_service_gets_its_token_as_from_any_provider(server: AuthServer) -> None:
    source = ServiceTokenSource(f"{server.http_url}/oauth2/token", "ml", server.ml_secret)
    token = await source.token()
    caller = await TokenVerifier(ISSUER, "flare", server.service.keys).verify(token)
    assert (caller.subject, caller.scopes) == ("serviceIdentities/ml", frozenset({"datasets.read", "auth.delegate"}))
    with pytest.raises(Unavailable, match="HTTP status 401 invalid_client"):
        await ServiceTokenSource(f"{server.http_url}/oauth2/token", "ml", "wrong").token()


async def post(server: AuthServer, form: Any, **options: Any) -> tuple[int, Any, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.http_url}/oauth2/token", data=form, **options) as response,
    ):
        return response.status, await response.json(content_type=None), response.headers


async def test_secret_may_stand_in_the_form(server: AuthServer) -> None:
    for client_id in ("ml", "serviceIdentities/ml"):
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": server.ml_secret}
        status, answer, headers = await post(server, form)
        assert status == 200
        assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 900)
        assert answer["scope"] == "auth.delegate datasets.read"
        assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({}, 400, "unsupported_grant_type"),
        ({"grant_type": "password", "username": "admin", "password": "x"}, 400, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, 401, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": "ml", "client_secret": "x"}, 401, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": "eve", "client_secret": "x"}, 401, "invalid_client"),
    ],
)
async def test_refusals_are_those_of_the_standard(
    server: AuthServer, form: dict[str, str], status: int, error: str
) -> None:
    found, answer, headers = await post(server, form)
    assert (found, answer["error"]) == (status, error)
    assert answer["error_description"]
    assert ("WWW-Authenticate" in headers) == (status == 401)


@pytest.mark.parametrize(
    "header", ["Basic", "Basic !!!", "Basic /w==", "Basic bWw=", "Basic \u00e9", "Basic bWwAOmFi", "Bearer x"]
)
async def test_broken_credentials_are_refused(server: AuthServer, header: str) -> None:
    status, answer, _ = await post(server, {"grant_type": "client_credentials"}, headers={"Authorization": header})
    assert (status, answer["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"grant_type=%ff%fe&client_id=\xff", "application/x-www-form-urlencoded", 400),
        (b"{}", "application/json", 400),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x", 400),
        (b"grant_type=" + b"x" * 100_000, "application/x-www-form-urlencoded", 413),
        (b"grant_type=x", "application/x-www-form-urlencoded; charset=nonsense", 400),
    ],
)
async def test_broken_bodies_are_refused(server: AuthServer, body: bytes, content_type: str, status: int) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.http_url}/oauth2/token", data=body, headers={"Content-Type": content_type}) as response,
    ):
        assert response.status == status


async def test_key_of_yesterday_is_no_key(server: AuthServer) -> None:
    """A verifier whose issuer lost its database refuses the tokens of before."""
    token = (await server.login()).access_token
    other = AuthService(settings(server.directory / "other"), CHEAP_HASHER, CollectorRegistry())
    await other.prepare()
    with pytest.raises(Unauthenticated) as caught:
        await TokenVerifier(ISSUER, "flare", other.keys).verify(token)
    assert caught.value.reason is Reason.TOKEN_INVALID
    await other.close()
