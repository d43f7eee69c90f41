"""How a file is read: its container, delimiter and encoding, as asked for and as found."""

import codecs
from dataclasses import dataclass, replace
from enum import StrEnum

from scraper_server.tables.schema import ColumnType
from servicekit.errors import InvalidArgument, Reason
from servicekit.images.shape import ImageMode, ImageResizing, ImageShape

SAMPLE_BYTES = 256 * 1024
DECIMALS = ("", ".", ",")
THOUSANDS = ("", ",", ".", " ", "'")


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


def checked(wanted: FileFormat) -> FileFormat:
    """The format as asked for, with its encoding's usual name.

    Raises:
        InvalidArgument: INVALID_FIELD, if no such encoding is known, or a delimiter, quote, comment or separator can't
            be one, or is the same as another.
    """
    _check_marks(wanted)
    if not wanted.encoding:
        return wanted
    try:
        "".encode(wanted.encoding)  # unlike a look-up, not for base64 and the like
        encoding = usual_name(codecs.lookup(wanted.encoding).name)
    except (LookupError, UnicodeError) as error:
        message = f"format.encoding '{wanted.encoding}' is no known character encoding: try utf-8 or windows-1252"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field="format.encoding") from error
    return replace(wanted, encoding=encoding)


def _check_marks(wanted: FileFormat) -> None:
    marks = {"delimiter": wanted.delimiter, "quote": wanted.quote, "comment": wanted.comment}
    for field, mark in marks.items():
        if mark and (len(mark) > 1 or not mark.isascii() or mark in "\r\n\x00"):
            raise _refused(field, f"{mark!r} is not one ASCII character that can be a {field}")
    for field, other in (("quote", "delimiter"), ("comment", "delimiter"), ("comment", "quote")):
        if marks[field] and marks[field] == (marks[other] or {"quote": '"'}.get(other)):
            raise _refused(field, f"{marks[field]!r} is the {other} too")
    if marks["delimiter"] == '"' and not marks["quote"]:
        raise _refused("delimiter", "'\"' is what stands around cells, unless format.quote says otherwise")
    decimal, thousands = wanted.decimal_separator, wanted.thousands_separator
    if decimal not in DECIMALS:
        raise _refused("decimal_separator", f"{decimal!r} is neither '.' nor ','")
    if thousands not in THOUSANDS:
        raise _refused("thousands_separator", f"{thousands!r} is none of {', '.join(map(repr, THOUSANDS[1:]))}")
    if thousands and thousands == decimal:
        raise _refused("thousands_separator", f"{thousands!r} is the decimal separator too")


def _refused(field: str, why: str) -> InvalidArgument:
    path = f"format.{field}"
    return InvalidArgument(Reason.INVALID_FIELD, f"{path} {why}", field=path)


def usual_name(codec: str) -> str:
    """The IANA name of a Python codec."""
    name = codec.replace("_", "-")
    return "windows-" + name[2:] if name.startswith("cp125") else name.replace("iso8859", "iso-8859")
