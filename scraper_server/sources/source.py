"""The port of a source: search it, list a data set's files, and take one of them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from scraper_server.sources.search import Search


class SourceKind(StrEnum):
    """Which source."""

    SAMPLES = "samples"
    KAGGLE = "kaggle"


@dataclass(frozen=True)
class SourceDataset:
    """A data set that a source offers. Numbers are what the source says; 0 where it says nothing."""

    source: SourceKind
    ref: str
    title: str
    subtitle: str = ""
    size_bytes: int = 0
    license: str = ""
    version: int = 0
    update_time: datetime | None = None
    """With a time zone."""
    download_count: int = 0
    vote_count: int = 0
    url: str = ""
    tags: tuple[str, ...] = ()
    is_private: bool = False
    """True if only its owner and those whom its owner chose can see it."""


@dataclass(frozen=True)
class SourceFile:
    """A file of such a data set."""

    path: str
    """Relative to the data set, with forward slashes."""
    size_bytes: int = 0
    create_time: datetime | None = None
    """With a time zone."""


@dataclass(frozen=True)
class SearchPage:
    """Some data sets, in the source's order."""

    datasets: tuple[SourceDataset, ...]
    next_cursor: str = ""
    """What to pass as `cursor` for the next page; empty on the last one."""


@dataclass(frozen=True)
class FilePage:
    """Some files of a data set, by path."""

    files: tuple[SourceFile, ...]
    next_cursor: str = ""


@dataclass(frozen=True)
class FileRequest:
    """Which file to import, as a caller says it."""

    ref: str
    version: int = 0
    """0 for the latest."""
    path: str = ""
    """Empty if the data set holds just one table."""
    members: tuple[str, ...] = ()
    """If any: take the archive of the whole data set, of which these patterns are wanted. `path` is empty then."""


@dataclass(frozen=True)
class ResolvedFile:
    """Which file it is: what a `FileRequest` left open is filled in, so that a download is repeatable."""

    ref: str
    title: str
    """The data set's title, for people."""
    path: str
    """Its ending helps to tell the file's format. Empty for the archive of the whole data set, which is a ZIP."""
    version: int
    """0 only if the source has no versions."""
    size_bytes: int
    """As announced; 0 if not known."""
    is_public: bool = False
    """True if the source shows it to anybody, so that what one person took may serve another."""
    members: tuple[str, ...] = ()
    """The members that are wanted of the archive of the whole data set, as patterns."""

    @property
    def name(self) -> str:
        """What people call the file: its path, or the data set's name as that of an archive."""
        return self.path or f"{self.ref.rsplit('/', 1)[-1]}.zip"


Progress = Callable[[int, int], Awaitable[None]]
"""Takes the bytes done and in all (0 if not known), as often as it suits. What it raises ends the work."""


class Source(Protocol):
    """A place where data sets are found.

    `owner` is the person on whose behalf the source is asked: what is found may depend on who that is, and what only
    one person may see reaches nobody else.

    Every method but `is_open_to` may raise SOURCE_UNAVAILABLE, SOURCE_RATE_LIMITED and SOURCE_CREDENTIALS_REJECTED, and
    all but `search` SOURCE_NOT_FOUND. None of them blocks the event loop, and each can be cancelled.
    """

    @property
    def kind(self) -> SourceKind:
        """Which source this is."""
        ...

    async def is_open_to(self, owner: str) -> bool:
        """Whether a search of all sources goes through this one too."""
        ...

    async def search(self, owner: str, search: Search, limit: int, cursor: str) -> SearchPage:
        """Finds at most `limit` data sets.

        `cursor` is empty or a `next_cursor` of this source for the same owner and search.
        """
        ...

    async def list_files(self, owner: str, ref: str, version: int, limit: int, cursor: str) -> FilePage:
        """Lists at most `limit` files of a version of a data set, 0 for the latest."""
        ...

    async def resolve(self, owner: str, request: FileRequest) -> ResolvedFile:
        """Finds out which file is meant.

        Raises:
            InvalidArgument: INVALID_FIELD if `request.path` is empty and the data set holds several tables (the
                message lists them), or if the reference is malformed.
            NotFound: SOURCE_NOT_FOUND.
        """
        ...

    async def download(self, owner: str, file: ResolvedFile, directory: Path, progress: Progress) -> Path:
        """Takes a file into `directory`, an empty folder of the caller's, and returns where it lies.

        It is the file as it comes, perhaps in an archive or compressed, whose conversion unwraps it. What an earlier
        attempt left in the folder may be gone on with. Raises DOWNLOAD_CORRUPT if what arrived is not what the source
        announced. Cancelled, it may leave files behind in `directory` only.
        """
        ...
