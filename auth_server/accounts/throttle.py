"""Slows down whoever guesses passwords."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from servicekit.errors import Reason, ResourceExhausted, Unauthenticated

FREE_FAILURES = 5
FIRST_PAUSE_SECONDS = 5
LONGEST_PAUSE_SECONDS = 300
FORGOTTEN_AFTER_SECONDS = 900


@dataclass
class _Record:
    failures: int = 0
    last_failure: float = 0
    blocked_until: float = 0
    # One attempt at a time: a thousand parallel guesses must not all pass before the first has failed.
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class LoginThrottle:
    """Counts failed logins for each account and peer: after five, each further one doubles the pause before the next.

    The counts live in this process and die with it. Records above `most_records` are dropped, oldest first: to push one
    out costs a guesser more password checks than the pause it would save.
    """

    def __init__(self, *, most_records: int = 10_000, now: Callable[[], float] = time.monotonic) -> None:
        self._most_records = most_records
        self._now = now
        self._records: OrderedDict[tuple[str, str], _Record] = OrderedDict()

    @asynccontextmanager
    async def attempt(self, account_id: str, peer: str) -> AsyncIterator[None]:
        """Encloses one check of a password; Unauthenticated leaving the block counts as a failure.

        Raises:
            ResourceExhausted: TOO_MANY_ATTEMPTS with the seconds to wait, also for the right password.
        """
        record = self._record(account_id, peer)
        async with record.turn:
            now = self._now()
            if now < record.blocked_until:
                raise _too_many(account_id, record.blocked_until - now)
            if now - record.last_failure > FORGOTTEN_AFTER_SECONDS:
                record.failures = 0
            try:
                yield
            except Unauthenticated:
                self._count(record)
                raise
            record.failures = 0

    def _record(self, account_id: str, peer: str) -> _Record:
        record = self._records.setdefault((account_id, peer), _Record())
        self._records.move_to_end((account_id, peer))
        if len(self._records) > self._most_records:
            self._records.popitem(last=False)
        return record

    def _count(self, record: _Record) -> None:
        record.failures += 1
        record.last_failure = self._now()
        if record.failures >= FREE_FAILURES:
            doubled = FIRST_PAUSE_SECONDS * 2 ** min(record.failures - FREE_FAILURES, 10)
            record.blocked_until = record.last_failure + min(doubled, LONGEST_PAUSE_SECONDS)


def _too_many(account_id: str, seconds: float) -> ResourceExhausted:
    return ResourceExhausted(
        Reason.TOO_MANY_ATTEMPTS,
        f"too many failed logins as '{account_id}': wait {max(1, round(seconds))} s and try again",
        retry_after_seconds=max(1.0, seconds),
    )
