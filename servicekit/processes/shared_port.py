"""A server and processes beside it that answer calls on the same port."""

import asyncio
import socket

from servicekit.processes.children import Children
from servicekit.server import Server

# Processes of a first one that was killed let go of the port within moments.
FREE_SECONDS = 5.0
LOOK_SECONDS = 0.1


class SharedPortServer:
    """The server of the first process, which shares its port with its children and with nobody else."""

    def __init__(self, server: Server, address: str, children: Children, free_seconds: float = FREE_SECONDS) -> None:
        """`server` shares its port; `address` is where it listens, and is waited for while others listen there."""
        self._server = server
        self._address = address
        self._children = children
        self._free_seconds = free_seconds

    async def start(self) -> int:
        """Starts the server, and the children once it has its port. Raises OSError if another server has that."""
        await self._require_free_port()
        port = await self._server.start()
        self._children.start(port)
        return port

    async def drain(self) -> None:
        """Drains all of them at once."""
        await asyncio.gather(self._server.drain(), self._children.drain())

    async def _require_free_port(self) -> None:
        clock = asyncio.get_running_loop().time
        until = clock() + self._free_seconds
        while True:
            try:
                _bind_alone(self._address)
            except OSError as error:
                if clock() >= until:
                    raise OSError(f"can't listen on {self._address}: is another server there?") from error
                await asyncio.sleep(LOOK_SECONDS)
            else:
                return


def _bind_alone(address: str) -> None:
    """Raises OSError if anybody listens there, on a shared port too."""
    host, port = address.rsplit(":", 1)
    for family, kind, protocol, _, place in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ended connections do not count
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(place)
