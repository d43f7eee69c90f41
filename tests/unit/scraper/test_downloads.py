"""One transfer for everybody, a cache that keeps to its budget, and folders that survive any end of the server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from scraper_server.imports.cached_file import CachedFile, Claim, Identity
from scraper_server.imports.downloads import Downloads
from scraper_server.sources.source import Progress, ResolvedFile, SourceKind
from servicekit.errors import FailedPrecondition, FlareError, Reason, Unavailable


class Silo:
    """A source of which a test decides how far its downloads come."""

    kind = SourceKind.KAGGLE

    def __init__(self) -> None:
        self.askers: list[str] = []
        self.began = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.refusals: dict[str, FlareError] = {}

    async def download(self, owner: str, file: ResolvedFile, directory: Path, progress: Progress) -> Path:
        self.askers.append(owner)
        part = directory / "part"
        done = part.stat().st_size if part.exists() else 0
        with part.open("ab") as out:
            if done == 0:
                out.write(b"first ")
        await progress(6, 12)
        self.began.set()
        await self.go_on.wait()
        if owner in self.refusals:
            raise self.refusals[owner]
        with part.open("ab") as out:
            out.write(b"second")
        await progress(12, 12)
        return part.rename(directory / "whole")


def file(path: str = "t.csv", **more: Any) -> ResolvedFile:
    return ResolvedFile("ann/numbers", "Numbers", path, 1, 12, **{"is_public": True} | more)


class Told:
    """What one job was told of its progress."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []

    async def __call__(self, done_bytes: int, total_bytes: int) -> None:
        self.steps.append((done_bytes, total_bytes))


class Person:
    """A job of somebody."""

    def __init__(self, name: str, downloads: Downloads, silo: Silo, directory: Path) -> None:
        self.claim = Claim(f"job-of-{name}", name)
        self.told = Told()
        self._downloads = downloads
        self._silo = silo
        self._directory = directory / self.claim.job_id

    async def take(self, wanted: ResolvedFile) -> Path:
        return await self._downloads.taken(self.claim, self._silo, wanted, self._directory, self.told)  # type: ignore[arg-type]

    async def leave(self) -> None:
        await self._downloads.release(self.claim.job_id)


class Place:
    """A folder, a source, and whoever comes."""

    def __init__(self, directory: Path, cache_bytes: int) -> None:
        self.directory = directory / "downloads"
        self.jobs = directory / "jobs"
        self.silo = Silo()
        self.downloads = Downloads(self.directory, cache_bytes)

    def person(self, name: str) -> Person:
        return Person(name, self.downloads, self.silo, self.jobs)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.directory.rglob("*") if path.is_file())

    def cached(self, wanted: ResolvedFile) -> CachedFile:
        return CachedFile(self.directory / Identity.of(SourceKind.KAGGLE, wanted).key)

    async def restarted(self, over: set[str], cache_bytes: int = 100) -> "Place":
        again = Place(self.directory.parent, cache_bytes)

        async def is_over(owner: str, job_id: str) -> bool:
            return owner in over

        await again.downloads.start(is_over)
        return again


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    yield await Place(tmp_path, 100).restarted(set())


async def begun(person: Person, wanted: ResolvedFile, silo: Silo) -> asyncio.Task[Path]:
    """A task that has begun to wait for the file."""
    task = asyncio.create_task(person.take(wanted))
    while not person.told.steps:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
    return task


async def test_one_transfer_serves_all_and_each_is_told(place: Place) -> None:
    place.silo.go_on.clear()
    people = [place.person(name) for name in ("ann", "bob", "eve")]
    tasks = [await begun(person, file(), place.silo) for person in people]
    place.silo.go_on.set()
    paths = await asyncio.gather(*tasks)
    assert {path.read_bytes() for path in paths} == {b"first second"}
    assert place.silo.askers == ["ann"]
    assert all(person.told.steps[0] == (6, 12) and person.told.steps[-1] == (12, 12) for person in people)


async def test_whoever_began_may_leave(place: Place) -> None:
    place.silo.go_on.clear()
    ann, bob = place.person("ann"), place.person("bob")
    first, second = await begun(ann, file(), place.silo), await begun(bob, file(), place.silo)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await ann.leave()
    place.silo.go_on.set()
    assert (await second).read_bytes() == b"first second"
    assert place.silo.askers == ["ann"]


async def test_when_the_last_one_leaves_nothing_stays(place: Place) -> None:
    place.silo.go_on.clear()
    ann, bob = place.person("ann"), place.person("bob")
    tasks = [await begun(ann, file(), place.silo), await begun(bob, file(), place.silo)]
    for person, task in zip((ann, bob), tasks, strict=True):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await person.leave()
    assert list(place.directory.iterdir()) == []
    place.silo.go_on.set()
    assert (await place.person("eve").take(file())).read_bytes() == b"first second"


