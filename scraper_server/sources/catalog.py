"""Every source that the server has, as one."""

from collections.abc import Mapping, Sequence

from scraper_server.sources.source import FilePage, SearchPage, Source, SourceDataset, SourceKind
from servicekit.errors import FlareError, NotFound, Reason


class Sources:
    """Finds sources, and searches one or all of them."""

    def __init__(self, sources: Mapping[SourceKind, Source], searched: Sequence[SourceKind]) -> None:
        """`searched` are those that a search of all goes through, in this order."""
        self._sources = sources
        self._searched = tuple(searched)

    def find(self, kind: SourceKind) -> Source:
        """The source of a kind.

        Raises:
            NotFound: SOURCE_NOT_FOUND, the server does not have it.
        """
        source = self._sources.get(kind)
        if source is None:
            raise NotFound(Reason.SOURCE_NOT_FOUND, f"this server has no source '{kind.value}'")
        return source

    async def search(self, kind: SourceKind | None, query: str, limit: int, cursor: str) -> SearchPage:
        """A page of one source or, without a kind, of all: each source's results follow those of the one before."""
        if kind is not None:
            return await self.find(kind).search(query, limit, cursor)
        number, _, inner = cursor.partition(":")
        found: list[SourceDataset] = []
        for at in range(int(number or 0), len(self._searched)):
            try:
                page = await self.find(self._searched[at]).search(query, limit - len(found), inner)
            except FlareError:
                if not found:
                    raise
                return SearchPage(tuple(found), f"{at}:")  # the next page tells of the error
            found += page.datasets
            if page.next_cursor:
                return SearchPage(tuple(found), f"{at}:{page.next_cursor}")
            inner = ""
            if len(found) >= limit and at + 1 < len(self._searched):
                return SearchPage(tuple(found), f"{at + 1}:")
        return SearchPage(tuple(found))

    async def files(self, kind: SourceKind, ref: str, limit: int, cursor: str) -> FilePage:
        """A page of the files of a data set."""
        return await self.find(kind).list_files(ref, limit, cursor)
