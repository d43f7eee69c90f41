"""The life of upload sessions: over restarts of the server, until nobody goes on with them."""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from scraper_server.datasets.quota import Quota
from scraper_server.datasets.values import UploadOrigin
from scraper_server.uploads.folder import UploadFolder
from scraper_server.uploads.session import JOB_UPLOAD
from scraper_server.uploads.sessions import UploadSessions
from scraper_server.uploads.sql import SqlUploadSessionStore
from servicekit.database import Database
from servicekit.errors import FailedPrecondition, InvalidArgument, NotFound, Reason, ResourceExhausted
from servicekit.jobs.memory import MemoryJobStore
from servicekit.jobs.store import Outcome
from servicekit.jobs.values import JobState
from servicekit.jobs.wakeups import Wakeups
from servicekit.uploads import Announcement

CONTENT = b"a,b\n1,2\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LIFETIME = timedelta(hours=5)
ANN, BOB = "accounts/ann", "accounts/bob"


class Site:
    """Where sessions are kept. Each `server()` knows what is there and nothing else."""

    def __init__(self, database: Database, directory: Path) -> None:
        self.store = SqlUploadSessionStore(database)
        self.jobs = MemoryJobStore("importJobs", Wakeups())
        self.folder = UploadFolder(directory)
        self.folder.make()
        self.passed = timedelta()

    def server(self) -> UploadSessions:
        quota = Quota(100, [self.store.announced_bytes])
        return UploadSessions(self.store, self.jobs, quota, self.folder, 80, LIFETIME, self._now)

    async def importing(self, session_id: str, job_id: str = "job") -> None:
        await self.jobs.create(job_id, ANN, {JOB_UPLOAD: session_id}, 1)

    async def end_job(self) -> None:
        claim = await self.jobs.claim("runner", 60)
        assert claim is not None
        await self.jobs.finish(claim, Outcome(JobState.FAILED, error=NotFound(Reason.NOT_FOUND, "gone")))

    def _now(self) -> datetime:
        return datetime.now(UTC) + self.passed


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'scraper.db'}")
    await database.migrate("scraper_server:migrations")
    yield Site(database, tmp_path / "sessions")
    await database.close()


async def chunks(content: bytes) -> AsyncIterator[bytes]:
    for at in range(len(content)):
        yield content[at : at + 1]


async def begun(server: UploadSessions, content: bytes = CONTENT, sha256: str = SHA256) -> str:
    return (await server.create(ANN, Announcement("a.csv", len(content), sha256))).session.id


async def test_another_server_goes_on_with_what_is_there(site: Site) -> None:
    session = await begun(site.server())
    for start, end in ((0, 3), (3, 3), (3, 7), (7, 8)):
        progress = await site.server().write(ANN, session, start, chunks(CONTENT[start:end]))
        assert progress.received_bytes == end
    assert progress.session.whole_sha256 == SHA256


async def test_a_file_that_changed_on_the_disk_is_found_out(site: Site) -> None:
    session = await begun(site.server())
    await site.server().write(ANN, session, 0, chunks(CONTENT[:3]))
    site.folder.path(session).write_bytes(b"xxx")
    with pytest.raises(InvalidArgument, match="its sha256 is"):
        await site.server().write(ANN, session, 3, chunks(CONTENT[3:]))
    assert (await site.server().get(ANN, session)).received_bytes == 0


async def test_a_whole_file_is_checked_although_the_server_died_before_it_could(site: Site) -> None:
    good, bad = await begun(site.server()), await begun(site.server())
    site.folder.path(good).write_bytes(CONTENT)
    site.folder.path(bad).write_bytes(CONTENT[::-1])
    seen: list[int] = []
    path, origin = await site.server().whole(ANN, good, seen.append)
    assert (path.read_bytes(), origin) == (CONTENT, UploadOrigin("a.csv", len(CONTENT), SHA256))
    assert seen == [len(CONTENT)]
    with pytest.raises(InvalidArgument, match="its sha256 is"):
        await site.server().whole(ANN, bad, seen.append)
    assert (await site.server().get(ANN, bad)).received_bytes == 0
    async with site.server().held(ANN, good) as held:
        assert held == origin


