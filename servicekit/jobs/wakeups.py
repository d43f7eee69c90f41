"""Tells waiting tasks to look again. Losing a wakeup costs a delay and never an event."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

QUEUE = ""  # the topic of "a job waits"; job ids are never empty


class Wakeup:
    """One waiter's bell."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wakes the waiter, now or at its next wait."""
        self._event.set()

    def clear(self) -> None:
        """Forgets earlier rings; called before looking."""
        self._event.clear()

    async def wait_at_most(self, seconds: float) -> bool:
        """Waits for a ring. False if the time passed without one."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        return True


class Wakeups:
    """Bells by topic, within one process. Changes of processes that do not tell are seen by looking at intervals."""

    def __init__(self, tell_others: Callable[[str], None] | None = None) -> None:
        """`tell_others` has the topic rung in the other processes of the service, by `ring`."""
        self._tell_others = tell_others
        self._waiting: defaultdict[str, set[Wakeup]] = defaultdict(set)
        self.closed = False

    @contextmanager
    def subscribed(self, topic: str) -> Iterator[Wakeup]:
        """A bell for a topic (a job's id, or QUEUE) while the block runs."""
        wakeup = Wakeup()
        self._waiting[topic].add(wakeup)
        try:
            yield wakeup
        finally:
            self._waiting[topic].discard(wakeup)
            if not self._waiting[topic]:
                del self._waiting[topic]

    def notify(self, topic: str) -> None:
        """Rings every bell of a topic, in the other processes too."""
        self.ring(topic)
        if self._tell_others is not None:
            self._tell_others(topic)

    def ring(self, topic: str) -> None:
        """Rings every bell of a topic in this process."""
        for wakeup in self._waiting.get(topic, ()):
            wakeup.ring()

    def close(self) -> None:
        """Wakes everybody for the last time: the server drains."""
        self.closed = True
        for waiting in self._waiting.values():
            for wakeup in waiting:
                wakeup.ring()
