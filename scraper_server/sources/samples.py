"""Small real data sets that come with scikit-learn, as they were measured."""

import asyncio
from pathlib import Path
from typing import TypeVar

from scraper_server.sources.sample_tables import SAMPLES, Sample, sample_table
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

    async def search(self, query: str, limit: int, cursor: str) -> SearchPage:
        """Finds the samples whose description holds every word of the query."""
        words = query.casefold().split()
        found = [sample for sample in SAMPLES if all(word in _text(sample) for word in words)]
        return SearchPage(*_page([_dataset(sample) for sample in found], limit, cursor))

    async def list_files(self, ref: str, limit: int, cursor: str) -> FilePage:
        """Each sample has one file."""
        return FilePage(*_page([SourceFile(_sample(ref).path)], limit, cursor))

    async def resolve(self, request: FileRequest) -> ResolvedFile:
        """Fills in the path. Samples have no versions."""
        sample = _sample(request.ref)
        if request.path not in ("", sample.path):
            message = f"sample '{sample.ref}' has no file '{request.path}', only '{sample.path}'"
            raise NotFound(Reason.SOURCE_NOT_FOUND, message)
        return ResolvedFile(sample.ref, sample.title, sample.path, version=0, size_bytes=0)

    async def download(self, file: ResolvedFile, directory: Path, progress: Progress) -> Path:
        """Writes the sample as Parquet, which keeps its types."""
        path = directory / file.path
        await asyncio.to_thread(_write, _sample(file.ref), path)
        size = path.stat().st_size
        progress(size, size)
        return path


def _sample(ref: str) -> Sample:
    for sample in SAMPLES:
        if sample.ref == ref:
            return sample
    known = ", ".join(sample.ref for sample in SAMPLES)
    raise NotFound(Reason.SOURCE_NOT_FOUND, f"there is no sample '{ref}': there are {known}")


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
