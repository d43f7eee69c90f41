"""How an answer with a fault goes out."""

import asyncio
import json
from collections.abc import Iterator, Mapping

from aiohttp import web
from aiohttp.http_writer import StreamWriter

from tests.kaggle_emulator.faults import Fault


async def send(
    request: web.Request,
    content: bytes | memoryview,
    fault: Fault,
    released: asyncio.Event,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Sends `content`, without copying it, with what `fault` has wrong. `released` ends stalls as the server stops."""
    if fault.status:
        return web.Response(status=fault.status, headers=_error_headers(fault), body=_error_body(fault))
    if fault.cut_after == 0:
        return _drop(request)
    if fault.stall_after == 0:
        await released.wait()
        return _drop(request)
    response = (
        _Unframed(status=status, headers=headers)
        if fault.unframed
        else web.StreamResponse(status=status, headers=headers)
    )
    size = len(content) + min(fault.length_delta, 0)
    if fault.chunked:
        response.enable_chunked_encoding()
    elif not fault.unframed:
        response.content_length = len(content) + fault.length_delta
    await response.prepare(request)
    stops = [stop for stop in (fault.cut_after, fault.stall_after) if stop is not None]
    try:
        for chunk in _chunks(memoryview(content)[: min([size, *stops])], fault):
            await asyncio.sleep(fault.pause_seconds)
            await response.write(chunk)
    except ConnectionResetError:  # the client has had enough
        return response
    if fault.stall_after is not None:
        await released.wait()
    if stops or fault.length_delta > 0 or fault.unframed:
        return _drop(request)
    await response.write_eof()
    return response


class _Unframed(web.StreamResponse):
    """Says neither how long it is nor, in chunks, where it ends: as HTTP/1.0 does, the end of the connection is."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.pop("Transfer-Encoding", None)
        assert isinstance(self._payload_writer, StreamWriter)
        self._payload_writer.chunked = False


def _chunks(content: memoryview, fault: Fault) -> Iterator[bytes | memoryview]:
    for start in range(0, len(content), fault.chunk_bytes):
        chunk = content[start : start + fault.chunk_bytes]
        at = -1 if fault.flip_at is None else fault.flip_at - start
        if 0 <= at < len(chunk):
            spoilt = bytearray(chunk)
            spoilt[at] ^= 0xFF
            yield bytes(spoilt)
        else:
            yield chunk


def _error_headers(fault: Fault) -> dict[str, str]:
    return {"Content-Type": "application/json; charset=utf-8", **fault.headers}


def _error_body(fault: Fault) -> bytes:
    if fault.body is not None:
        return fault.body
    return json.dumps({"code": fault.status, "message": f"The emulator was asked to fail with {fault.status}"}).encode()


def _drop(request: web.Request) -> web.Response:
    """Closes the connection after what was written, without an end. What is returned reaches nobody."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()
