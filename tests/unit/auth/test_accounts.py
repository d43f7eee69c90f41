"""The rules of accounts and service identities."""

import asyncio
import statistics
import time
from dataclasses import dataclass, field

import pytest
from argon2 import PasswordHasher

from auth_server.accounts.accounts import AccountChange, Accounts
from auth_server.accounts.memory import MemoryAccountStore, MemoryServiceIdentityStore
from auth_server.accounts.passwords import Passwords
from auth_server.accounts.scopes import ADMINISTRATOR_SCOPES, ALL_SCOPES, PERSON_SCOPES
from auth_server.accounts.service_identities import ServiceIdentities
from auth_server.accounts.throttle import LoginThrottle
from servicekit.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    FlareError,
    InvalidArgument,
    NotFound,
    Reason,
    ResourceExhausted,
    Unauthenticated,
)
from tests.unit.auth.conftest import Clock

PASSWORD = "correct horse battery"
PEER = "10.0.0.1"


@dataclass
class Book:
    """Accounts in memory, and whose logins they ended."""

    accounts: Accounts
    store: MemoryAccountStore
    ended: list[str] = field(default_factory=list)


@pytest.fixture
def book(passwords: Passwords, clock: Clock) -> Book:
    store, ended = MemoryAccountStore(), list[str]()

    async def end_logins(name: str) -> None:
        ended.append(name)

    return Book(Accounts(store, passwords, LoginThrottle(), end_logins, clock), store, ended)


async def refusal(book: Book, account_id: str, password: str) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as caught:
        await book.accounts.check_login(account_id, password, PEER)
    return caught.value


async def test_new_account_may_do_what_a_person_does(book: Book) -> None:
    ann = await book.accounts.create("ann", "Ann", [], PASSWORD)
    assert ann.scopes == PERSON_SCOPES == frozenset(ALL_SCOPES) - {"auth.admin", "auth.delegate"}
    assert frozenset(ALL_SCOPES) - {"auth.delegate"} == ADMINISTRATOR_SCOPES
    assert (await book.accounts.check_login("ann", PASSWORD, PEER)).name == "accounts/ann"
    assert PASSWORD not in repr(ann)


async def test_wrong_name_password_and_disabled_account_get_one_answer(book: Book) -> None:
    await book.accounts.create("ann", "", [], PASSWORD)
    await book.accounts.create("bob", "", [], PASSWORD)
    await book.accounts.change("bob", AccountChange(disabled=True))
    errors = [
        await refusal(book, "ann", "wrong password"),
        await refusal(book, "nobody", PASSWORD),
        await refusal(book, "bob", PASSWORD),
    ]
    assert {(error.reason, error.message) for error in errors} == {
        (
            Reason.CREDENTIALS_REJECTED,
            "no enabled account has this user name and password: check both, or ask an administrator",
        )
    }


async def test_unknown_user_takes_as_long_as_a_wrong_password() -> None:
    passwords = Passwords(PasswordHasher(time_cost=2, memory_cost=4096, parallelism=1))
    known = await passwords.hash(PASSWORD)

    times: dict[str | None, list[float]] = {None: [], known: []}
    for _ in range(9):  # in turns, so that a busy machine slows down both
        for password_hash, taken in times.items():
            began = time.perf_counter()
            assert not await passwords.matches("wrong password", password_hash)
            taken.append(time.perf_counter() - began)
    assert 0.4 < statistics.median(times[None]) / statistics.median(times[known]) < 2.5


async def test_no_password_belongs_to_an_unknown_user(passwords: Passwords) -> None:
    assert not await passwords.matches("nobody", None)


async def test_event_loop_runs_while_a_password_is_hashed(passwords: Passwords) -> None:
    hashing = asyncio.create_task(passwords.hash(PASSWORD))
    await asyncio.sleep(0)
    assert not hashing.done()
    assert await passwords.matches(PASSWORD, await hashing)


