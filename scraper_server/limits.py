"""What this server takes of a file, an archive, a table and a person. Each limit is a setting with its own reason.

`docs/limits.md` is made from this.
"""

from dataclasses import dataclass, field

MEBIBYTE = 1024**2
GIBIBYTE = 1024**3


@dataclass(frozen=True)
class TableLimits:
    """Of one table."""

    max_rows: int = 1_000_000_000
    """TOO_MANY_ROWS"""
    max_columns: int = 20_000
    """TOO_MANY_COLUMNS"""
    max_cell_bytes: int = 4 * MEBIBYTE
    """CELL_TOO_LARGE"""


@dataclass(frozen=True)
class ArchiveLimits:
    """Of one archive or compressed file. Counted on bytes that come out, never on what it says of itself."""

    max_entries: int = 1_000_000
    """TOO_MANY_ARCHIVE_ENTRIES"""
    max_bytes: int = 64 * GIBIBYTE
    """ARCHIVE_TOO_LARGE"""
    max_ratio: int = 200
    """ARCHIVE_TOO_DENSE; how many times its compressed size a file may have, once it is larger than the next."""
    ratio_from_bytes: int = 64 * MEBIBYTE


@dataclass(frozen=True)
class ImageLimits:
    """Of one image, before it is resized."""

    max_pixels: int = 64_000_000
    """IMAGE_TOO_LARGE"""


@dataclass(frozen=True)
class Limits:
    """All of them. FILE_TOO_LARGE and QUOTA_EXCEEDED belong to the two that count bytes of whole files."""

    max_file_bytes: int = 16 * GIBIBYTE
    """FILE_TOO_LARGE; of a download or an upload."""
    quota_bytes: int = 100 * GIBIBYTE
    """QUOTA_EXCEEDED; of one person's data sets, views and files under way."""
    table: TableLimits = field(default_factory=TableLimits)
    archive: ArchiveLimits = field(default_factory=ArchiveLimits)
    image: ImageLimits = field(default_factory=ImageLimits)
