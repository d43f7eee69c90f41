"""Keys of an issuer that is slow, late, away, or replaces them."""

import asyncio
import json
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from servicekit.errors import Reason, Unavailable
from servicekit.key_sets import RemoteKeySet
from tests.unit.auth.conftest import ServeHttp


class Issuer:
    """An HTTP handler that publishes keys, counts how often it is asked, and can break."""

    def __init__(self, *kids: str) -> None:
        self.kids = list(kids)
        self.status = 200
        self.asked = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.holding = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.Response:
        self.asked += 1
        body = json.dumps({"keys": [key(kid) for kid in self.kids]})
        self.holding.set()
        await self.hold.wait()
        return web.Response(text=body, status=self.status, content_type="application/json")


def key(kid: str) -> dict[str, Any]:
    public = Ed25519PrivateKey.generate().public_key()
    return {**jwt.algorithms.OKPAlgorithm.to_jwk(public, as_dict=True), "kid": kid}


def key_set(url: str, **options: Any) -> RemoteKeySet:
    return RemoteKeySet(url, **{"least_interval_seconds": 0.02, "timeout_seconds": 5, **options})


async def test_keys_once_fetched_need_no_network(serve_http: ServeHttp) -> None:
    issuer = Issuer("a", "b")
    keys = key_set(await serve_http(issuer))
    assert keys.find("a") is None
    found = await keys.look_for("a")
    assert found is not None
    assert found.kid == "a"
    for _ in range(100):
        assert keys.find("b") is not None
    assert issuer.asked == 1
    await keys.close()


async def test_start_does_not_wait_for_the_issuer(serve_http: ServeHttp) -> None:
    issuer = Issuer("a")
    issuer.hold.clear()
    keys = key_set(await serve_http(issuer))
    await keys.start()
    await issuer.holding.wait()
    assert keys.find("a") is None
    waiting = asyncio.create_task(keys.look_for("a"))
    issuer.hold.set()
    assert await waiting is not None
    assert issuer.asked == 1  # a call during the first fetch is content with it
    await keys.close()


async def test_issuer_that_comes_up_later_is_found(serve_http: ServeHttp, unused_tcp_port: int) -> None:
    keys = key_set(f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(Unavailable) as caught:
        await keys.look_for("a")
    assert caught.value.reason is Reason.DEPENDENCY_UNAVAILABLE
    assert str(unused_tcp_port) in caught.value.message
    assert caught.value.retry_after_seconds is not None
    issuer = Issuer("a")
    await serve_http(issuer, unused_tcp_port)
    await issuer.holding.wait()  # nobody asks: it goes on trying by itself
    assert await keys.look_for("a") is not None
    await keys.close()


async def test_key_made_since_is_found(serve_http: ServeHttp) -> None:
    issuer = Issuer("a")
    keys = key_set(await serve_http(issuer))
    await keys.look_for("a")
    issuer.kids = ["b", "a"]
    assert await keys.look_for("b") is not None
    issuer.kids = ["c", "b"]
    assert await keys.look_for("c") is not None
    assert keys.find("a") is None
    await keys.close()


async def test_key_made_while_a_fetch_runs_is_found(serve_http: ServeHttp) -> None:
    issuer = Issuer("a")
    issuer.hold.clear()
    keys = key_set(await serve_http(issuer))
    await keys.start()
    await issuer.holding.wait()  # this answer will lack "b"
    issuer.kids = ["b", "a"]
    waiting = asyncio.create_task(keys.look_for("b"))
    issuer.hold.set()
    assert await waiting is not None
    assert issuer.asked == 2
    await keys.close()


async def test_many_unknown_keys_share_few_fetches(serve_http: ServeHttp) -> None:
    issuer = Issuer("a")
    keys = key_set(await serve_http(issuer))
    await keys.look_for("a")
    assert await asyncio.gather(*(keys.look_for(f"x{index}") for index in range(200))) == [None] * 200
    assert issuer.asked <= 3
    await keys.close()


async def test_waiting_calls_are_bounded(serve_http: ServeHttp) -> None:
    issuer = Issuer("a")
    issuer.hold.clear()
    keys = key_set(await serve_http(issuer), most_waiting=3)
    waiting = [asyncio.create_task(keys.look_for("a")) for _ in range(3)]
    await issuer.holding.wait()
    with pytest.raises(Unavailable, match="too many calls"):
        await keys.look_for("a")
    issuer.hold.set()
    assert all(await asyncio.gather(*waiting))
    assert await keys.look_for("a") is not None
    await keys.close()


async def test_cancelled_call_leaves_its_place(serve_http: ServeHttp) -> None:
    issuer = Issuer("a")
    issuer.hold.clear()
    keys = key_set(await serve_http(issuer), most_waiting=1)
    waiting = asyncio.create_task(keys.look_for("a"))
    await issuer.holding.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    issuer.hold.set()
    assert await keys.look_for("a") is not None
    await keys.close()


@pytest.mark.parametrize("kids", [[], ["a"]])
async def test_broken_issuer_leaves_the_known_keys_in_use(serve_http: ServeHttp, kids: list[str]) -> None:
    issuer = Issuer("a")
    keys = key_set(await serve_http(issuer))
    await keys.look_for("a")
    issuer.kids, issuer.status = kids, 500 if kids else 200
    with pytest.raises(Unavailable):
        await keys.look_for("b")
    assert keys.find("a") is not None
    await keys.close()


async def test_endless_answer_is_cut(serve_http: ServeHttp) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65_536)

    keys = key_set(await serve_http(endless))
    with pytest.raises(Unavailable, match="longer than 1048576 bytes"):
        await keys.look_for("a")
    await keys.close()


async def test_keys_are_fetched_again_by_age(serve_http: ServeHttp) -> None:
    issuer = Issuer("a")
    keys = key_set(await serve_http(issuer), refresh_seconds=0.02)
    await keys.start()
    for _ in range(3):
        issuer.holding.clear()
        await issuer.holding.wait()
    await keys.close()


async def test_close_answers_those_who_wait(serve_http: ServeHttp) -> None:
    issuer = Issuer("a")
    issuer.hold.clear()
    keys = key_set(await serve_http(issuer))
    waiting = asyncio.create_task(keys.look_for("a"))
    await issuer.holding.wait()
    await keys.close()
    with pytest.raises(Unavailable, match="stopping"):
        await waiting
    issuer.hold.set()


async def test_closing_leaves_no_task(serve_http: ServeHttp) -> None:
    keys = key_set(await serve_http(Issuer("a")))
    await keys.look_for("a")
    await keys.close()
    await keys.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "key-set"]
