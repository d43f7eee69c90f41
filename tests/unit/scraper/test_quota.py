"""What a person may take: nobody gets more together than alone, and what ends gives back what it took."""

import asyncio

import pytest

from scraper_server.datasets.quota import Quota, Reservation, in_units
from servicekit.errors import Reason, ResourceExhausted


class Kept:
    """What owners have in some store, which answers after a moment."""

    def __init__(self, **sizes: int) -> None:
        self.sizes = sizes

    async def __call__(self, owner: str) -> int:
        await asyncio.sleep(0)
        return self.sizes.get(owner, 0)


async def test_what_is_kept_in_every_place_and_what_is_reserved_counts_together() -> None:
    quota = Quota(1000, [Kept(ann=300), Kept(ann=200, bob=1)])
    async with quota.reserved("ann", "file 'a.csv'") as reservation:
        await reservation.hold(400)
        assert await quota.used("ann") == 900
        assert await quota.used("bob") == 1
        await reservation.hold(100)
        assert await quota.used("ann") == 600
    assert await quota.used("ann") == 500


async def test_the_refusal_says_what_is_used_and_what_to_do() -> None:
    quota = Quota(1024 * 1024, [Kept(ann=1000 * 1024)])
    async with quota.reserved("ann", "file 'a.csv'") as reservation:
        await reservation.hold(10 * 1024)
        with pytest.raises(ResourceExhausted) as caught:
            await reservation.hold(30 * 1024)
        assert await quota.used("ann") == 1010 * 1024, "what was reserved stays reserved"
    assert caught.value.reason is Reason.QUOTA_EXCEEDED
    assert caught.value.message.startswith(
        "file 'a.csv' takes 30.0 KiB or more, and you use 1000.0 KiB of the 1.0 MiB that each person has: delete "
    )
    assert "FLARE_SCRAPER_QUOTA_BYTES" in caught.value.message
    assert caught.value.metadata == {"used_bytes": "1024000", "limit_bytes": "1048576", "needed_bytes": "30720"}


async def test_concurrent_files_of_one_person_do_not_exceed_it_together() -> None:
    quota = Quota(1000, [Kept(ann=100)])
    granted: list[Reservation] = []

    async def take() -> None:
        async with quota.reserved("ann", "a file") as reservation:
            for size in range(0, 301, 50):
                await reservation.hold(size)
            granted.append(reservation)
            await asyncio.sleep(0.01)
            assert await quota.used("ann") <= 1000

    ends = await asyncio.gather(*(take() for _ in range(8)), return_exceptions=True)
    refused = [end for end in ends if isinstance(end, ResourceExhausted)]
    assert len(granted) + len(refused) == 8
    assert 1 <= len(granted) <= 3
    assert await quota.used("ann") == 100


async def test_room_that_was_made_meanwhile_is_seen() -> None:
    kept = Kept(ann=900)
    quota = Quota(1000, [kept])
    async with quota.reserved("ann", "a file") as reservation:
        with pytest.raises(ResourceExhausted):
            await reservation.hold(200)
        kept.sizes["ann"] = 0
        await reservation.hold(200)


async def test_less_is_always_granted() -> None:
    kept = Kept()
    quota = Quota(1000, [kept])
    async with quota.reserved("ann", "a file") as reservation:
        await reservation.hold(1000)
        kept.sizes["ann"] = 5000
        await reservation.hold(10)
        assert await quota.used("ann") == 5010


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (100 * 1024**3, "100.0 GiB")]
)
def test_bytes_are_told_in_units(count: int, text: str) -> None:
    assert in_units(count) == text
