"""What the files of one person take, and how much they may: kept data sets and views, and files on their way."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from servicekit.errors import Reason, ResourceExhausted

LIMIT_SETTING = "FLARE_SCRAPER_QUOTA_BYTES"
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")

Holding = Callable[[str], Awaitable[int]]
"""Tells how many bytes an owner has in one place, as a store of data sets knows it."""


class Quota:
    """Counts what each owner has, and what their calls and jobs have reserved for what is still to come.

    What is kept is asked for anew at each check, so nothing has to be written down: after a restart what is kept is
    there as before, and whatever goes on reserves anew. Each server counts the reservations made in it.
    """

    def __init__(self, limit_bytes: int, holdings: Sequence[Holding]) -> None:
        self._limit_bytes = limit_bytes
        self._holdings = holdings
        self._reserved = Counter[str]()
        self._checking = asyncio.Lock()  # what is free is free until it is taken

    async def used(self, owner: str) -> int:
        """The bytes that an owner has, those reserved included."""
        return sum([await held(owner) for held in self._holdings]) + self._reserved[owner]

    @asynccontextmanager
    async def reserved(self, owner: str, subject: str) -> AsyncIterator["Reservation"]:
        """A reservation of nothing yet, given up when the block ends: by then what was kept is counted as kept.

        `subject` is what messages call the bytes, such as "file 'a.csv'".
        """
        reservation = Reservation(self, owner, subject)
        try:
            yield reservation
        finally:
            self._reserved[owner] -= reservation.size_bytes
            if not self._reserved[owner]:
                del self._reserved[owner]

    async def _change(self, owner: str, subject: str, held: int, wanted: int) -> None:
        async with self._checking:
            if wanted > held:
                used = await self.used(owner)
                if used - held + wanted > self._limit_bytes:
                    raise self._exceeded(subject, used - held, wanted)
            self._reserved[owner] += wanted - held

    def _exceeded(self, subject: str, used: int, wanted: int) -> ResourceExhausted:
        return ResourceExhausted(
            Reason.QUOTA_EXCEEDED,
            f"{subject} takes {in_units(wanted)} or more, and you use {in_units(used)} of the "
            f"{in_units(self._limit_bytes)} that each person has: delete data sets or views that are not needed, or "
            f"ask whoever runs this server for more ({LIMIT_SETTING})",
            used_bytes=str(used),
            limit_bytes=str(self._limit_bytes),
            needed_bytes=str(wanted),
        )


class Reservation:
    """Bytes of one file on its way. They follow what really arrives: what was announced is a start, not the truth."""

    def __init__(self, quota: Quota, owner: str, subject: str) -> None:
        self._quota = quota
        self._owner = owner
        self._subject = subject
        self.size_bytes = 0

    async def hold(self, size_bytes: int) -> None:
        """Reserves so many bytes in all, more or fewer than before.

        Raises:
            ResourceExhausted: QUOTA_EXCEEDED; what was reserved before stays so.
        """
        if size_bytes != self.size_bytes:
            await self._quota._change(self._owner, self._subject, self.size_bytes, size_bytes)
            self.size_bytes = size_bytes


def in_units(count: int) -> str:
    """A number of bytes as people say it: 1536 is 1.5 KiB."""
    amount, unit = float(count), 0
    while amount >= 1024 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.1f} {_UNITS[unit]}" if unit else f"{count} bytes"
