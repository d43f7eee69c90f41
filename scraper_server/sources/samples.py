"""Small real data sets that come with scikit-learn, as they were measured."""

import asyncio
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

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


@dataclass(frozen=True)
class Sample:
    """A data set and how it is made into a table whose last column is what one would predict."""

    ref: str
    title: str
    subtitle: str
    tags: tuple[str, ...]
    license: str
    loader: str
    """The function of `sklearn.datasets` that loads it."""
    target: str
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def path(self) -> str:
        """The one file that it has."""
        return f"{self.ref}.parquet"

    @property
    def url(self) -> str:
        """Where a person can read about it."""
        return f"https://scikit-learn.org/stable/modules/generated/sklearn.datasets.{self.loader}.html"


_CC_BY = "CC BY 4.0"
SAMPLES = (
    Sample(
        "breast-cancer",
        "Breast cancer Wisconsin (diagnostic)",
        "569 tumours, 30 measures of their cell nuclei, and whether each is malignant or benign",
        ("classification", "medicine", "table"),
        _CC_BY,
        "load_breast_cancer",
        "diagnosis",
    ),
    Sample(
        "diabetes",
        "Diabetes progression",
        "442 patients, age, sex, body mass, blood pressure and six serum values, and how their disease went on",
        ("regression", "medicine", "table"),
        "",
        "load_diabetes",
        "progression",
        (("scaled", False),),
    ),
    Sample(
        "digits",
        "Handwritten digits",
        "1797 images of 8 x 8 pixels, one column each, brightness 0 to 16, and the digit that each shows",
        ("classification", "image", "table"),
        _CC_BY,
        "load_digits",
        "digit",
    ),
    Sample(
        "iris",
        "Iris flowers",
        "150 flowers of three species, length and width of their sepals and petals",
        ("classification", "biology", "table"),
        _CC_BY,
        "load_iris",
        "species",
    ),
    Sample(
        "wine",
        "Wine recognition",
        "178 wines of three cultivars, 13 chemical measures",
        ("classification", "chemistry", "table"),
        _CC_BY,
        "load_wine",
        "cultivar",
    ),
)


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
    # scikit-learn takes a second to import, which only those who take a sample should pay.
    load: Callable[..., Any] = getattr(importlib.import_module("sklearn.datasets"), sample.loader)
    bunch = load(**dict(sample.options))
    columns: dict[str, Any] = {
        str(name): _whole(bunch.data[:, position]) for position, name in enumerate(bunch.feature_names)
    }
    labels = getattr(bunch, "target_names", None)
    # Classes have names, not numbers: a model must not take class 2 for twice class 1.
    columns[sample.target] = bunch.target if labels is None else [str(labels[code]) for code in bunch.target]
    pd.DataFrame(columns).to_parquet(path, index=False)


def _whole(values: Any) -> Any:
    """Measures that are all whole numbers become integers, which the loaders have as floats."""
    whole = values.astype("int64")
    return whole if (whole == values).all() else values
