"""Import jobs as their owners see them: asked for, followed, cancelled."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import PurePosixPath

from scraper_server.datasets.names import DatasetNames
from scraper_server.datasets.store import DatasetStore
from scraper_server.datasets.values import Origin, SourceOrigin, UploadOrigin
from scraper_server.imports.spec import ImportSpec, UploadRef
from scraper_server.sources.catalog import Sources
from scraper_server.tables.formats import FileFormat, checked
from scraper_server.uploads.sessions import UploadSessions
from servicekit.idempotency import RequestKey
from servicekit.jobs.follow import Heartbeat, JobFollower
from servicekit.jobs.store import Cursor, JobStore
from servicekit.jobs.values import Event, Job

MAX_ATTEMPTS = 3


class Imports:
    """The import jobs of every owner."""

    def __init__(
        self,
        jobs: JobStore,
        follower: JobFollower,
        names: DatasetNames,
        store: DatasetStore,
        sources: Sources,
        uploads: UploadSessions,
    ) -> None:
        self._jobs = jobs
        self._follower = follower
        self._names = names
        self._store = store
        self._sources = sources
        self._uploads = uploads
        self._creating = asyncio.Lock()  # an id that was found free is in use before the next one is looked for

    async def create(
        self,
        owner: str,
        wanted: SourceOrigin | UploadRef,
        dataset_id: str,
        display_name: str,
        format: FileFormat,  # noqa: A002  # the contract's word
        request: RequestKey | None = None,
    ) -> Job:
        """Queues an import; a repeated request returns its first job.

        Raises:
            AlreadyExists: NAME_TAKEN.
            InvalidArgument: INVALID_FIELD for a format that can't be; UPLOAD_INCOMPLETE.
            NotFound: SOURCE_NOT_FOUND, the server does not have this source; or there is no such upload session.
        """
        async with self._creating:
            known = await self._store.remembered(request)
            if known is not None:
                return await self._jobs.get(owner, known)
            async with self._origin(owner, wanted) as origin:
                chosen = await self._names.chosen(owner, dataset_id, _stem(origin))
                session = wanted.session_id if isinstance(wanted, UploadRef) else ""
                spec = ImportSpec(origin, chosen, display_name, checked(format), session)
                return await self._jobs.create(uuid.uuid4().hex[:20], owner, spec.to_json(), MAX_ATTEMPTS, request)

    async def get(self, owner: str, job_id: str) -> Job:
        """A job. Raises NotFound."""
        return await self._jobs.get(owner, job_id)

    async def page(self, owner: str, before: Cursor | None, limit: int) -> tuple[list[Job], Cursor | None]:
        """An owner's jobs, newest first, and the cursor of the next page, None on the last."""
        jobs = await self._jobs.page(owner, before, limit + 1)
        more = len(jobs) > limit
        shown = jobs[:limit]
        return shown, (shown[-1].create_time, shown[-1].id) if more else None

    async def cancel(self, owner: str, job_id: str) -> Job:
        """Asks a job to stop. Raises NotFound, and JOB_ENDED if it has ended otherwise."""
        return await self._jobs.request_cancel(owner, job_id)

    async def events(self, owner: str, job_id: str, after: int, limit: int) -> tuple[list[Event], bool]:
        """A job's events above a sequence, and whether these are its last. Raises NotFound."""
        job = await self._jobs.get(owner, job_id)
        events = await self._jobs.events(job_id, after, limit)
        last = events[-1].sequence if events else after
        # The job was read first: an event that came since is on the next page.
        return events, job.state.is_final and last >= job.last_sequence

    def follow(self, owner: str, job_id: str, after: int) -> AsyncIterator[Job | Event | Heartbeat]:
        """See JobFollower.follow."""
        return self._follower.follow(owner, job_id, after)

    def _origin(self, owner: str, wanted: SourceOrigin | UploadRef) -> AbstractAsyncContextManager[Origin]:
        """Where the rows come from. An upload stays there until the job reads it."""
        if isinstance(wanted, UploadRef):
            return self._uploads.held(owner, wanted.session_id)
        self._sources.find(wanted.source)
        return nullcontext(wanted)


def _stem(origin: Origin) -> str:
    if isinstance(origin, UploadOrigin):
        return PurePosixPath(origin.file_name).stem
    return origin.ref.rsplit("/", 1)[-1]
