"""Looks at how large a workbook really is before all of it is read into memory."""

import re
from pathlib import Path

from scraper_server.archives.compressed import Wrapping, wrapping_of
from scraper_server.archives.zip import Archive
from scraper_server.limits import ArchiveLimits
from servicekit.errors import Reason, ResourceExhausted

# A sheet is in memory as one block from its first to its last cell, some 32 bytes each, whether or not they are empty.
MOST_CELLS = 40_000_000
CHUNK_BYTES = 1 << 20
# Long enough for what is cut by the end of a chunk.
OVERLAP_BYTES = 64
_SHEET = re.compile(r"xl/worksheets/[^/]+\.xml")
_PLACE = re.compile(rb'\sr="([A-Z]{0,3})([0-9]{1,7})"')


def check_workbook(path: Path, name: str, limits: ArchiveLimits) -> None:
    """Unpacks every part of a workbook that is a ZIP archive, keeps none, and looks how far its sheets reach.

    Raises:
        InvalidArgument: ARCHIVE_UNSAFE; FILE_NOT_A_TABLE if it is damaged.
        ResourceExhausted: ARCHIVE_TOO_LARGE, ARCHIVE_TOO_DENSE, TOO_MANY_ARCHIVE_ENTRIES; TOO_MANY_ROWS if a sheet
            reaches too far.
    """
    if wrapping_of(path) is not Wrapping.ZIP:
        return  # the old format holds 65536 rows of 256 cells at most
    with Archive(path, name, limits) as archive:
        for member in archive.members:
            is_sheet = _SHEET.fullmatch(member.path) is not None
            last_row, last_column, before = 0, 0, b""
            with archive.open(member) as part:
                while chunk := part.read(CHUNK_BYTES):
                    if is_sheet:
                        text = before + chunk
                        places = set(_PLACE.findall(text))
                        last_row = max(last_row, max((int(row) for _, row in places), default=0))
                        last_column = max(last_column, max((_number(column) for column, _ in places), default=0))
                        before = text[-OVERLAP_BYTES:]
            if last_row * last_column > MOST_CELLS:
                message = (
                    f"workbook '{name}': its sheet {member.path} reaches to row {last_row} and column {last_column}, "
                    f"more than the {MOST_CELLS} cells that this server reads of a workbook: delete what stands far "
                    "from the table, or save the sheet as CSV"
                )
                raise ResourceExhausted(Reason.TOO_MANY_ROWS, message, file=name)


def _number(column: bytes) -> int:
    """The position of a column from 1: of `B` it is 2."""
    number = 0
    for letter in column:
        number = number * 26 + letter - 64
    return number
