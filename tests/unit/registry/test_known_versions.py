"""Versions that names mean are remembered for a moment, and never past a write of this server."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ml_server.networks.specification import MlpSpecification, ModelSpecification
from ml_server.registry.aliases import Alias, Share
from ml_server.registry.known_versions import KEPT_SECONDS, KnownVersions
from ml_server.registry.shared_store import shared_store
from ml_server.registry.sql import SqlModelStore
from ml_server.registry.values import Model, ModelVersion, VersionDetails, VersionReference
from servicekit.database import Database
from servicekit.errors import FailedPrecondition, NotFound
from servicekit.processes.news import News

ANN = "accounts/ann"
IRIS = VersionReference("iris")
PROD = VersionReference("iris", alias="prod")


class CountingStore(SqlModelStore):
    """Counts how often it is asked, and lets a test come between the question and the answer."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.asked = 0
        self.read = asyncio.Event()
        self.answer = asyncio.Event()
        self.answer.set()

    async def version(self, owner: str, reference: VersionReference) -> ModelVersion:
        """As ModelStore says."""
        self.asked += 1
        found = await super().version(owner, reference)
        self.read.set()
        await self.answer.wait()
        return found


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/ml.db")
    await database.migrate("ml_server:migrations")
    yield database
    await database.close()


@pytest.fixture
def store(database: Database) -> CountingStore:
    return CountingStore(database)


@pytest.fixture
async def model(store: CountingStore) -> Model:
    """A model with two versions, the first of them under an alias."""
    model = await store.create(ANN, "iris", "", ModelSpecification(architecture=MlpSpecification()), None)
    for _ in range(2):
        await add(store, model)
    return await store.set_alias(model, "prod", Alias(1), "")


async def add(store: SqlModelStore, model: Model) -> None:
    await store.add_version(model, VersionDetails(parameter_count=1, digest="d"), 1, "versions/u/a")


async def test_the_store_is_asked_once_a_moment_for_each_name(store: CountingStore, model: Model) -> None:
    clock = Clock()
    versions = KnownVersions(store, clock)
    asked = [await versions.find(ANN, reference) for reference in (IRIS, PROD) * 3]
    assert [version.number for version in asked] == [2, 1] * 3
    assert store.asked == 2
    clock.now = KEPT_SECONDS
    await versions.find(ANN, IRIS)
    assert store.asked == 3