async def test_too_many_hashes_at_once_are_refused(passwords: Passwords) -> None:
    narrow = Passwords(passwords._hasher, most_waiting=3)
    outcomes = await asyncio.gather(*(narrow.hash(PASSWORD) for _ in range(5)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, ResourceExhausted)]
    assert [error.reason for error in refused] == [Reason.TOO_MANY_ATTEMPTS] * 2
    assert refused[0].retry_after_seconds is not None


async def test_password_typed_on_another_system_is_the_same(passwords: Passwords) -> None:
    assert await passwords.matches("ame\u0301lie in paris", await passwords.hash("am\u00e9lie in paris"))


async def test_outdated_hash_is_renewed_at_login(book: Book, passwords: Passwords, clock: Clock) -> None:
    await book.accounts.create("ann", "", [], PASSWORD)
    stronger = Passwords(PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))

    async def end_logins(name: str) -> None:
        raise AssertionError

    accounts = Accounts(book.store, stronger, LoginThrottle(), end_logins, clock)
    await accounts.check_login("ann", PASSWORD, PEER)
    assert "m=16,t=2" in (await accounts.get("ann")).password_hash
    await accounts.check_login("ann", PASSWORD, PEER)


@pytest.mark.parametrize(
    ("password", "text"),
    [
        ("short", "it has 5 characters: take at least 12"),
        ("aaaaaaaaaaaaaaaa", "take at least 5 different"),
        ("Margaret1234!", "contains the user name"),
    ],
)
async def test_weak_password_is_refused_with_its_weakness(book: Book, password: str, text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await book.accounts.create("margaret", "", [], password)
    assert caught.value.reason is Reason.INVALID_FIELD
    assert text in caught.value.message
    assert password not in caught.value.message
    assert [violation.field for violation in caught.value.violations] == ["password"]


async def test_name_taken(book: Book) -> None:
    await book.accounts.create("ann", "", [], PASSWORD)
    with pytest.raises(AlreadyExists) as caught:
        await book.accounts.create("ann", "", [], PASSWORD)
    assert caught.value.reason is Reason.NAME_TAKEN
    assert caught.value.resource == "accounts/ann"


async def test_unknown_scope_is_named_at_its_place(book: Book) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await book.accounts.create("ann", "", ["datasets.read", "datasets.raed"], PASSWORD)
    assert [violation.field for violation in caught.value.violations] == ["account.scopes[1]"]
    assert "no scope 'datasets.raed'" in caught.value.message


async def test_change_touches_only_what_it_names(book: Book, clock: Clock) -> None:
    ann = await book.accounts.create("ann", "Ann", ["datasets.read"], PASSWORD)
    clock.advance(5)
    renamed = await book.accounts.change("ann", AccountChange(display_name="Anna"))
    assert (renamed.display_name, renamed.scopes, renamed.disabled) == ("Anna", ann.scopes, False)
    assert (renamed.create_time, renamed.update_time) == (ann.create_time, clock.now)
    assert await book.accounts.get("ann") == renamed
    assert book.ended == []


async def test_old_etag_is_refused(book: Book) -> None:
    ann = await book.accounts.create("ann", "Ann", [], PASSWORD)
    changed = await book.accounts.change("ann", AccountChange(display_name="A", etag=ann.etag))
    with pytest.raises(Aborted) as caught:
        await book.accounts.change("ann", AccountChange(display_name="B", etag=ann.etag))
    assert caught.value.reason is Reason.ETAG_MISMATCH
    assert (await book.accounts.get("ann")).etag == changed.etag


async def test_account_made_anew_has_another_etag(book: Book, clock: Clock) -> None:
    first = await book.accounts.create("ann", "Ann", [], PASSWORD)
    await book.accounts.delete("ann")
    clock.advance(1)
    assert (await book.accounts.create("ann", "Ann", [], PASSWORD)).etag != first.etag


async def test_disabling_deleting_and_new_passwords_end_logins(book: Book) -> None:
    for name in ("ann", "bob", "eve", "joe"):
        await book.accounts.create(name, "", [], PASSWORD)
    await book.accounts.change("ann", AccountChange(disabled=True))
    await book.accounts.delete("bob")
    await book.accounts.change_password("eve", PASSWORD, "another good password", PEER)
    await book.accounts.reset_password("joe", "another good password")
    assert book.ended == ["accounts/ann", "accounts/bob", "accounts/eve", "accounts/joe"]
    await refusal(book, "eve", PASSWORD)
    await book.accounts.check_login("eve", "another good password", PEER)


async def test_password_change_needs_the_present_one_and_is_throttled(book: Book) -> None:
    await book.accounts.create("ann", "", [], PASSWORD)
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await book.accounts.change_password("ann", "wrong password", "another good password", PEER)
    with pytest.raises(ResourceExhausted):
        await book.accounts.change_password("ann", PASSWORD, "another good password", PEER)


async def test_somebody_stays_to_administer(book: Book) -> None:
    await book.accounts.create("root", "", ["auth.admin"], PASSWORD)
    await book.accounts.create("ann", "", [], PASSWORD)
    for change in (AccountChange(disabled=True), AccountChange(scopes=["datasets.read"])):
        with pytest.raises(FailedPrecondition, match=r"only enabled account with the scope auth\.admin"):
            await book.accounts.change("root", change)
    with pytest.raises(FailedPrecondition) as caught:
        await book.accounts.delete("root")
    assert caught.value.reason is Reason.RESOURCE_IN_USE
    await book.accounts.change("ann", AccountChange(scopes=["auth.admin"]))
    await book.accounts.delete("root")


async def test_missing_account_is_named(book: Book) -> None:
    calls = [
        book.accounts.get("eve"),
        book.accounts.delete("eve"),
        book.accounts.change("eve", AccountChange()),
        book.accounts.reset_password("eve", "another good password"),
    ]
    for call in calls:
        with pytest.raises(NotFound, match="no account 'accounts/eve'"):
            await call


@pytest.fixture
def identities(clock: Clock) -> ServiceIdentities:
    return ServiceIdentities(MemoryServiceIdentityStore(), clock)


async def test_secret_is_given_once_and_only_its_hash_kept(identities: ServiceIdentities) -> None:
    identity, secret = await identities.create("ml", "ML service", ["datasets.read", "auth.delegate"])
    assert len(secret) >= 43
    assert secret not in repr(identity)
    assert await identities.check_secret("ml", secret) == identity


async def test_rotated_secret_stops_at_once(identities: ServiceIdentities) -> None:
    _, old = await identities.create("ml", "", [])
    identity, new = await identities.rotate_secret("ml")
    assert await identities.check_secret("ml", new) == identity
    with pytest.raises(Unauthenticated) as caught:
        await identities.check_secret("ml", old)
    assert caught.value.reason is Reason.CREDENTIALS_REJECTED


async def test_identity_errors(identities: ServiceIdentities) -> None:
    await identities.create("ml", "", [])
    refused: list[tuple[type[FlareError], object]] = [
        (AlreadyExists, identities.create("ml", "", [])),
        (InvalidArgument, identities.create("x", "", ["nonsense"])),
        (NotFound, identities.rotate_secret("x")),
        (NotFound, identities.delete("x")),
        (Unauthenticated, identities.check_secret("x", "secret")),
    ]
    for kind, call in refused:
        with pytest.raises(kind):
            await call  # type: ignore[misc]
    await identities.delete("ml")
    with pytest.raises(Unauthenticated):
        await identities.check_secret("ml", "secret")


async def test_ensured_identity_has_the_given_secret_and_scopes(identities: ServiceIdentities) -> None:
    await identities.ensure("ml", "ml", ["datasets.read"], "a" * 40)
    await identities.ensure("ml", "ml", ["models.read"], "b" * 40)
    assert (await identities.check_secret("ml", "b" * 40)).scopes == {"models.read"}
    with pytest.raises(Unauthenticated):
        await identities.check_secret("ml", "a" * 40)
