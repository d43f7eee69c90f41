"""kaggle.com behind the port of a source: calls in threads, the package's answers as our values."""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from scraper_server.sources.kaggle.accounts import Account, Accounts, Whose
from scraper_server.sources.kaggle.client import KaggleClient
from scraper_server.sources.kaggle.credentials import AccessToken, ApiKey
from scraper_server.sources.kaggle.download import Download
from scraper_server.sources.kaggle.options import KaggleOptions
from scraper_server.sources.kaggle.retries import Stop, retried
from scraper_server.sources.kaggle.tables import chosen_file
from scraper_server.sources.kaggle.told import Told
from scraper_server.sources.search import Search
from scraper_server.sources.source import (
    FilePage,
    FileRequest,
    Progress,
    ResolvedFile,
    SearchPage,
    SourceDataset,
    SourceFile,
    SourceKind,
)
from servicekit.errors import FailedPrecondition, FlareError, InvalidArgument, NotFound, Reason

T = TypeVar("T")

REF_PATTERN = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+")
FILES_PER_PAGE = 200
# A data set with more files than this is listed in part, and the path of the file wanted has to be among them.
MOST_FILES = 100_000
# A cancelled call waits so long for its thread, which may hang in a connection that is not yet made.
THREAD_END_SECONDS = 0.5


class KaggleSource:
    """The `Source` of kaggle.com. Opens nothing before its first call.

    Each call finds out anew with which account to ask, so credentials that were changed count from the next one on.
    """

    kind = SourceKind.KAGGLE

    def __init__(self, options: KaggleOptions, accounts: Accounts) -> None:
        self._options = options
        self._accounts = accounts
        self._client = KaggleClient(options)
        # Downloads take long, so they have threads of their own: a search must not wait for one.
        self._call_threads = ThreadPoolExecutor(options.concurrent_calls, "kaggle-call")
        self._download_threads = ThreadPoolExecutor(options.concurrent_downloads, "kaggle-download")

    async def is_open_to(self, owner: str) -> bool:
        """To those with credentials: Kaggle shows others little, so who wants that little asks for it by name."""
        try:
            return not (await self._accounts.of(owner)).is_anonymous
        except FailedPrecondition:  # they have set some; the search itself says what is wrong with them
            return True

    async def search(self, owner: str, search: Search, limit: int, cursor: str) -> SearchPage:
        """See `Source.search`."""
        account = await self._accounts.of(owner)
        page = await self._call_retried(partial(self._client.search, account, search, limit, cursor))
        datasets = tuple(_dataset(dataset) for dataset in page.datasets)
        return SearchPage(datasets, _next(cursor, page.next_page_token))

    async def tried(self, credentials: ApiKey | AccessToken) -> ApiKey | AccessToken:
        """The credentials with their account's name, once Kaggle has taken them.

        Raises:
            FailedPrecondition: SOURCE_CREDENTIALS_REJECTED.
            Unavailable: SOURCE_UNAVAILABLE, Kaggle does not answer, so they may be good or not.
        """
        return await self._call_retried(partial(self._client.tried, credentials))

    async def list_files(self, owner: str, ref: str, version: int, limit: int, cursor: str) -> FilePage:
        """See `Source.list_files`."""
        _check_ref(ref)
        account = await self._accounts.of(owner)
        size = min(limit, FILES_PER_PAGE)
        page = await self._call_retried(partial(self._client.files, account, ref, version, size, cursor))
        return FilePage(_files(account, ref, page), _next(cursor, page.next_page_token))

    async def resolve(self, owner: str, request: FileRequest) -> ResolvedFile:
        """See `Source.resolve`."""
        _check_ref(request.ref)
        account = await self._accounts.of(owner)
        return await self._call(lambda stop: self._resolved(stop, account, request))

    async def download(self, owner: str, file: ResolvedFile, directory: Path, progress: Progress) -> Path:
        """See `Source.download`."""
        account = await self._accounts.of(owner)
        stop, told = Stop(), Told()
        download = Download(self._client, self._options, account, file, directory, told.tell, stop)
        work = asyncio.create_task(self._in_thread(self._download_threads, download.run, stop))
        try:
            async for done_bytes, total_bytes in told.until(work):
                await progress(done_bytes, total_bytes)
            return await work
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait({work})

    async def start(self) -> None:
        """Nothing to do: the package is imported, and threads are started, by the first call that needs them."""

    async def drain(self) -> None:
        """Lets threads end once their work has; calls that wait for one are not made any more."""
        self._call_threads.shutdown(wait=False, cancel_futures=True)
        self._download_threads.shutdown(wait=False, cancel_futures=True)

    def _resolved(self, stop: Stop, account: Account, request: FileRequest) -> ResolvedFile:
        find = partial(self._client.dataset, account, request.ref)
        dataset = retried(self._options.import_retries, stop, find)
        version = request.version or dataset.current_version_number or 0
        title, is_public = dataset.title or request.ref, self._is_public(stop, account, request.ref, dataset)
        if request.members:
            return ResolvedFile(request.ref, title, "", version, 0, is_public, request.members)
        file = chosen_file(request, self._all_files(stop, account, request.ref, version))
        return ResolvedFile(request.ref, title, file.path, version, file.size_bytes, is_public)

    def _is_public(self, stop: Stop, account: Account, ref: str, dataset: Any) -> bool:
        """Whether everybody may see it: what is seen with credentials of one's own, the operator has to see too."""
        if account.whose is Whose.OPERATOR or dataset.is_private:
            return not dataset.is_private
        try:
            seen = retried(
                self._options.call_retries, stop, partial(self._client.dataset, self._accounts.operator, ref)
            )
        except FlareError:
            return False
        return not seen.is_private

    def _all_files(self, stop: Stop, account: Account, ref: str, version: int) -> list[SourceFile]:
        files: list[SourceFile] = []
        token = ""
        while True:
            list_page = partial(self._client.files, account, ref, version, FILES_PER_PAGE, token)
            page = retried(self._options.import_retries, stop, list_page)
            files.extend(_files(account, ref, page))
            token = _next(token, page.next_page_token)
            if not token or len(files) >= MOST_FILES:
                return files

    async def _call_retried(self, call: Callable[[], T]) -> T:
        return await self._call(lambda stop: retried(self._options.call_retries, stop, call))

    async def _call(self, work: Callable[[Stop], T]) -> T:
        stop = Stop()
        return await self._in_thread(self._call_threads, lambda: work(stop), stop)

    async def _in_thread(self, threads: ThreadPoolExecutor, work: Callable[[], T], stop: Stop) -> T:
        """The result of blocking work. Cancelled, it ends the work and hardly waits for that."""
        future = asyncio.get_running_loop().run_in_executor(threads, work)
        # Nobody else looks at what work that was given up ends with.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            stop.request()
            future.cancel()
            await asyncio.wait({future}, timeout=THREAD_END_SECONDS)
            raise


