"""A network between two processes of this machine that breaks when it is told to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class BreakingLink:
    """Forwards bytes both ways between whoever connects to `address` and a port of this machine."""

    port: int
    address: str = ""
    refusals: int = 0
    """So many of the next connections are closed at once."""
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _passes: asyncio.Event = field(default_factory=lambda: _open_gate())

    def cut(self, refusals: int) -> None:
        """Breaks all connections, and refuses some more."""
        self.refusals = refusals
        for writer in self._open:
            writer.transport.abort()

    def fall_silent(self) -> None:
        """Lets nothing pass any more on what is connected, and says nothing of it: as a cable that is pulled."""
        self._passes.clear()
        self._passes = _open_gate()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if self.refusals:
            self.refusals -= 1
            writer.transport.abort()
            return
        passes = self._passes
        their_reader, their_writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._open |= {writer, their_writer}
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await asyncio.wait(
                [
                    asyncio.create_task(_copy(reader, their_writer, passes)),
                    asyncio.create_task(_copy(their_reader, writer, passes)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        for each in (writer, their_writer):
            each.transport.abort()
            self._open.discard(each)


@asynccontextmanager
async def breaking_link(port: int) -> AsyncIterator[BreakingLink]:
    """In front of a port of this machine."""
    link = BreakingLink(port)
    server = await asyncio.start_server(link.serve, "127.0.0.1", 0)
    host, own_port = server.sockets[0].getsockname()
    link.address = f"{host}:{own_port}"
    yield link
    server.close()
    link.cut(refusals=1_000)


def _open_gate() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: asyncio.Event) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            await passes.wait()
            writer.write(data)
            await writer.drain()
