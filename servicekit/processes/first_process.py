"""What a process that serves beside the first one knows of that."""

import os
import signal
import socket

from servicekit.processes.news import News


class FirstProcess:
    """The link to the first process, a `Component`. When that ends, or closes the link, this process drains."""

    def __init__(self, news: News) -> None:
        self._news = news
        self._link: socket.socket | None = None

    async def start(self) -> None:
        """Takes the link, which is stdin."""
        self._link = socket.socket(fileno=os.dup(0))
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        self._news.join(self._link, lambda: signal.raise_signal(signal.SIGTERM))

    async def drain(self) -> None:
        """Hears no more."""
        if self._link is not None:
            self._news.leave(self._link)
