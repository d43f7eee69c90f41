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

    async def send(self, message: bytes) -> None:
        """Takes a message; the last one may be the driver's own, when no worker is left."""
        await self._messages.put(message)

    async def receive(self) -> bytes:
        """The next message, once there is one."""
        return await self._messages.get()

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