async def test_all_who_ask_at_once_share_one_question(store: CountingStore, model: Model) -> None:
    versions = KnownVersions(store)
    store.answer.clear()
    waiting = [asyncio.create_task(versions.find(ANN, IRIS)) for _ in range(20)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # the one that asked first leaves; the others still get the answer
    store.answer.set()
    await asyncio.wait(waiting)
    assert [task.cancelled() for task in waiting] == [True] + [False] * 19
    assert {task.result().number for task in waiting[1:]} == {2}
    assert store.asked == 1


async def test_a_write_of_this_server_counts_at_once(store: CountingStore, model: Model) -> None:
    versions = KnownVersions(store)
    assert (await versions.find(ANN, PROD)).number == 1
    await store.set_alias(model, "prod", Alias(2), "")
    assert (await versions.find(ANN, PROD)).number == 2
    await add(store, model)
    assert (await versions.find(ANN, IRIS)).number == 3
    await store.delete(model)
    with pytest.raises(NotFound):
        await versions.find(ANN, IRIS)


async def test_an_answer_from_before_a_write_is_not_kept(store: CountingStore, model: Model) -> None:
    versions = KnownVersions(store)
    store.answer.clear()
    early = asyncio.create_task(versions.find(ANN, PROD))
    await store.read.wait()
    await store.set_alias(model, "prod", Alias(2), "")
    late = asyncio.create_task(versions.find(ANN, PROD))
    store.answer.set()
    await asyncio.wait([early, late])
    assert late.result().number == 2
    assert (await versions.find(ANN, PROD)).number == 2


async def test_a_cancelled_write_counts_too(store: CountingStore, model: Model) -> None:
    versions = KnownVersions(store)
    assert (await versions.find(ANN, PROD)).number == 1
    before = store.write_count
    writing = asyncio.create_task(store.set_alias(model, "prod", Alias(2), ""))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait([writing])
    assert store.write_count > before
    assert (await versions.find(ANN, PROD)).number == (await store.version(ANN, PROD)).number


async def test_writes_of_others_count_after_a_moment(store: CountingStore, model: Model, database: Database) -> None:
    clock = Clock()
    versions = KnownVersions(store, clock)
    assert (await versions.find(ANN, PROD)).number == 1
    await SqlModelStore(database).set_alias(model, "prod", Alias(2), "")
    clock.now = KEPT_SECONDS
    assert (await versions.find(ANN, PROD)).number == 2


async def test_writes_of_another_process_count_when_it_has_told(model: Model, database: Database) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    here, there = News(), News()
    here.join(ours)
    there.join(theirs)
    store, other = shared_store(database, here), shared_store(database, there)
    versions = KnownVersions(store, Clock())
    assert (await versions.find(ANN, PROD)).number == 1
    heard = asyncio.Event()
    here.hear("all", lambda _: heard.set())
    await other.set_alias(model, "prod", Alias(2), "")
    there.tell("all")
    async with asyncio.timeout(30):
        await heard.wait()
    assert (await versions.find(ANN, PROD)).number == 2
    here.leave(ours)
    there.leave(theirs)


async def test_errors_are_not_kept(store: CountingStore, model: Model, database: Database) -> None:
    versions = KnownVersions(store)
    empty = await store.create(ANN, "empty", "", model.specification, None)
    with pytest.raises(FailedPrecondition):
        await versions.find(ANN, VersionReference("empty"))
    await add(SqlModelStore(database), empty)  # somebody else's: nothing of it is known here
    assert (await versions.find(ANN, VersionReference("empty"))).number == 1


async def test_nobody_sees_what_another_one_asked_for(store: CountingStore, model: Model) -> None:
    versions = KnownVersions(store)
    await versions.find(ANN, IRIS)
    with pytest.raises(NotFound):
        await versions.find("accounts/bob", IRIS)


async def test_an_id_decides_among_those_that_share_an_alias(store: CountingStore, model: Model) -> None:
    versions = KnownVersions(store)
    await store.set_alias(model, "prod", Alias(1, (Share(1, 1), Share(2, 1))), "")
    ids = [f"customer-{number}" for number in range(20)]
    answering = [(await versions.answering(ANN, PROD, each)).number for each in ids]
    assert set(answering) == {1, 2}
    assert [(await versions.answering(ANN, PROD, each)).number for each in ids] == answering
    assert store.asked == 2  # for the alias, and for the version that it does not name first
    assert {(await versions.answering(ANN, IRIS, each)).number for each in ids} == {2}


async def test_a_version_that_another_server_deleted_is_asked_no_more(
    store: CountingStore, model: Model, database: Database
) -> None:
    versions, other = KnownVersions(store, Clock()), SqlModelStore(database)
    await store.set_alias(model, "prod", Alias(1, (Share(1, 1), Share(2, 1_000_000))), "")
    await versions.find(ANN, PROD)
    await other.set_alias(model, "prod", Alias(1), "")
    await other.delete_version(await other.version(ANN, VersionReference("iris", number=2)))
    assert (await versions.answering(ANN, PROD, "anybody")).number == 1


async def test_all_versions_that_share_an_alias_are_at_hand(store: CountingStore, model: Model) -> None:
    await store.set_alias(model, "prod", Alias(1, (Share(1, 50), Share(2, 50))), "")
    versions = KnownVersions(store, Clock())
    for request_id in map(str, range(20)):
        expected = await versions.answering(ANN, PROD, request_id)
        found = versions.at_hand(ANN, PROD, request_id)
        assert found is not None
        assert found.number == expected.number
