"""What the processes of one service tell each other at once. Losing it costs a delay and never more."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

MESSAGE_BYTES = 4096


class News:
    """Links to other processes. The first process has one to each of the others, and passes on what it hears."""

    def __init__(self) -> None:
        self._hearers: dict[str, Callable[[str], None]] = {}
        self._links: set[socket.socket] = set()

    def hear(self, kind: str, hearer: Callable[[str], None]) -> None:
        """From now on `hearer` is given the topic of what others tell of a kind, which is a word."""
        self._hearers[kind] = hearer

    def tell(self, kind: str, topic: str = "") -> None:
        """Tells all other processes, as far as they keep up with what they are told."""
        if self._links:
            self._send(f"{kind} {topic}".encode(), self._links)

    def join(self, link: socket.socket, ended: Callable[[], None] = lambda: None) -> None:
        """Takes a link (Unix, SOCK_SEQPACKET), until `leave`. `ended` is called if its other end is closed first."""
        link.setblocking(False)
        self._links.add(link)
        asyncio.get_running_loop().add_reader(link, self._receive, link, ended)

    def leave(self, link: socket.socket) -> None:
        """Closes a link; again does nothing."""
        if link in self._links:
            self._links.remove(link)
            asyncio.get_running_loop().remove_reader(link)
            link.close()

    def _receive(self, link: socket.socket, ended: Callable[[], None]) -> None:
        try:
            message = link.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            message = b""
        if not message:
            self.leave(link)
            ended()
            return
        self._send(message, self._links - {link})
        kind, _, topic = message.decode().partition(" ")
        if kind in self._hearers:
            self._hearers[kind](topic)

    def _send(self, message: bytes, links: set[socket.socket]) -> None:
        for link in links:
            with suppress(OSError):  # its process does not keep up, or has just ended
                link.send(message)
