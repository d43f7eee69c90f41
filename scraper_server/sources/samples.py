"""Small real data sets that come with scikit-learn, as they were measured."""

import asyncio
from pathlib import Path
from typing import TypeVar

from scraper_server.sources.sample_tables import SAMPLES, Sample, sample_table
from scraper_server.sources.search import FileType, LicenseFamily, Search
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
from servicekit.errors import NotFound, Reason

T = TypeVar("T")


class SamplesSource:
    """The samples as a source; it needs no network."""

    kind = SourceKind.SAMPLES

    async def is_open_to(self, owner: str) -> bool:
        """To everybody."""
        return True

    async def search(self, owner: str, search: Search, limit: int, cursor: str) -> SearchPage:
        """Finds the samples whose description holds every word. They keep their order: nobody votes for them."""
        found = [_dataset(sample) for sample in SAMPLES if _fits(sample, search)]
        return SearchPage(*_page(found, limit, cursor))

    async def list_files(self, owner: str, ref: str, version: int, limit: int, cursor: str) -> FilePage:
        """Each sample has one file."""
        sample = _sample(ref)
        _check_version(sample, version)
        return FilePage(*_page([SourceFile(sample.path)], limit, cursor))

    async def resolve(self, owner: str, request: FileRequest) -> ResolvedFile:
        """Fills in the path. Samples have no versions."""
        sample = _sample(request.ref)
        if request.path not in ("", sample.path):
            message = f"sample '{sample.ref}' has no file '{request.path}', only '{sample.path}'"
            raise NotFound(Reason.SOURCE_NOT_FOUND, message)
        _check_version(sample, request.version)
        return ResolvedFile(sample.ref, sample.title, sample.path, version=0, size_bytes=0, is_public=True)

    async def download(self, owner: str, file: ResolvedFile, directory: Path, progress: Progress) -> Path:
        """Writes the sample as Parquet, which keeps its types."""
        path = directory / file.path
        await asyncio.to_thread(_write, _sample(file.ref), path)
        size = path.stat().st_size
        await progress(size, size)
        return path


def _sample(ref: str) -> Sample:
    for sample in SAMPLES:
        if sample.ref == ref:
            return sample
    known = ", ".join(sample.ref for sample in SAMPLES)
    raise NotFound(Reason.SOURCE_NOT_FOUND, f"there is no sample '{ref}': there are {known}")


def _check_version(sample: Sample, version: int) -> None:
    if version:
        message = f"sample '{sample.ref}' has no version {version}: samples have none, so leave it at 0"
        raise NotFound(Reason.SOURCE_NOT_FOUND, message)


def _fits(sample: Sample, search: Search) -> bool:
    """Whether a search finds it. Its size is not told, and small: it is below any least size and any largest one."""
    text, tags = _text(sample), {tag.casefold() for tag in sample.tags}
    return (
        all(word in text for word in search.words.casefold().split())
        and search.file_type in (None, FileType.PARQUET)
        and search.min_size_bytes == 0
        and search.license in (None, _license_family(sample))
        and all(tag.casefold() in tags for tag in search.tags)
        and not search.publisher
    )


def _license_family(sample: Sample) -> LicenseFamily:
    return LicenseFamily.CREATIVE_COMMONS if sample.license.startswith("CC") else LicenseFamily.OTHER


def _text(sample: Sample) -> str:
    return " ".join((sample.ref, sample.title, sample.subtitle, *sample.tags)).casefold()


def _dataset(sample: Sample) -> SourceDataset:
    return SourceDataset(
        source=SourceKind.SAMPLES,
        ref=sample.ref,
        title=sample.title,
        subtitle=sample.subtitle,
        license=sample.license,
        url=sample.url,
        tags=sample.tags,
    )


def _page(rows: list[T], limit: int, cursor: str) -> tuple[tuple[T, ...], str]:
    start = int(cursor or 0)
    return tuple(rows[start : start + limit]), str(start + limit) if start + limit < len(rows) else ""


def _write(sample: Sample, path: Path) -> None:
    sample_table(sample).to_parquet(path, index=False)
