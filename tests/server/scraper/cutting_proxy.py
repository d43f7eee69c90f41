"""A way to a server on which connections are cut after a number of bytes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class CuttingProxy:
    """Forwards bytes; the first connections are cut after so many bytes on their way to the server.

    Before each cut it waits for `cut`.
    """

    port: int
    cuts: list[int] = field(default_factory=list)
    address: str = ""
    connections: int = 0
    cut: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(asyncio.CancelledError):  # which asyncio's server would log
            await self._forward(reader, writer)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        limit = self.cuts.pop(0) if self.cuts else None
        their_reader, their_writer = await asyncio.open_connection("127.0.0.1", self.port)
        back = asyncio.create_task(_copy(their_reader, writer, None))
        await _copy(reader, their_writer, limit)
        if limit is not None:
            await self.cut.wait()
        for each in (writer, their_writer):
            each.transport.abort()
        await asyncio.gather(back, return_exceptions=True)


@asynccontextmanager
async def cutting_proxy(port: int, *cuts: int) -> AsyncIterator[CuttingProxy]:
    """In front of a port of this machine."""
    proxy = CuttingProxy(port, list(cuts))
    proxy.cut.set()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    host, own_port = server.sockets[0].getsockname()
    proxy.address = f"{host}:{own_port}"
    async with server:
        yield proxy


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536 if limit is None else min(limit, 65_536)):
            writer.write(data)
            await writer.drain()
            if limit is not None:
                limit -= len(data)
                if limit == 0:
                    return
