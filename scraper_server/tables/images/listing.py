"""The images of an archive with what else is known of each, before any is decoded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from scraper_server.archives.zip import Member
from scraper_server.tables.formats import FileFormat
from scraper_server.tables.images.folders import placed
from scraper_server.tables.reader import plain_schema
from scraper_server.tables.schema import Column, ColumnType, TableWarning

IMAGE = "image"


@dataclass(frozen=True)
class Listing:
    """A row for each image: `wanted[i]`, None if it has none, or why it can't be read, belongs to row i of `rows`."""

    columns: tuple[Column, ...]
    """Of `rows`: all but the images themselves."""
    rows: pa.Table
    paths: Sequence[str]
    """What messages call each image."""
    wanted: Sequence[Member | str | None]
    format: FileFormat
    image_name: str = IMAGE
    warnings: tuple[TableWarning, ...] = ()


def folder_listing(images: Sequence[Member], wanted: FileFormat) -> Listing:
    """Images whose folders are their classes: columns `label`, `path`, and `split` if folders name parts."""
    paths = [image.path for image in images]
    found = placed(paths)
    values: dict[str, list[str | None]] = {"label": [each.label for each in found]}
    if any(each.part for each in found):
        values["split"] = [each.part for each in found]
    columns = (*(Column(name, ColumnType.CATEGORICAL) for name in values), Column("path", ColumnType.TEXT))
    rows = pa.Table.from_pydict({**values, "path": paths}, schema=plain_schema(columns))
    return Listing(columns, rows, paths, images, replace(wanted, member=""))
