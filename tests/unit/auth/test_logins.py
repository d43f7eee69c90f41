"""Refresh tokens: each works once, and a copy ends the login."""

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_server.tokens.logins import Logins
from auth_server.tokens.memory import MemoryLoginStore
from servicekit.errors import Reason, Unauthenticated
from tests.unit.auth.conftest import Clock

DAY = 86_400


def logins(clock: Clock) -> Logins:
    return Logins(MemoryLoginStore(), idle_lifetime=timedelta(days=14), lifetime=timedelta(days=90), now=clock)


async def assert_rejected(book: Logins, token: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await book.renew(token)
    assert caught.value.reason is Reason.REFRESH_TOKEN_REJECTED
    assert "log in again" in caught.value.message


async def test_each_token_gives_the_next(clock: Clock) -> None:
    book = logins(clock)
    token = await book.open("accounts/ann")
    seen = {token.value}
    for _ in range(5):
        subject, token = await book.renew(token.value)
        assert subject == "accounts/ann"
        assert token.value not in seen
        seen.add(token.value)


@given(renewals=st.integers(1, 6), data=st.data())
async def test_any_used_token_that_comes_again_ends_the_login(renewals: int, data: st.DataObject) -> None:
    book = logins(Clock())
    tokens = [await book.open("accounts/ann")]
    other = await book.open("accounts/ann")
    for _ in range(renewals):
        tokens.append((await book.renew(tokens[-1].value))[1])
    await assert_rejected(book, data.draw(st.sampled_from(tokens[:-1])).value)
    await assert_rejected(book, tokens[-1].value)
    await book.renew(other.value)  # another login of the same account goes on


async def test_of_two_renewals_at_once_one_wins_and_the_login_ends(clock: Clock) -> None:
    book = logins(clock)
    token = await book.open("accounts/ann")
    outcomes = await asyncio.gather(*(book.renew(token.value) for _ in range(2)), return_exceptions=True)
    assert sorted(isinstance(outcome, Unauthenticated) for outcome in outcomes) == [False, True]
    [winner] = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    await assert_rejected(book, winner[1].value)


async def test_unused_token_ends_after_the_idle_time(clock: Clock) -> None:
    book = logins(clock)
    token = await book.open("accounts/ann")
    assert token.expire_time == clock.now + timedelta(days=14)
    clock.advance(14 * DAY)
    await assert_rejected(book, token.value)


async def test_login_ends_however_often_it_is_renewed(clock: Clock) -> None:
    book = logins(clock)
    token = await book.open("accounts/ann")
    end = clock.now + timedelta(days=90)
    for _ in range(8):
        clock.advance(11 * DAY)
        _, token = await book.renew(token.value)
    assert token.expire_time == end  # not 14 days from here
    clock.advance(2 * DAY)
    await assert_rejected(book, token.value)


@pytest.mark.parametrize("token", ["", ".", "garbage", "a.b", "..", "ä.ö"])
async def test_garbage_is_rejected_and_can_be_ended(clock: Clock, token: str) -> None:
    book = logins(clock)
    await assert_rejected(book, token)
    await book.end(token)


async def test_ended_login_stays_ended(clock: Clock) -> None:
    book = logins(clock)
    token = await book.open("accounts/ann")
    await book.end(token.value)
    await book.end(token.value)
    await assert_rejected(book, token.value)


async def test_all_logins_of_one_subject_end(clock: Clock) -> None:
    book = logins(clock)
    ann = [await book.open("accounts/ann") for _ in range(2)]
    bob = await book.open("accounts/bob")
    await book.end_all("accounts/ann")
    for token in ann:
        await assert_rejected(book, token.value)
    await book.renew(bob.value)
