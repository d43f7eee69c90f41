"""What a search of the sources leaves out, and what it shows first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from flare.scraper.v1 import source_pb2 as pb

from flare_client.choices import choose


class SearchOptions(TypedDict, total=False):
    """What is not given leaves nothing out."""

    file_type: str
    """`csv`, `sqlite`, `json`, `bigquery` or `parquet`."""
    min_size: int
    """Bytes of all files together."""
    max_size: int
    license: str
    """`creative_commons`, `gpl`, `open_database` or `other`."""
    tags: Sequence[str]
    """All of them must be there."""
    owner: str
    """The account at the source."""
    sort: str
    """`hottest`, `votes`, `updated`, `active` or `published` first."""


def search_filter(options: SearchOptions) -> pb.SearchFilter:
    """The contract's filter. Raises FlareError for a word that is none of its choices."""
    return pb.SearchFilter(
        file_type=choose("file type", options.get("file_type", ""), pb.SourceFileType),
        min_size_bytes=options.get("min_size", 0),
        max_size_bytes=options.get("max_size", 0),
        license=choose("license", options.get("license", ""), pb.SourceLicense),
        tags=options.get("tags", ()),
        owner=options.get("owner", ""),
    )


def search_sort(options: SearchOptions) -> pb.SearchSort.ValueType:
    """What is shown first. Raises FlareError for a word that is none of its choices."""
    return choose("sort", options.get("sort", ""), pb.SearchSort)
