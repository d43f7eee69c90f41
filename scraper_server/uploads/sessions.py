"""Upload sessions: begun, written to in as many streams as it takes, imported, and removed when nobody goes on."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import structlog

from scraper_server.datasets.quota import Quota
from scraper_server.datasets.values import UploadOrigin
from scraper_server.uploads.folder import UploadFolder
from scraper_server.uploads.session import JOB_UPLOAD, UploadProgress, UploadSession
from scraper_server.uploads.store import UploadSessionStore
from scraper_server.uploads.writers import Writers
from servicekit.disk import full_disk_told
from servicekit.errors import FailedPrecondition, InvalidArgument, NotFound, OutOfRange, Reason
from servicekit.idempotency import RequestKey
from servicekit.jobs.store import JobStore
from servicekit.uploads import Announcement, ArrivingFile, Bytes, refuse_larger

log = structlog.get_logger()

LIMIT_SETTING = "FLARE_SCRAPER_MAX_FILE_BYTES"
REMEDY = "send it again from its received_bytes on, or begin another session if the file has changed"


class UploadSessions:
    """The sessions of every owner. What has arrived of a file is kept, whatever ends a stream or the server."""

    def __init__(
        self,
        store: UploadSessionStore,
        jobs: JobStore,
        quota: Quota,
        folder: UploadFolder,
        max_bytes: int,
        lifetime: timedelta,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """A session lives for `lifetime` after its last byte."""
        self._store = store
        self._jobs = jobs
        self._quota = quota
        self._folder = folder
        self._max_bytes = max_bytes
        self._lifetime = lifetime
        self._now = now
        self._writers = Writers()
        self._files: dict[str, ArrivingFile] = {}  # those whose hash is known as far as they go
        self._removing = asyncio.Lock()  # what nobody used when it was looked at is removed before somebody can

    async def drain(self) -> None:
        """Ends the streams under way: their callers go on at the next server."""
        await self._writers.drain()

    async def create(self, owner: str, announced: Announcement, request: RequestKey | None = None) -> UploadProgress:
        """Begins an upload. A repeated request returns its session, as long as that is there.

        Raises:
            ResourceExhausted: FILE_TOO_LARGE, QUOTA_EXCEEDED: a session takes all that it announced.
        """
        refuse_larger(announced, self._max_bytes, Reason.FILE_TOO_LARGE, LIMIT_SETTING)
        session = UploadSession(owner, uuid.uuid4().hex[:20], announced, self._now())
        known = await self._store.made_by(request)
        if known is None:
            async with self._quota.reserved(owner, f"file '{announced.file_name}'") as reservation:
                await reservation.hold(announced.size_bytes)
                known = await self._store.create(session, request)
        return await self._progress(known)

    async def get(self, owner: str, session_id: str) -> UploadProgress:
        """A session and how far it is. Raises NotFound."""
        return await self._progress(await self._store.get(owner, session_id))

    async def delete(self, owner: str, session_id: str) -> None:
        """Removes a session and its bytes, and ends the stream that writes to it.

        Raises:
            NotFound: There is none.
            FailedPrecondition: RESOURCE_IN_USE, an import reads it.
        """
        async with self._removing:
            session = await self._store.get(owner, session_id)
            if job := await self._reader(session):
                message = f"'importJobs/{job}' reads '{session.name}': wait for its end, or cancel it"
                raise FailedPrecondition(Reason.RESOURCE_IN_USE, message, resource=session.name)
            await self._remove(session)

    async def write(self, owner: str, session_id: str, offset: int, chunks: AsyncIterator[Bytes]) -> UploadProgress:
        """Takes bytes that begin at `offset`; when the last one is there, checks the whole.

        Raises:
            NotFound: There is no such session.
            OutOfRange: UPLOAD_OFFSET_MISMATCH, with the right one.
            InvalidArgument: UPLOAD_INCOMPLETE, if more come than were announced, or the whole has another sha256: then
                the session is empty again.
            Aborted: UPLOAD_TAKEN_OVER.
        """
        session = await self._store.get(owner, session_id)
        await self._writers.run(session.name, partial(self._write, owner, session_id, offset, chunks))
        return await self.get(owner, session_id)

    @asynccontextmanager
    async def held(self, owner: str, session_id: str) -> AsyncIterator[UploadOrigin]:
        """The origin of a file that is there as a whole. It is not removed while the block runs, nor soon after.

        Raises:
            NotFound: There is no such session.
            InvalidArgument: UPLOAD_INCOMPLETE.
        """
        async with self._removing:
            progress = await self.get(owner, session_id)
            session, announced = progress.session, progress.session.announced
            if progress.received_bytes < announced.size_bytes:
                raise InvalidArgument(
                    Reason.UPLOAD_INCOMPLETE,
                    f"'{session.name}' has {progress.received_bytes} of the {announced.size_bytes} bytes of "
                    f"'{announced.file_name}': send the rest with WriteUpload before you import it",
                    field="upload.session",
                    received_bytes=str(progress.received_bytes),
                )
            await asyncio.to_thread(self._folder.renew, session.id)
            yield _origin(session)

    async def whole(self, owner: str, session_id: str, progress: Callable[[int], object]) -> tuple[Path, UploadOrigin]:
        """Where the file lies, and what it is. If the server died before it was checked, that is done now.

        Raises:
            NotFound: There is no such session.
            InvalidArgument: UPLOAD_INCOMPLETE.
        """
        session = await self._store.get(owner, session_id)
        path = self._folder.path(session.id)
        if not session.whole_sha256:
            await self._writers.run(session.name, partial(self._check, session, progress))
            session = await self._store.get(owner, session_id)
        return path, _origin(session)

    async def discard(self, owner: str, session_id: str, job_id: str) -> None:
        """Removes a session that the job has made a data set of, unless another job reads it too."""
        async with self._removing:
            try:
                session = await self._store.get(owner, session_id)
            except NotFound:
                return
            if not await self._reader(session, besides=job_id):
                await self._remove(session)

    async def remove_expired(self) -> None:
        """Removes the sessions that nobody went on with, and files that no session has."""
        async with self._removing:
            files = await asyncio.to_thread(self._folder.ids)  # first: a session is kept before it has a file
            sessions = await self._store.everyone()
            for session in sessions:
                if (await self._progress(session)).expire_time > self._now():
                    continue
                if not self._writers.is_writing(session.name) and not await self._reader(session):
                    await self._remove(session)
                    log.info("upload_session_expired", session=session.id, owner=session.owner)
            for left in files - {session.id for session in sessions}:
                await asyncio.to_thread(self._folder.remove, left)

    async def _write(self, owner: str, session_id: str, offset: int, chunks: AsyncIterator[Bytes]) -> None:
        session = await self._store.get(owner, session_id)  # as it is now that no other stream is under way
        received = (await self._progress(session)).received_bytes
        if offset != received:
            raise OutOfRange(
                Reason.UPLOAD_OFFSET_MISMATCH,
                f"the bytes begin at {offset}, but those of '{session.name}' end at {received}: go on there",
                field="start.offset",
                received_bytes=str(received),
            )
        file = await self._file(session)
        with full_disk_told("what had arrived before is kept"):
            await file.take(chunks)
            await file.sync()
        if file.is_whole:
            await self._settle(session, file)

    async def _check(self, session: UploadSession, progress: Callable[[int], object]) -> None:
        await self._settle(session, await self._file(session, progress))

    async def _file(self, session: UploadSession, progress: Callable[[int], object] = lambda _: None) -> ArrivingFile:
        """The file as far as it is there. A server that was not there when it came reads it once."""
        arrived = await asyncio.to_thread(self._folder.arrived, session.id)
        file = self._files.pop(session.id, None)
        if file is None or file.size_bytes != (arrived.size_bytes if arrived else 0):
            file = ArrivingFile(self._folder.path(session.id), session.announced, REMEDY)
            if arrived is not None:
                await file.read(progress)
        self._files[session.id] = file
        return file

    async def _settle(self, session: UploadSession, file: ArrivingFile) -> None:
        """Keeps the sha256 of a whole file; one that is not what was announced is dropped."""
        try:
            sha256 = file.check()
        except InvalidArgument:
            await asyncio.to_thread(self._folder.clear, session.id)
            raise
        await self._store.set_whole(session, sha256)

    async def _progress(self, session: UploadSession) -> UploadProgress:
        arrived = await asyncio.to_thread(self._folder.arrived, session.id)
        if arrived is None:
            return UploadProgress(session, 0, session.create_time + self._lifetime)
        return UploadProgress(session, arrived.size_bytes, arrived.time + self._lifetime)

    async def _reader(self, session: UploadSession, besides: str = "") -> str | None:
        """A job that reads the session's file, None if there is none."""
        for job in await self._jobs.unfinished(session.owner):
            if job.spec.get(JOB_UPLOAD) == session.id and job.id != besides:
                return job.id
        return None

    async def _remove(self, session: UploadSession) -> None:
        await self._store.delete(session.owner, session.id)  # first: from now on no stream begins
        await self._writers.end(session.name)
        self._files.pop(session.id, None)
        await asyncio.to_thread(self._folder.remove, session.id)


def _origin(session: UploadSession) -> UploadOrigin:
    announced = session.announced
    return UploadOrigin(announced.file_name, announced.size_bytes, session.whole_sha256 or announced.sha256)
