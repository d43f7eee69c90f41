"""The actor between a driver and the workers of one attempt. It understands none of the messages."""

import asyncio

# Workers that tell more than the driver takes wait, so that nothing piles up.
MESSAGES = 256


class Post:
    """Carries what workers say to their driver, and what is asked of them back."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[bytes] = asyncio.Queue(MESSAGES)
        self._asked: list[str] = []
        self._news = asyncio.Condition()

    async def send(self, messages: list[bytes]) -> None:
        """Takes messages; the last one may be the driver's own, when no worker is left."""
        for message in messages:
            await self._messages.put(message)

    async def receive(self) -> list[bytes]:
        """All messages that are there, once there is one."""
        received = [await self._messages.get()]
        received += [self._messages.get_nowait() for _ in range(self._messages.qsize())]
        return received

    async def ask(self, kind: str) -> None:
        """Asks the workers to stop."""
        async with self._news:
            self._asked.append(kind)
            self._news.notify_all()

    async def asked(self, known: int) -> str:
        """What was asked after the first `known` times, once it is."""
        async with self._news:
            await self._news.wait_for(lambda: len(self._asked) > known)
            return self._asked[known]
