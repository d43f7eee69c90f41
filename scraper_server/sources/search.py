"""What somebody looks for at a source."""

from dataclasses import dataclass
from enum import StrEnum


class FileType(StrEnum):
    """The type of a file at a source."""

    CSV = "csv"
    SQLITE = "sqlite"
    JSON = "json"
    BIGQUERY = "bigquery"
    PARQUET = "parquet"


class LicenseFamily(StrEnum):
    """A family of licences."""

    CREATIVE_COMMONS = "creative_commons"
    GPL = "gpl"
    OPEN_DATABASE = "open_database"
    OTHER = "other"


class SearchSort(StrEnum):
    """What a search shows first."""

    HOTTEST = "hottest"
    VOTES = "votes"
    UPDATED = "updated"
    ACTIVE = "active"
    PUBLISHED = "published"


@dataclass(frozen=True)
class Search:
    """Words, and what is left out. What is unset leaves nothing out."""

    words: str = ""
    file_type: FileType | None = None
    """Only data sets with a file of this type."""
    min_size_bytes: int = 0
    max_size_bytes: int = 0
    """0 for any size; else at least `min_size_bytes`."""
    license: LicenseFamily | None = None
    tags: tuple[str, ...] = ()
    """Only data sets with all of these. None holds a comma."""
    publisher: str = ""
    """Only data sets of this account at the source."""
    sort: SearchSort | None = None
    """What the source takes for fitting best, if None."""
