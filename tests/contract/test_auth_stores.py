"""What every store of accounts, service identities, logins and signing keys promises, held against each of them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect

from auth_server.accounts.memory import MemoryAccountStore, MemoryServiceIdentityStore
from auth_server.accounts.sql import SqlAccountStore, SqlServiceIdentityStore
from auth_server.accounts.store import AccountStore, LastAdministrator, ServiceIdentityStore
from auth_server.accounts.values import Account, ServiceIdentity
from auth_server.tables import metadata
from auth_server.tokens.memory import MemoryLoginStore, MemorySigningKeyStore
from auth_server.tokens.sql import SqlLoginStore, SqlSigningKeyStore
from auth_server.tokens.store import LoginStore, SigningKeyStore
from auth_server.tokens.values import Login, StoredKey
from servicekit.database import Database

NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


@dataclass(frozen=True)
class Stores:
    """One implementation of each."""

    accounts: AccountStore
    identities: ServiceIdentityStore
    logins: LoginStore
    keys: SigningKeyStore


@pytest.fixture(params=["memory", "sql"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    if request.param == "memory":
        yield Stores(MemoryAccountStore(), MemoryServiceIdentityStore(), MemoryLoginStore(), MemorySigningKeyStore())
        return
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/auth.db")
    async with database.write() as connection:
        await connection.run_sync(metadata.create_all)
    yield Stores(
        SqlAccountStore(database),
        SqlServiceIdentityStore(database),
        SqlLoginStore(database),
        SqlSigningKeyStore(database),
    )
    await database.close()


def account(account_id: str = "ann", scopes: frozenset[str] = frozenset({"datasets.read", "auth.read"})) -> Account:
    return Account(account_id, "Ann", scopes, False, "$argon2id$...", 1, NOW, NOW)


def identity(identity_id: str = "ml") -> ServiceIdentity:
    return ServiceIdentity(identity_id, "ML", frozenset({"datasets.read"}), "0" * 64, NOW)


def login(login_id: str = "l1", subject: str = "accounts/ann", token_hash: str = "h1") -> Login:
    return Login(login_id, subject, token_hash, NOW + timedelta(days=14), NOW + timedelta(days=90))


async def test_account_comes_back_as_it_was(stores: Stores) -> None:
    assert await stores.accounts.is_empty()
    assert await stores.accounts.add(account())
    assert await stores.accounts.get("ann") == account()
    assert await stores.accounts.get("eve") is None
    assert not await stores.accounts.is_empty()


async def test_taken_user_name_changes_nothing(stores: Stores) -> None:
    await stores.accounts.add(account())
    assert not await stores.accounts.add(replace(account(), display_name="Eve"))
    assert await stores.accounts.get("ann") == account()


async def test_one_of_many_at_once_gets_the_user_name(stores: Stores) -> None:
    made = await asyncio.gather(*(stores.accounts.add(replace(account(), display_name=str(n))) for n in range(5)))
    assert sum(made) == 1


async def test_accounts_come_in_pages_by_name(stores: Stores) -> None:
    names = ["a", "a-1", "b", "c.d", "z"]
    for name in reversed(names):
        await stores.accounts.add(account(name))
    seen, after = list[str](), ""
    while page := await stores.accounts.list(after, 2):
        seen += [each.account_id for each in page]
        after = seen[-1]
    assert seen == sorted(names)


async def test_replacing_needs_the_present_revision(stores: Stores) -> None:
    await stores.accounts.add(account())
    changed = replace(account(), display_name="Anna", scopes=frozenset(), disabled=True, revision=2)
    assert not await stores.accounts.replace(changed, 7)
    assert await stores.accounts.get("ann") == account()
    assert await stores.accounts.replace(changed, 1)
    assert await stores.accounts.get("ann") == changed
    assert not await stores.accounts.replace(replace(changed, account_id="eve"), 2)


async def test_of_changes_at_once_one_wins(stores: Stores) -> None:
    await stores.accounts.add(account())
    changes = [replace(account(), display_name=str(number), revision=2) for number in range(5)]
    assert sum(await asyncio.gather(*(stores.accounts.replace(change, 1) for change in changes))) == 1


async def test_removed_account_is_gone(stores: Stores) -> None:
    await stores.accounts.add(account())
    assert await stores.accounts.remove("ann")
    assert not await stores.accounts.remove("ann")
    assert await stores.accounts.get("ann") is None


async def test_last_enabled_administrator_stays(stores: Stores) -> None:
    admin = frozenset({"auth.admin", "auth.read"})
    await stores.accounts.add(account("root", admin))
    await stores.accounts.add(replace(account("off", admin), disabled=True))
    await stores.accounts.add(account("like", frozenset({"auth.administrate", "xauth.admin"})))
    root = account("root", admin)
    with pytest.raises(LastAdministrator):
        await stores.accounts.remove("root")
    for change in (replace(root, disabled=True), replace(root, scopes=frozenset({"auth.read"}))):
        with pytest.raises(LastAdministrator):
            await stores.accounts.replace(change, 1)
    assert await stores.accounts.get("root") == root
    assert await stores.accounts.replace(replace(root, display_name="Root"), 1)
    await stores.accounts.add(account("second", admin))
    assert await stores.accounts.remove("root")


async def test_of_administrators_who_remove_each_other_one_stays(stores: Stores) -> None:
    for name in ("a", "b"):
        await stores.accounts.add(account(name, frozenset({"auth.admin"})))
    outcomes = await asyncio.gather(*(stores.accounts.remove(name) for name in ("a", "b")), return_exceptions=True)
    assert sorted(isinstance(outcome, LastAdministrator) for outcome in outcomes) == [False, True]
    assert len(await stores.accounts.list("", 10)) == 1


async def test_identity_comes_back_as_it_was(stores: Stores) -> None:
    assert await stores.identities.add(identity())
    assert not await stores.identities.add(replace(identity(), secret_hash="1" * 64))
    assert await stores.identities.get("ml") == identity()
    assert await stores.identities.get("x") is None


async def test_put_identity_keeps_its_first_time(stores: Stores) -> None:
    await stores.identities.put(identity())
    later = replace(identity(), secret_hash="1" * 64, scopes=frozenset(), create_time=NOW + timedelta(days=1))
    await stores.identities.put(later)
    assert await stores.identities.get("ml") == replace(later, create_time=NOW)


async def test_identity_gets_a_new_secret_or_goes(stores: Stores) -> None:
    await stores.identities.add(identity())
    assert await stores.identities.set_secret("ml", "2" * 64)
    assert await stores.identities.get("ml") == replace(identity(), secret_hash="2" * 64)
    assert not await stores.identities.set_secret("x", "2" * 64)
    assert await stores.identities.remove("ml")
    assert not await stores.identities.remove("ml")


async def test_identities_come_in_pages_by_id(stores: Stores) -> None:
    for name in ("c", "a", "b"):
        await stores.identities.add(identity(name))
    assert [each.identity_id for each in await stores.identities.list("", 2)] == ["a", "b"]
    assert [each.identity_id for each in await stores.identities.list("b", 2)] == ["c"]


async def test_newest_token_advances_once(stores: Stores) -> None:
    await stores.logins.add(login())
    idle = NOW + timedelta(days=20)
    advanced = await stores.logins.advance("l1", "h1", "h2", NOW, idle)
    assert advanced == replace(login(), token_hash="h2", idle_end_time=idle)
    assert await stores.logins.advance("l1", "h1", "h3", NOW, idle) is None
    assert await stores.logins.advance("l1", "h2", "h3", NOW, idle) is not None
    assert await stores.logins.advance("nobody", "h1", "h2", NOW, idle) is None


async def test_of_many_that_present_one_token_one_advances(stores: Stores) -> None:
    await stores.logins.add(login())
    outcomes = await asyncio.gather(
        *(stores.logins.advance("l1", "h1", f"n{number}", NOW, NOW + timedelta(days=1)) for number in range(5))
    )
    assert sum(outcome is not None for outcome in outcomes) == 1


@pytest.mark.parametrize("days", [14, 90])
async def test_ended_login_does_not_advance(stores: Stores, days: int) -> None:
    kept = replace(login(), idle_end_time=NOW + timedelta(days=14 if days == 14 else 200))
    await stores.logins.add(kept)
    end, idle = NOW + timedelta(days=days), NOW + timedelta(days=200)
    assert await stores.logins.advance("l1", "h1", "h2", end, idle) is None
    assert await stores.logins.advance("l1", "h1", "h2", end - timedelta(microseconds=1), idle) is not None


async def test_logins_end_one_by_one_by_subject_and_by_time(stores: Stores) -> None:
    for login_id, subject in [
        ("l1", "accounts/ann"),
        ("l2", "accounts/ann"),
        ("l3", "accounts/bob"),
        ("l4", "accounts/bob"),
    ]:
        await stores.logins.add(login(login_id, subject))
    assert await stores.logins.remove("l4")
    assert not await stores.logins.remove("l4")
    assert await stores.logins.remove_all("accounts/ann") == 2
    assert await stores.logins.remove_ended(NOW) == 0
    assert await stores.logins.remove_ended(NOW + timedelta(days=14)) == 1


def key(kid: str, seconds: int) -> StoredKey:
    return StoredKey(kid, f"sealed {kid}", NOW + timedelta(seconds=seconds), None)


async def test_new_key_replaces_the_one_that_signs(stores: Stores) -> None:
    end = NOW + timedelta(hours=1)
    assert await stores.keys.add(key("k1", 0), None, end)
    assert await stores.keys.add(key("k2", 1), "k1", end)
    assert await stores.keys.list() == [key("k2", 1), replace(key("k1", 0), withdraw_time=end)]


@pytest.mark.parametrize("replaced", [None, "k0", "k1"])
async def test_replacing_a_key_that_does_not_sign_changes_nothing(stores: Stores, replaced: str | None) -> None:
    await stores.keys.add(key("k1", 0), None, NOW)
    await stores.keys.add(key("k2", 1), "k1", NOW)
    before = await stores.keys.list()
    assert not await stores.keys.add(key("k3", 2), replaced, NOW)
    assert await stores.keys.list() == before


async def test_of_servers_that_start_at_once_one_makes_the_key(stores: Stores) -> None:
    made = await asyncio.gather(*(stores.keys.add(key(f"k{number}", number), None, NOW) for number in range(5)))
    assert sum(made) == 1
    assert len(await stores.keys.list()) == 1


async def test_withdrawn_keys_are_forgotten_in_time(stores: Stores) -> None:
    end = NOW + timedelta(hours=1)
    await stores.keys.add(key("k1", 0), None, end)
    await stores.keys.add(key("k2", 1), "k1", end)
    await stores.keys.remove_withdrawn(end - timedelta(seconds=1))
    assert len(await stores.keys.list()) == 2
    await stores.keys.remove_withdrawn(end)
    assert [each.kid for each in await stores.keys.list()] == ["k2"]


async def test_migrations_make_the_tables_that_the_code_expects(tmp_path: Path) -> None:
    def columns(connection: Connection) -> dict[str, list[tuple[str, str, bool]]]:
        inspector = inspect(connection)
        return {
            table: [(each["name"], str(each["type"]), each["nullable"]) for each in inspector.get_columns(table)]
            + [
                (str(index["name"]), str(index["column_names"]), bool(index["unique"]))
                for index in inspector.get_indexes(table)
            ]
            + [("unique", str(each["column_names"]), True) for each in inspector.get_unique_constraints(table)]
            for table in metadata.tables
        }

    migrated, made = (Database(f"sqlite+aiosqlite:///{tmp_path}/{name}.db") for name in ("migrated", "made"))
    await migrated.migrate("auth_server:migrations")
    await migrated.migrate("auth_server:migrations")
    async with made.write() as connection:
        await connection.run_sync(metadata.create_all)
        expected = await connection.run_sync(columns)
    async with migrated.read() as connection:
        assert await connection.run_sync(columns) == expected
    await migrated.close()
    await made.close()