async def test_what_is_refused_to_one_is_asked_for_by_the_next(place: Place) -> None:
    place.silo.go_on.clear()
    place.silo.refusals["ann"] = FailedPrecondition(Reason.SOURCE_CREDENTIALS_REJECTED, "not you")
    first = await begun(place.person("ann"), file(), place.silo)
    second = await begun(place.person("bob"), file(), place.silo)
    place.silo.go_on.set()
    with pytest.raises(FailedPrecondition):
        await first
    assert (await second).read_bytes() == b"first second"
    assert place.silo.askers == ["ann", "bob"]


async def test_an_outage_is_an_outage_for_all(place: Place) -> None:
    place.silo.go_on.clear()
    place.silo.refusals["ann"] = Unavailable(Reason.SOURCE_UNAVAILABLE, "down")
    tasks = [await begun(place.person(name), file(), place.silo) for name in ("ann", "bob")]
    place.silo.go_on.set()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, Unavailable) for end in ends)
    assert place.silo.askers == ["ann"]


async def test_somebody_whose_progress_is_refused_stops_nobody_else(place: Place) -> None:
    async def refused(done_bytes: int, total_bytes: int) -> None:
        raise Unavailable(Reason.QUOTA_EXCEEDED, "too much")

    place.silo.go_on.clear()
    first = await begun(place.person("ann"), file(), place.silo)
    bob = place.person("bob")
    bob.told = refused  # type: ignore[assignment]
    with pytest.raises(Unavailable):
        await bob.take(file())
    await bob.leave()
    place.silo.go_on.set()
    assert (await first).read_bytes() == b"first second"


@pytest.mark.parametrize("private", [{"is_public": False}, {"version": 0}])
async def test_what_not_everybody_may_see_or_has_no_version_is_shared_with_nobody(
    place: Place, private: dict[str, Any]
) -> None:
    fields: dict[str, Any] = {
        "ref": "ann/own",
        "title": "",
        "path": "t.csv",
        "version": 1,
        "size_bytes": 12,
        "is_public": True,
    }
    wanted = ResolvedFile(**fields | private)
    for name in ("ann", "bob"):
        path = await place.person(name).take(wanted)
        assert path.parent == place.jobs / f"job-of-{name}"
    assert place.silo.askers == ["ann", "bob"]
    assert place.files() == []


async def test_the_file_used_longest_ago_leaves_first_and_never_one_in_use(place: Place) -> None:
    place = await place.restarted(set(), cache_bytes=24)
    for path in ("a.csv", "b.csv"):
        person = place.person(path)
        await person.take(file(path))
        await person.leave()
    ann = place.person("ann")
    await ann.take(file("a.csv"))  # from the cache, and now used last
    assert place.silo.askers == ["a.csv", "b.csv"]
    eve = place.person("eve")
    await eve.take(file("c.csv"))
    await eve.leave()
    assert [place.cached(file(path)).whole() is not None for path in ("a.csv", "b.csv", "c.csv")] == [True, False, True]
    again = await place.restarted(set(), cache_bytes=0)
    assert place.cached(file("a.csv")).whole() is not None, "ann's job is not over"
    assert place.cached(file("c.csv")).whole() is None
    again = await place.restarted({"ann"}, cache_bytes=0)
    assert again.files() == []


async def test_a_part_is_gone_on_with_by_the_job_that_wants_it_after_a_kill(place: Place) -> None:
    place.silo.go_on.clear()
    task = await begun(place.person("ann"), file(), place.silo)
    again = await place.restarted(set())
    assert (await again.person("ann").take(file())).read_bytes() == b"first second"
    task.cancel()


async def test_a_part_of_a_job_that_is_over_goes_at_the_start(place: Place) -> None:
    place.silo.go_on.clear()
    task = await begun(place.person("ann"), file(), place.silo)
    again = await place.restarted({"ann"})
    assert list(again.directory.iterdir()) == []
    task.cancel()


@pytest.mark.parametrize("damage", ["truncated", "notes", "missing"])
async def test_a_file_that_is_not_what_it_was_is_taken_anew(place: Place, damage: str) -> None:
    ann = place.person("ann")
    path = await ann.take(file())
    await ann.leave()
    match damage:
        case "truncated":
            path.write_bytes(b"first")
        case "notes":
            (place.cached(file()).directory / "done.json").write_text("{")
        case "missing":
            path.unlink()
    again = await place.restarted(set())
    assert (await again.person("bob").take(file())).read_bytes() == b"first second"
    assert again.silo.askers == ["bob"]


async def test_names_from_outside_stay_out_of_paths(place: Place) -> None:
    for path in ("../../x.csv", "/etc/passwd", "a" * 5000, "nul\0.csv", "..", ".bashrc"):
        taken = await place.person("ann").take(file(path))
        assert taken.is_relative_to(place.directory)
        assert taken.name == "whole"
