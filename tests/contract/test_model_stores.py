"""What the model store promises."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ml_server.networks.specification import MlpSpecification, ModelSpecification
from ml_server.registry.aliases import Alias, Share
from ml_server.registry.sql import SqlModelStore
from ml_server.registry.store import ModelStore
from ml_server.registry.values import Metric, Model, ModelVersion, VersionDetails, VersionReference
from servicekit.database import Database
from servicekit.errors import Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Reason
from servicekit.idempotency import RequestKey

ANN = "accounts/ann"
BOB = "accounts/bob"
SPECIFICATION = ModelSpecification(architecture=MlpSpecification(hidden_units=(4, 2), dropout=0.1))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ModelStore]:
    """The store on the tables that the migrations make."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/ml.db")
    await database.migrate("ml_server:migrations")
    yield SqlModelStore(database)
    await database.close()


async def make(store: ModelStore, model_id: str = "iris", owner: str = ANN, request: RequestKey | None = None) -> Model:
    return await store.create(owner, model_id, "Iris", SPECIFICATION, request)


def details(training_job: str = "", digest: str = "d") -> VersionDetails:
    metrics = (Metric("accuracy", "kind", 0.75), Metric("loss", "", 0.5))
    return VersionDetails(training_job=training_job, parameter_count=9, digest=digest, test_metrics=metrics, seed=3)


async def add(store: ModelStore, model: Model, training_job: str = "") -> ModelVersion:
    return await store.add_version(model, details(training_job), 1234, f"versions/{model.uid}/{training_job}")


async def current(store: ModelStore, model: Model) -> Model:
    return await store.get(model.owner, model.id)


async def test_a_model_is_found_as_it_was_made(store: ModelStore) -> None:
    made = await make(store)
    assert await store.get(ANN, "iris") == made
    assert (made.name, made.display_name, made.specification) == ("models/iris", "Iris", SPECIFICATION)
    assert (made.latest_version, made.aliases, made.has_initial_weights) == (0, {}, False)


async def test_a_name_is_taken_once_an_owner_and_free_again_after_deletion(store: ModelStore) -> None:
    first = await make(store)
    with pytest.raises(AlreadyExists, match="take another model_id or delete that one") as taken:
        await make(store)
    assert taken.value.reason is Reason.NAME_TAKEN
    assert (await make(store, owner=BOB)).uid != first.uid
    await store.delete(first)
    again = await make(store)
    assert again.uid != first.uid
    assert (await store.get(BOB, "iris")).owner == BOB


async def test_somebody_elses_model_answers_like_a_missing_one(store: ModelStore) -> None:
    model = await make(store)
    await add(store, model)
    told = []
    for owner, model_id in ((BOB, "iris"), (ANN, "none")):
        with pytest.raises(NotFound) as missing:
            await store.get(owner, model_id)
        told.append((missing.value.reason, missing.value.message.replace(model_id, "...")))
        with pytest.raises(NotFound):
            await store.version(owner, VersionReference(model_id, number=1))
    assert told[0] == told[1]
    assert await store.page(BOB, None, 10) == []


async def test_a_repeated_request_returns_the_first_model(store: ModelStore) -> None:
    key = RequestKey(ANN, "CreateModel", "6e1b", "same")
    first = await make(store, request=key)
    assert await make(store, request=key) == first
    assert len(await store.page(ANN, None, 10)) == 1
    with pytest.raises(InvalidArgument) as reused:
        await make(store, "other", request=RequestKey(ANN, "CreateModel", "6e1b", "another"))
    assert reused.value.reason is Reason.REQUEST_ID_REUSED
    assert len(await store.page(ANN, None, 10)) == 1
    bobs = await make(store, owner=BOB, request=RequestKey(BOB, "CreateModel", "6e1b", "same"))
    assert bobs.owner == BOB


async def test_requests_that_come_at_once_make_one_model(store: ModelStore) -> None:
    key = RequestKey(ANN, "CreateModel", "6e1b", "same")
    made = await asyncio.gather(*(make(store, request=key) for _ in range(8)))
    assert len({model.uid for model in made}) == 1


async def test_a_refused_name_forgets_the_request(store: ModelStore) -> None:
    taken = await make(store)
    key = RequestKey(ANN, "CreateModel", "6e1b", "same")
    with pytest.raises(AlreadyExists):
        await make(store, request=key)
    await store.delete(taken)
    assert (await make(store, request=key)).uid != taken.uid


