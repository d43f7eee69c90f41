"""The storage behind the API: objects under signed addresses, whole or from a byte on."""

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote, unquote

from aiohttp import web

from tests.kaggle_emulator.answers import send
from tests.kaggle_emulator.faults import Fault, RequestKind

LAST_MODIFIED = "Fri, 01 Mar 2024 08:30:15 GMT"


class Storage:
    """Objects by path. An address is good until it expires or `expire_all` is called."""

    def __init__(self, record: Callable[[RequestKind, web.Request], Awaitable[Fault]], released: asyncio.Event) -> None:
        self.lifetime_seconds = 600
        self._objects: dict[str, _Object] = {}
        self._secret = secrets.token_bytes(16)
        self._record = record
        self._released = released

    def put(self, path: str, content: bytes, content_type: str, shown_as: str | None = None) -> str:
        """Keeps an object and returns the path and query of an address that is signed for it.

        The address may end with another name for it, percent-encoded.
        """
        if path not in self._objects or self._objects[path].content is not content:
            self._objects[path] = _Object(content, content_type)
        expires = int(time.time()) + self.lifetime_seconds
        address = quote(path) if shown_as is None else f"{quote(path)}/{shown_as}"
        return f"/{address}?X-Goog-Expires={expires}&X-Goog-Signature={self._signature(path, expires)}"

    def replace(self, old: bytes, new: bytes) -> None:
        """Puts another content in the place of one, under the same addresses."""
        for path, kept in self._objects.items():
            if kept.content == old:
                self._objects[path] = _Object(new, kept.content_type)

    def expire_all(self) -> None:
        """Makes every address given so far useless."""
        self._secret = secrets.token_bytes(16)

    def application(self) -> web.Application:
        """The HTTP side."""
        application = web.Application()
        application.router.add_get(r"/{path:[\s\S]+}", self._get)
        return application

    async def _get(self, request: web.Request) -> web.StreamResponse:
        fault = await self._record(RequestKind.STORAGE, request)
        path = request.match_info["path"]
        if path not in self._objects:
            path = unquote(request.rel_url.raw_path.rpartition("/")[0][1:])
        if "Authorization" in request.headers:
            return _refusal(400, "InvalidArgument", "Only one auth mechanism allowed")
        expires = int(request.query.get("X-Goog-Expires", "0"))
        if expires < time.time() or not hmac.compare_digest(
            self._signature(path, expires), request.query.get("X-Goog-Signature", "")
        ):
            return _refusal(400, "ExpiredToken", "The provided token has expired.")
        if path not in self._objects:
            return _refusal(404, "NoSuchKey", "The specified key does not exist.")
        content = self._objects[path].content
        headers = _object_headers(self._objects[path], fault)
        start = _start_of(request, headers["ETag"])
        if start is None:
            return await send(request, content, fault, self._released, headers=headers)
        if start >= len(content):
            return _refusal(416, "InvalidRange", "The requested range cannot be satisfied.")
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return await send(request, memoryview(content)[start:], fault, self._released, status=206, headers=headers)

    def _signature(self, path: str, expires: int) -> str:
        return hmac.new(self._secret, f"{path} {expires}".encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class _Object:
    """Bytes, of which there is one copy however large they are and often they are asked for."""

    content: bytes
    content_type: str

    @cached_property
    def md5(self) -> bytes:
        return hashlib.md5(self.content, usedforsecurity=False).digest()


def ref_in(path: str) -> str:
    """The data set that an object is of."""
    return "/".join(path.split("/")[1:3])


def _object_headers(kept: _Object, fault: Fault) -> dict[str, str]:
    headers = {
        "Content-Type": kept.content_type,
        "ETag": f'"{kept.md5.hex()}"',
        "Last-Modified": LAST_MODIFIED,
        "Accept-Ranges": "bytes",
    }
    return headers if fault.without_hash else headers | {"X-Goog-Hash": f"md5={b64encode(kept.md5).decode()}"}


def _start_of(request: web.Request, etag: str) -> int | None:
    """The first byte asked for; None for the whole object, as when `If-Range` names another state of it."""
    match = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
    if match is None or request.headers.get("If-Range", etag) not in (etag, LAST_MODIFIED):
        return None
    return int(match.group(1))


def _refusal(status: int, code: str, message: str) -> web.Response:
    xml = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return web.Response(status=status, text=xml, content_type="application/xml")
