"""Every source that the server has, as one."""

from collections.abc import Mapping

from scraper_server.sources.search import Search
from scraper_server.sources.source import FilePage, SearchPage, Source, SourceDataset, SourceKind
from servicekit.errors import FlareError, NotFound, Reason


class Sources:
    """Finds sources, and searches one or all of them."""

    def __init__(self, sources: Mapping[SourceKind, Source]) -> None:
        """A search of all goes through them in this order."""
        self._sources = sources

    def find(self, kind: SourceKind) -> Source:
        """The source of a kind.

        Raises:
            NotFound: SOURCE_NOT_FOUND, the server does not have it.
        """
        source = self._sources.get(kind)
        if source is None:
            raise NotFound(Reason.SOURCE_NOT_FOUND, f"this server has no source '{kind.value}'")
        return source

    async def search(self, owner: str, kind: SourceKind | None, search: Search, limit: int, cursor: str) -> SearchPage:
        """A page of one source or, without a kind, of all: each source's results follow those of the one before."""
        if kind is not None:
            return await self.find(kind).search(owner, search, limit, cursor)
        began, _, inner = cursor.partition(":")
        found: list[SourceDataset] = []
        for source in await self._open_to(owner, began):
            if len(found) >= limit:
                return SearchPage(tuple(found), f"{source.kind.value}:")
            try:
                page = await source.search(owner, search, limit - len(found), inner if source.kind == began else "")
            except FlareError:
                if not found:
                    raise
                return SearchPage(tuple(found), f"{source.kind.value}:")  # the next page tells of the error
            found += page.datasets
            if page.next_cursor:
                return SearchPage(tuple(found), f"{source.kind.value}:{page.next_cursor}")
        return SearchPage(tuple(found))

    async def files(self, owner: str, kind: SourceKind, ref: str, version: int, limit: int, cursor: str) -> FilePage:
        """A page of the files of a version of a data set, 0 for the latest."""
        return await self.find(kind).list_files(owner, ref, version, limit, cursor)

    async def _open_to(self, owner: str, first: str) -> list[Source]:
        """The sources that a search of all goes through, from one on (empty: from the first)."""
        kinds = list(self._sources)
        remaining = kinds[kinds.index(SourceKind(first)) if first else 0 :]
        return [self._sources[kind] for kind in remaining if await self._sources[kind].is_open_to(owner)]