async def test_a_lost_file_is_sent_anew(site: Site) -> None:
    session = await begun(site.server())
    server = site.server()
    await server.write(ANN, session, 0, chunks(CONTENT[:3]))
    site.folder.remove(session)
    assert (await server.get(ANN, session)).received_bytes == 0
    assert (await server.write(ANN, session, 0, chunks(CONTENT))).session.whole_sha256 == SHA256


async def test_sessions_go_when_nobody_went_on_with_them(site: Site) -> None:
    server = site.server()
    idle, renewed = await begun(server), await begun(server)
    await server.write(ANN, renewed, 0, chunks(CONTENT[:1]))
    last = site.folder.arrived(renewed)
    assert last is not None
    assert (await server.get(ANN, renewed)).expire_time == last.time + LIFETIME
    site.passed = LIFETIME - timedelta(minutes=1)
    await server.remove_expired()
    await server.get(ANN, idle)
    site.folder.renew(renewed)
    (site.folder.path("stray")).write_bytes(b"of a session that is gone")
    site.passed = (await server.get(ANN, idle)).expire_time - datetime.now(UTC) + timedelta(milliseconds=1)
    await server.remove_expired()
    assert site.folder.ids() == {renewed}
    with pytest.raises(NotFound, match=f"no upload session 'uploadSessions/{idle}'"):
        await server.get(ANN, idle)
    site.passed = LIFETIME + timedelta(minutes=1)
    await site.server().remove_expired()
    assert not site.folder.ids()


async def test_bytes_that_arrive_keep_a_session(site: Site) -> None:
    server = site.server()
    session = await begun(server)

    async def slow() -> AsyncIterator[bytes]:
        yield CONTENT[:4]
        site.passed = 2 * LIFETIME
        await server.remove_expired()
        yield CONTENT[4:]

    assert (await server.write(ANN, session, 0, slow())).received_bytes == len(CONTENT)


async def test_what_an_import_reads_stays(site: Site) -> None:
    server = site.server()
    session = await begun(server)
    await server.write(ANN, session, 0, chunks(CONTENT))
    await site.importing(session)
    with pytest.raises(FailedPrecondition, match="'importJobs/job' reads") as caught:
        await server.delete(ANN, session)
    assert caught.value.reason is Reason.RESOURCE_IN_USE
    site.passed = 2 * LIFETIME
    await server.remove_expired()
    await server.get(ANN, session)
    await site.end_job()
    await server.remove_expired()
    with pytest.raises(NotFound):
        await server.get(ANN, session)


async def test_a_session_that_two_imports_read_goes_with_the_last(site: Site) -> None:
    server = site.server()
    session = await begun(server)
    await server.write(ANN, session, 0, chunks(CONTENT))
    await site.importing(session, "one")
    await site.importing(session, "two")
    await server.discard(ANN, session, "one")
    await server.get(ANN, session)
    await site.end_job()
    await server.discard(ANN, session, "two")
    await server.discard(ANN, session, "two")  # an attempt that is repeated
    with pytest.raises(NotFound):
        await server.get(ANN, session)


async def test_announced_bytes_count_until_their_session_goes(site: Site) -> None:
    server = site.server()
    first = (await server.create(ANN, Announcement("a.csv", 60))).session.id
    with pytest.raises(ResourceExhausted, match=r"file 'b.csv' takes 41 bytes or more") as caught:
        await server.create(ANN, Announcement("b.csv", 41))
    assert caught.value.reason is Reason.QUOTA_EXCEEDED
    with pytest.raises(ResourceExhausted, match="more than the 80") as caught:
        await server.create(BOB, Announcement("b.csv", 81))
    assert caught.value.reason is Reason.FILE_TOO_LARGE
    await server.create(ANN, Announcement("b.csv", 40))
    await server.create(BOB, Announcement("b.csv", 41))
    await server.delete(ANN, first)
    await server.create(ANN, Announcement("c.csv", 60))