def _check_ref(ref: str) -> None:
    if not REF_PATTERN.fullmatch(ref):
        raise InvalidArgument(
            Reason.INVALID_FIELD,
            f"'{ref}' is not the name of a data set on Kaggle: give it as owner/slug, such as 'uciml/iris'",
            field="ref",
        )


def _dataset(dataset: Any) -> SourceDataset:
    """Of the package's `ApiDataset`."""
    return SourceDataset(
        source=SourceKind.KAGGLE,
        ref=dataset.ref,
        title=dataset.title or dataset.ref,
        subtitle=dataset.subtitle or "",
        size_bytes=dataset.total_bytes or 0,
        license=dataset.license_name or "",
        version=dataset.current_version_number or 0,
        update_time=_utc(dataset.last_updated),
        download_count=dataset.download_count or 0,
        vote_count=dataset.vote_count or 0,
        url=f"https://www.kaggle.com/datasets/{dataset.ref}",
        tags=tuple(tag.name or tag.ref for tag in dataset.tags),
        is_private=bool(dataset.is_private),
    )


def _files(account: Account, ref: str, page: Any) -> tuple[SourceFile, ...]:
    """Of the package's `ApiListDatasetFilesResponse`, which may hold an error where there should be files."""
    if page.error_message:
        raise NotFound(
            Reason.SOURCE_NOT_FOUND,
            f"Kaggle does not list the files of data set '{ref}': {account.without_secret(page.error_message)}",
            resource=ref,
        )
    return tuple(
        SourceFile(file.name or file.ref, file.total_bytes or 0, _utc(file.creation_date))
        for file in page.dataset_files
    )


def _next(cursor: str, token: str | None) -> str:
    """The cursor of the next page. A page that names itself as the next one is the last."""
    return token if token and token != cursor else ""


def _utc(time: datetime | None) -> datetime | None:
    """The package's times are UTC without saying so."""
    return time.replace(tzinfo=UTC) if time is not None else None