async def test_pages_hold_every_model_once_newest_first(store: ModelStore) -> None:
    names = [f"m{number}" for number in range(7)]
    for name in names:
        await make(store, name)
    found, before = [], None
    while page := await store.page(ANN, before, 3):
        found += [model.id for model in page]
        before = (page[-1].create_time, page[-1].uid)
    assert found == names[::-1]


async def test_versions_are_numbered_and_the_newest_is_the_latest(store: ModelStore) -> None:
    model = await make(store)
    with pytest.raises(FailedPrecondition, match="has no version yet: train it first") as none:
        await store.version(ANN, VersionReference("iris"))
    assert none.value.reason is Reason.NO_VERSION
    first, second = await add(store, model, "job-a"), await add(store, model)
    assert [first.number, second.number] == [1, 2]
    assert first.details == details("job-a")
    assert first.size_bytes == 1234
    assert (await store.version(ANN, VersionReference("iris"))).number == 2
    assert (await store.version(ANN, VersionReference("iris", number=1))).details == details("job-a")
    assert [version.number for version in await store.versions(model, None, 10)] == [2, 1]
    assert [version.number for version in await store.versions(model, 2, 10)] == [1]
    with pytest.raises(NotFound, match="no version 'models/iris/versions/3'"):
        await store.version(ANN, VersionReference("iris", number=3))


async def test_a_number_is_never_given_again(store: ModelStore) -> None:
    model = await make(store)
    await add(store, model)
    second = await add(store, model)
    await store.delete_version(second)
    assert (await current(store, model)).latest_version == 1
    assert (await add(store, model)).number == 3
    made = await asyncio.gather(*(add(store, model) for _ in range(6)))
    assert sorted(version.number for version in made) == [4, 5, 6, 7, 8, 9]


async def test_the_latest_is_the_highest_number_that_is_left(store: ModelStore) -> None:
    model = await make(store)
    first, second = await add(store, model), await add(store, model)
    assert (await current(store, model)).latest_version == second.number
    await store.delete_version(second)
    assert (await store.version(ANN, VersionReference("iris"))).number == first.number
    await store.delete_version(first)
    with pytest.raises(FailedPrecondition):
        await store.version(ANN, VersionReference("iris"))


async def test_the_version_of_a_job_is_made_and_found_once(store: ModelStore) -> None:
    model = await make(store)
    made = await add(store, model, "job-a")
    assert made.artifact == f"versions/{model.uid}/job-a"
    assert (await add(store, model, "job-a")).number == made.number
    assert (await add(store, model)).number == made.number + 1
    found = await store.version_of_job(model, "job-a")
    assert found is not None
    assert found.number == made.number
    assert await store.version_of_job(model, "job-b") is None
    assert await store.version_of_job(await make(store, "other"), "job-a") is None


async def test_an_alias_names_a_version_and_moves_at_once(store: ModelStore) -> None:
    model = await make(store)
    await add(store, model)
    await add(store, model)
    named = await store.set_alias(model, "prod", Alias(1), "")
    assert named.aliases == {"prod": Alias(1)}
    prod = VersionReference("iris", alias="prod")
    assert (await store.version(ANN, prod)).number == 1

    async def ask() -> list[int]:
        return [(await store.version(ANN, prod)).number for _ in range(15)]

    async def move() -> None:
        for number in [2, 1] * 5 + [2]:
            await store.set_alias(model, "prod", Alias(number), "")

    # Whoever asks meanwhile gets the one or the other, and never none.
    asked, _ = await asyncio.gather(ask(), move())
    assert set(asked) <= {1, 2}
    assert (await store.version(ANN, prod)).number == 2
    assert (await store.delete_alias(model, "prod")).aliases == {}
    for gone in (store.version(ANN, prod), store.delete_alias(model, "prod")):
        with pytest.raises(NotFound, match="no version 'models/iris@prod'"):
            await gone


async def test_an_alias_of_a_missing_version_is_refused_and_the_old_one_stays(store: ModelStore) -> None:
    model = await make(store)
    await add(store, model)
    await store.set_alias(model, "prod", Alias(1), "")
    with pytest.raises(NotFound, match="no version 'models/iris/versions/9'"):
        await store.set_alias(model, "prod", Alias(9), "")
    assert (await current(store, model)).aliases == {"prod": Alias(1)}


