"""How guessing is slowed down, and whom that does not touch."""

import asyncio

import pytest

from auth_server.accounts.throttle import LoginThrottle
from servicekit.errors import Reason, ResourceExhausted, Unauthenticated


class Seconds:
    """A clock that stands still between the tests' words."""

    def __init__(self) -> None:
        self.value = 1000.0

    def __call__(self) -> float:
        return self.value


async def fail(throttle: LoginThrottle, account: str = "ann", peer: str = "10.0.0.1") -> None:
    with pytest.raises(Unauthenticated):
        await guess(throttle, account, peer)


async def guess(throttle: LoginThrottle, account: str, peer: str) -> None:
    async with throttle.attempt(account, peer):
        await asyncio.sleep(0)
        raise Unauthenticated(Reason.CREDENTIALS_REJECTED, "no")


async def wait_of(throttle: LoginThrottle, account: str = "ann", peer: str = "10.0.0.1") -> float:
    """The seconds that the refusal names."""
    with pytest.raises(ResourceExhausted) as caught:
        async with throttle.attempt(account, peer):
            raise AssertionError("the attempt was let through")
    assert caught.value.reason is Reason.TOO_MANY_ATTEMPTS
    assert "too many failed logins as 'ann'" in caught.value.message
    assert caught.value.retry_after_seconds is not None
    return caught.value.retry_after_seconds


async def test_pauses_double_up_to_five_minutes() -> None:
    now = Seconds()
    throttle = LoginThrottle(now=now)
    for _ in range(5):
        await fail(throttle)
    waits = []
    for _ in range(8):
        waits.append(await wait_of(throttle))
        now.value += waits[-1]
        await fail(throttle)
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300]


async def test_success_forgets_the_failures() -> None:
    throttle = LoginThrottle(now=Seconds())
    for _ in range(3):
        for _ in range(4):
            await fail(throttle)
        async with throttle.attempt("ann", "10.0.0.1"):
            pass


async def test_time_forgets_the_failures() -> None:
    now = Seconds()
    throttle = LoginThrottle(now=now)
    for _ in range(8):
        for _ in range(4):
            await fail(throttle)
        now.value += 901


async def test_others_are_not_slowed_down() -> None:
    throttle = LoginThrottle(now=Seconds())
    for _ in range(5):
        await fail(throttle)
    await wait_of(throttle)
    async with throttle.attempt("bob", "10.0.0.1"), throttle.attempt("ann", "10.0.0.2"):
        pass


async def test_guesses_at_once_are_counted_before_they_pass() -> None:
    throttle = LoginThrottle(now=Seconds())
    guesses = (guess(throttle, "ann", "10.0.0.1") for _ in range(50))
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unauthenticated] * 5 + [ResourceExhausted] * 45


async def test_memory_is_bounded() -> None:
    throttle = LoginThrottle(most_records=100, now=Seconds())
    for index in range(1000):
        await fail(throttle, f"user{index}")
    assert len(throttle._records) == 100
