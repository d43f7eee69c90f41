"""How a file is read: its container, delimiter and encoding, as asked for and as found."""

import codecs
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from scraper_server.tables.refusals import empty, not_a_table
from scraper_server.tables.schema import ColumnType
from servicekit.errors import InvalidArgument, Reason
from servicekit.images.shape import ImageMode, ImageResizing, ImageShape

SAMPLE_BYTES = 256 * 1024


class FormatKind(StrEnum):
    """The container of the rows."""

    DELIMITED = "delimited"
    PARQUET = "parquet"
    JSON = "json"
    JSON_LINES = "json_lines"
    EXCEL = "excel"
    SQLITE = "sqlite"
    IMAGES = "images"


class RaggedRows(StrEnum):
    """What happens to rows with more or fewer cells than the header."""

    FAIL = "fail"
    SKIP = "skip"
    FILL = "fill"


class Compression(StrEnum):
    """What a file was compressed with."""

    NONE = "none"
    GZIP = "gzip"
    ZIP = "zip"
    ZSTD = "zstd"


@dataclass(frozen=True)
class ImageOptions:
    """How images are read; sizes in pixels."""

    height: int = 64
    width: int = 64
    mode: ImageMode = ImageMode.RGB
    resizing: ImageResizing = ImageResizing.STRETCH
    max_broken_share: float = 0.05
    path_column: str = ""
    """Where an archive holds a table of images; empty: to be found out."""

    @property
    def shape(self) -> ImageShape:
        """What every image is to be."""
        return ImageShape(self.height, self.width, self.mode, self.resizing)


@dataclass(frozen=True)
class FileFormat:
    """How a file is read. What is None or empty is to be detected."""

    kind: FormatKind | None = None
    delimiter: str = ""
    encoding: str = ""
    """By its IANA name, in lower case."""
    quote: str = ""
    decimal_separator: str = ""
    thousands_separator: str = ""
    comment: str = ""
    """Never detected."""
    has_no_header: bool = False
    ragged_rows: RaggedRows | None = None
    """None: SKIP if they are few, else FAIL."""
    compression: Compression | None = None
    """Only found, never asked for."""
    sheet: str = ""
    table: str = ""
    member: str = ""
    column_types: tuple[tuple[str, ColumnType], ...] = ()
    """Chosen by name instead of found out."""
    images: ImageOptions | None = None


# First bytes of what people upload by mistake.
_OTHERS = (
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet: unpack it, or save the sheet as CSV"),
    (b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (b"BZh", "compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "compressed with xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first"),
    (b"\xd0\xcf\x11\xe0", "an old spreadsheet or document: save the sheet as CSV"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89HDF", "an HDF5 file: export the table as CSV or Parquet"),
    (b"SQLite format 3", "an SQLite database: export the table as CSV or Parquet"),
)
_MARKUP = (b"<!doctype", b"<html", b"<?xml")
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def checked(wanted: FileFormat) -> FileFormat:
    """The format as asked for, with its encoding's usual name.

    Raises:
        InvalidArgument: INVALID_FIELD, if the delimiter can't be one or no such encoding is known.
    """
    if len(wanted.delimiter) > 1 or wanted.delimiter in ('"', "\n", "\r"):
        message = f"format.delimiter {wanted.delimiter!r} is not one character that can separate cells"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field="format.delimiter")
    if wanted.delimiter and not wanted.delimiter.isascii():
        message = f"format.delimiter {wanted.delimiter!r} is not an ASCII character"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field="format.delimiter")
    if not wanted.encoding:
        return wanted
    try:
        encoding = usual_name(codecs.lookup(wanted.encoding).name)
    except LookupError as error:
        message = f"format.encoding '{wanted.encoding}' is no known character encoding: try utf-8 or windows-1252"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field="format.encoding") from error
    return replace(wanted, encoding=encoding)


def usual_name(codec: str) -> str:
    """The IANA name of a Python codec."""
    name = codec.replace("_", "-")
    return "windows-" + name[2:] if name.startswith("cp125") else name.replace("iso8859", "iso-8859")


def detect_kind(path: Path, name: str) -> FormatKind:
    """Tells a Parquet file from a delimited one by its first bytes.

    Raises:
        InvalidArgument: FILE_EMPTY without any byte; FILE_NOT_A_TABLE if it is something else altogether.
    """
    with path.open("rb") as file:
        head = file.read(SAMPLE_BYTES)
    if not head.strip():
        raise empty(name, "it has no bytes" if not head else "it holds nothing but white space")
    if head.startswith(b"PAR1"):
        return FormatKind.PARQUET
    for magic, what in _OTHERS:
        if head.startswith(magic):
            raise not_a_table(name, f"it is {what}")
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()[:20].lower()
    if start.startswith(_MARKUP):
        raise not_a_table(name, "it is a web page or an XML document")
    if start.startswith((b"{", b"[{")):
        raise not_a_table(name, "it is JSON: convert it to CSV or Parquet")
    if b"\x00" in head and not _looks_like_utf16(head):
        raise not_a_table(name, "it is binary, and not Parquet")
    return FormatKind.DELIMITED


def _looks_like_utf16(head: bytes) -> bool:
    """With its mark; or with a zero in nearly every even or every odd place, as Western text has without it."""
    if head.startswith(_UTF16_MARKS):
        return True
    half = len(head) // 2
    return max(head[0::2].count(0), head[1::2].count(0)) > 0.7 * half > min(head[0::2].count(0), head[1::2].count(0))
