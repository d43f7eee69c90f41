"""Import jobs as their owners see them: asked for, followed, cancelled."""

import asyncio
import uuid
from collections.abc import AsyncIterator

from scraper_server.datasets.names import DatasetNames
from scraper_server.datasets.store import DatasetStore
from scraper_server.datasets.values import SourceOrigin
from scraper_server.imports.spec import ImportSpec
from scraper_server.sources.catalog import Sources
from scraper_server.tables.formats import FileFormat, checked
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
    ) -> None:
        self._jobs = jobs
        self._follower = follower
        self._names = names
        self._store = store
        self._sources = sources
        self._creating = asyncio.Lock()  # an id that was found free is in use before the next one is looked for

    async def create(
        self,
        owner: str,
        origin: SourceOrigin,
        dataset_id: str,
        display_name: str,
        wanted: FileFormat,
        request: RequestKey | None = None,
    ) -> Job:
        """Queues an import; a repeated request returns its first job.

        Raises:
            AlreadyExists: NAME_TAKEN.
            InvalidArgument: INVALID_FIELD for a format that can't be.
            NotFound: SOURCE_NOT_FOUND, the server does not have this source.
        """
        self._sources.find(origin.source)
        async with self._creating:
            known = await self._store.remembered(request)
            if known is not None:
                return await self._jobs.get(owner, known)
            chosen = await self._names.chosen(owner, dataset_id, origin.ref.rsplit("/", 1)[-1])
            spec = ImportSpec(origin, chosen, display_name, checked(wanted))
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
