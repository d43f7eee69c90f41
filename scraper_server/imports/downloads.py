"""Downloads for import jobs: one serves everyone who wants the same public file, and the latest ones are kept."""

import asyncio
import shutil
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from scraper_server.imports.cached_file import CachedFile, Claim, Identity
from scraper_server.imports.threads import settled
from scraper_server.imports.transfer import Transfer
from scraper_server.sources.source import Progress, ResolvedFile, Source
from servicekit.errors import FlareError, Reason

# What a source refuses to one person it may give to another.
PERSONAL_REFUSALS = frozenset({Reason.SOURCE_CREDENTIALS_REJECTED, Reason.SOURCE_NOT_FOUND, Reason.SOURCE_RATE_LIMITED})


class Downloads:
    """Takes files from sources. A file that not everybody may see is shared with nobody.

    Whether somebody may have a file is the source's to say, when it resolves what they ask for: that comes first, each
    time. What lies here is looked at only then.
    """

    def __init__(self, directory: Path, cache_bytes: int) -> None:
        """`directory` is nobody else's. Public files that no job needs any more stay there up to `cache_bytes`."""
        self._directory = directory
        self._cache_bytes = cache_bytes
        self._transfers: dict[CachedFile, Transfer] = {}
        self._claimed: defaultdict[str, set[CachedFile]] = defaultdict(set)
        self._sizes: dict[CachedFile, int] = {}  # of whole files that jobs released, the one used last at the end
        self._changing = asyncio.Lock()  # a folder is claimed or removed, never both at once

    async def start(self, is_over: Callable[[str, str], Awaitable[bool]]) -> None:
        """Removes what jobs wanted that ended while no server ran: `is_over` takes their owner and id."""
        for file, claims in await asyncio.to_thread(self._found):
            for claim in claims:
                self._claimed[claim.job_id].add(file)
                if await is_over(claim.owner, claim.job_id):
                    await self.release(claim.job_id)
        await self._trim()

    async def taken(
        self, claim: Claim, source: Source, file: ResolvedFile, directory: Path, progress: Progress
    ) -> Path:
        """The file, to be read only until the job releases it. `directory` is the job's own.

        What an earlier attempt of the job, or any other job, left of it is gone on with. Raises what `Source.download`
        and `progress` raise.
        """
        if not file.is_public or not file.version:
            await settled(directory.mkdir, parents=True, exist_ok=True)
            return await source.download(claim.owner, file, directory, progress)
        identity = Identity.of(source.kind, file)
        cached = CachedFile(self._directory / identity.key)
        async with self._changing:
            self._claimed[claim.job_id].add(cached)
            await settled(cached.claim, claim)
        while True:
            whole = await asyncio.to_thread(cached.whole)
            if whole is not None:
                path, size = whole
                if cached in self._sizes:
                    self._sizes[cached] = self._sizes.pop(cached)
                await asyncio.to_thread(cached.use)
                await progress(size, size)
                return path
            transfer = self._transfers.get(cached)
            if transfer is None:
                work = partial(self._transferred, claim.owner, source, file, identity, cached)
                transfer = self._transfers[cached] = Transfer(claim.owner, work)
            elif not transfer.is_wanted:
                await transfer.ended()
                continue
            try:
                return await transfer.result(progress)
            except FlareError as error:
                if transfer.owner == claim.owner or error.reason not in PERSONAL_REFUSALS:
                    raise
                await transfer.ended()  # and then ask as who wants it here

    async def release(self, job_id: str) -> None:
        """Says that a job needs its files no more."""
        async with self._changing:
            for file in self._claimed.pop(job_id, ()):
                await settled(file.release, job_id)
                whole = await asyncio.to_thread(file.whole)
                if whole is not None:
                    self._sizes.setdefault(file, whole[1])
        await self._trim()

    async def _transferred(
        self,
        owner: str,
        source: Source,
        file: ResolvedFile,
        identity: Identity,
        cached: CachedFile,
        progress: Progress,
    ) -> Path:
        try:
            path = await source.download(owner, file, cached.content, progress)
            await settled(cached.finish, path, identity)
            return path
        finally:
            del self._transfers[cached]

    async def _trim(self) -> None:
        """Removes files that no job needs, the one first that was not used for longest, down to the budget.

        What is kept never takes more than half of the room that there would be without it.
        """
        async with self._changing:
            kept = sum(self._sizes.values())
            free = (await asyncio.to_thread(shutil.disk_usage, self._directory)).free
            budget = min(self._cache_bytes, (free + kept) // 2)
            for file in list(self._sizes):
                if kept <= budget:
                    return
                if not await asyncio.to_thread(file.claims):
                    await settled(file.remove)
                    kept -= self._sizes.pop(file)

    def _found(self) -> list[tuple[CachedFile, list[Claim]]]:
        """What lies here at the start. What is neither whole nor wanted goes at once."""
        self._directory.mkdir(parents=True, exist_ok=True)
        found = [CachedFile(directory) for directory in self._directory.iterdir()]
        whole = {file: known[1] for file in found if (known := file.whole()) is not None}
        self._sizes = dict(sorted(whole.items(), key=lambda item: item[0].use_time()))
        for file in found:
            if file not in whole and not file.claims():
                file.remove()
        return [(file, file.claims()) for file in found]
