"""How an answer with a fault goes out."""

import asyncio
import json
from collections.abc import Mapping

from aiohttp import web

from tests.kaggle_emulator.faults import Fault

CHUNK_BYTES = 64 * 1024


async def send(
    request: web.Request,
    content: bytes,
    fault: Fault,
    released: asyncio.Event,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Sends `content` with what `fault` has wrong. `released` ends stalls when the server stops."""
    if fault.status:
        return web.Response(status=fault.status, headers=_error_headers(fault), body=_error_body(fault))
    if fault.cut_after == 0:
        return _drop(request)
    if fault.stall_after == 0:
        await released.wait()
        return _drop(request)
    response = web.StreamResponse(status=status, headers=headers)
    body = _spoilt(content, fault)
    if fault.chunked:
        response.enable_chunked_encoding()
    else:
        response.content_length = len(body) + max(fault.length_delta, 0)
    await response.prepare(request)
    stops = [stop for stop in (fault.cut_after, fault.stall_after) if stop is not None]
    end = min([len(body), *stops])
    try:
        for start in range(0, end, CHUNK_BYTES):
            await asyncio.sleep(fault.pause_seconds)
            await response.write(body[start : min(start + CHUNK_BYTES, end)])
    except ConnectionResetError:  # the client has had enough
        return response
    if fault.stall_after is not None:
        await released.wait()
    if stops or fault.length_delta > 0:
        return _drop(request)
    await response.write_eof()
    return response


def _error_headers(fault: Fault) -> dict[str, str]:
    return {"Content-Type": "application/json; charset=utf-8", **fault.headers}


def _error_body(fault: Fault) -> bytes:
    if fault.body is not None:
        return fault.body
    return json.dumps({"code": fault.status, "message": f"The emulator was asked to fail with {fault.status}"}).encode()


def _spoilt(content: bytes, fault: Fault) -> bytes:
    if fault.length_delta < 0:
        content = content[: fault.length_delta]
    if fault.flip_at is not None:
        content = content[: fault.flip_at] + bytes([content[fault.flip_at] ^ 0xFF]) + content[fault.flip_at + 1 :]
    return content


def _drop(request: web.Request) -> web.Response:
    """Closes the connection after what was written, without an end. What is returned reaches nobody."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()