async def test_an_old_etag_changes_nothing(store: ModelStore) -> None:
    model = await make(store)
    await add(store, model)
    read = await current(store, model)
    first = await store.set_alias(model, "prod", Alias(1), read.etag)
    assert first.etag != read.etag
    with pytest.raises(Aborted, match="changed since you read it: read it again") as old:
        await store.set_alias(model, "beta", Alias(1), read.etag)
    assert old.value.reason is Reason.ETAG_MISMATCH
    assert (await current(store, model)).aliases == {"prod": Alias(1)}
    assert (await store.set_alias(model, "beta", Alias(1), first.etag)).aliases == {"beta": Alias(1), "prod": Alias(1)}


async def test_of_those_who_change_the_same_state_one_wins(store: ModelStore) -> None:
    model = await make(store)
    await add(store, model)
    read = await current(store, model)
    moves = [store.set_alias(model, f"a{number}", Alias(1), read.etag) for number in range(6)]
    results = await asyncio.gather(*moves, return_exceptions=True)
    assert sum(isinstance(result, Model) for result in results) == 1
    assert sum(isinstance(result, Aborted) for result in results) == 5


async def test_a_version_with_a_name_stays(store: ModelStore) -> None:
    model = await make(store)
    version = await add(store, model)
    await store.set_alias(model, "prod", Alias(1), "")
    with pytest.raises(FailedPrecondition, match="named by alias 'prod': move or delete the alias first") as used:
        await store.delete_version(version)
    assert used.value.reason is Reason.RESOURCE_IN_USE
    await store.delete_alias(model, "prod")
    await store.delete_version(version)
    assert await store.versions(model, None, 10) == []


async def test_an_alias_is_kept_with_its_shares_and_its_shadow(store: ModelStore) -> None:
    model = await make(store)
    for _ in range(4):
        await add(store, model)
    shared = Alias(2, (Share(2, 90), Share(1, 10)), shadow=4)
    assert (await store.set_alias(model, "prod", shared, "")).aliases == {"prod": shared}
    assert (await store.version(ANN, VersionReference("iris", alias="prod"))).number == 2
    assert (await store.set_alias(model, "prod", Alias(3), "")).aliases == {"prod": Alias(3)}


@pytest.mark.parametrize("missing", [Alias(1, (Share(1, 1), Share(9, 1))), Alias(1, shadow=9)])
async def test_every_version_of_an_alias_has_to_be_there(store: ModelStore, missing: Alias) -> None:
    model = await make(store)
    await add(store, model)
    with pytest.raises(NotFound, match="no version 'models/iris/versions/9'"):
        await store.set_alias(model, "prod", missing, "")
    assert (await current(store, model)).aliases == {}


async def test_versions_that_share_an_alias_or_shadow_it_stay(store: ModelStore) -> None:
    model = await make(store)
    versions = [await add(store, model) for _ in range(3)]
    await store.set_alias(model, "prod", Alias(1, (Share(1, 1), Share(2, 1)), shadow=3), "")
    for version in versions:
        with pytest.raises(FailedPrecondition, match="alias 'prod'") as used:
            await store.delete_version(version)
        assert used.value.reason is Reason.RESOURCE_IN_USE
    await store.set_alias(model, "prod", Alias(1), "")
    for version in versions[1:]:
        await store.delete_version(version)


async def test_versions_and_aliases_go_with_their_model(store: ModelStore) -> None:
    model = await make(store)
    await add(store, model)
    await store.set_alias(model, "prod", Alias(1), "")
    await store.delete(model)
    with pytest.raises(NotFound):
        await add(store, model)
    again = await make(store)
    assert (again.aliases, again.latest_version) == ({}, 0)
    assert await store.versions(again, None, 10) == []
    assert await store.versions(model, None, 10) == []


async def test_initial_weights_are_noted_and_change_the_etag(store: ModelStore) -> None:
    model = await make(store)
    marked = await store.mark_initial_weights(model)
    assert marked.has_initial_weights
    assert marked.etag != model.etag
    assert marked.update_time >= model.update_time
