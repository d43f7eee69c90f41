"""How a service gets and renews its own token from a token endpoint."""

import asyncio
import base64
from typing import Any

import pytest
from aiohttp import web

from servicekit.errors import Reason, Unavailable
from servicekit.tokens import ServiceTokenSource
from tests.unit.auth.conftest import Clock, ServeHttp


class TokenEndpoint:
    """An HTTP handler that answers as the tests say and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer: Any = None
        self.status = 200
        self.requests: list[tuple[str, dict[str, Any]]] = []

    async def __call__(self, request: web.Request) -> web.Response:
        self.requests.append((request.headers["Authorization"], dict(await request.post())))
        issued = {"access_token": f"token-{len(self.requests)}", "token_type": "Bearer", "expires_in": 100}
        return web.json_response(issued if self.answer is None else self.answer, status=self.status)


async def test_token_is_asked_for_with_the_secret_and_kept(serve_http: ServeHttp, clock: Clock) -> None:
    endpoint = TokenEndpoint()
    source = ServiceTokenSource(await serve_http(endpoint), "ml", "p:ss wörd", now=clock.seconds)
    assert [await source.token() for _ in range(3)] == ["token-1"] * 3
    [(authorization, form)] = endpoint.requests
    assert form == {"grant_type": "client_credentials"}
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"ml:p%3Ass+w%C3%B6rd"


async def test_token_is_renewed_before_its_end(serve_http: ServeHttp, clock: Clock) -> None:
    source = ServiceTokenSource(await serve_http(TokenEndpoint()), "ml", "secret", now=clock.seconds)
    assert await source.token() == "token-1"
    clock.advance(79)
    assert await source.token() == "token-1"
    clock.advance(2)
    assert await source.token() == "token-2"


async def test_calls_at_once_ask_once(serve_http: ServeHttp, clock: Clock) -> None:
    endpoint = TokenEndpoint()
    source = ServiceTokenSource(await serve_http(endpoint), "ml", "secret", now=clock.seconds)
    assert await asyncio.gather(*(source.token() for _ in range(20))) == ["token-1"] * 20
    assert len(endpoint.requests) == 1


async def test_renewal_that_fails_leaves_the_token_until_its_end(serve_http: ServeHttp, clock: Clock) -> None:
    endpoint = TokenEndpoint()
    source = ServiceTokenSource(await serve_http(endpoint), "ml", "secret", now=clock.seconds)
    await source.token()
    endpoint.status = 503
    clock.advance(90)
    assert await source.token() == "token-1"
    clock.advance(10)
    with pytest.raises(Unavailable):
        await source.token()
    endpoint.status = 200
    assert await source.token() == "token-4"


@pytest.mark.parametrize(
    ("status", "answer", "text"),
    [
        (401, {"error": "invalid_client"}, "HTTP status 401 invalid_client"),
        (500, "oops", "HTTP status 500"),
        (200, ["token"], "HTTP status 200"),
        (200, {"token_type": "Bearer"}, "lacks access_token or expires_in"),
        (200, {"access_token": "t", "expires_in": 0}, "lacks access_token or expires_in"),
        (302, {}, "HTTP status 302"),
    ],
)
async def test_refusal_names_client_address_and_cause(
    serve_http: ServeHttp, clock: Clock, status: int, answer: Any, text: str
) -> None:
    endpoint = TokenEndpoint()
    endpoint.status, endpoint.answer = status, answer
    url = await serve_http(endpoint)
    with pytest.raises(Unavailable) as caught:
        await ServiceTokenSource(url, "ml", "very-secret", now=clock.seconds).token()
    assert caught.value.reason is Reason.DEPENDENCY_UNAVAILABLE
    for part in ("'ml'", url, text):
        assert part in caught.value.message
    assert "very-secret" not in caught.value.message


async def test_endpoint_that_is_away_is_named(unused_tcp_port: int) -> None:
    with pytest.raises(Unavailable, match=str(unused_tcp_port)):
        await ServiceTokenSource(f"http://127.0.0.1:{unused_tcp_port}/oauth2/token", "ml", "secret").token()
