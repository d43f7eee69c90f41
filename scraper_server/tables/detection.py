"""Tells what kind of file it is by its content, and by its name only where that says nothing."""

import codecs
import json
from pathlib import Path, PurePosixPath

from scraper_server.tables.formats import SAMPLE_BYTES, FormatKind
from scraper_server.tables.refusals import empty, not_a_table

# First bytes of those that are not text. A ZIP archive that was not unwrapped is a workbook.
_MARKS = (
    (b"PAR1", FormatKind.PARQUET),
    (b"SQLite format 3\x00", FormatKind.SQLITE),
    (b"PK\x03\x04", FormatKind.EXCEL),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", FormatKind.EXCEL),
)
# First bytes of what people upload by mistake.
_OTHERS = (
    (b"BZh", "compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "compressed with xz: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it, or make a ZIP archive of it"),
    (b"Rar!", "a RAR archive: unpack it, or make a ZIP archive of it"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x89HDF", "an HDF5 file: export the table as CSV or Parquet"),
    (b"\x93NUMPY", "a NumPy array: export it as CSV or Parquet"),
    (b"ARROW1", "an Arrow file: save it as Parquet"),
    (b"FEA1", "a Feather file: save it as Parquet"),
    (b"ORC", "an ORC file: save it as Parquet"),
    (b"Obj\x01", "an Avro file: save it as Parquet"),
)
_TAR = slice(257, 262)
_MARKUP = (b"<!doctype", b"<html", b"<?xml")
_JSON_BEGINNINGS = ("{}", "[]", '{"', "[{", "[[", "[null")
_LINES_ENDINGS = (".jsonl", ".ndjson")
_MARKS_OF_ORDER = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def detect_kind(path: Path, name: str) -> FormatKind:
    """What kind of file it is; `name` is what its owner calls it.

    Raises:
        InvalidArgument: FILE_EMPTY without any byte; FILE_NOT_A_TABLE if it is something else altogether.
    """
    with path.open("rb") as file:
        head = file.read(SAMPLE_BYTES)
    if not head.strip():
        raise empty(name, "it has no bytes" if not head else "it holds nothing but white space")
    for mark, kind in _MARKS:
        if head.startswith(mark):
            return kind
    for mark, what in _OTHERS:
        # `ORC,...` may well be the header of a delimited file.
        if head.startswith(mark) and (not mark.isalnum() or b"\x00" in head):
            raise not_a_table(name, f"it is {what}")
    if head[_TAR] == b"ustar":
        raise not_a_table(name, "it is a tar archive: unpack it, or make a ZIP archive of it")
    if head.removeprefix(codecs.BOM_UTF8).lstrip()[:20].lower().startswith(_MARKUP):
        raise not_a_table(name, "it is a web page or an XML document")
    if b"\x00" in head and not _looks_like_utf16(head):
        raise not_a_table(name, "it is binary, and no kind of file that is known")
    return _text_kind(_decoded(head), name, is_whole=len(head) < SAMPLE_BYTES)


def _text_kind(text: str, name: str, *, is_whole: bool) -> FormatKind:
    start = "".join(text[:1000].split())[:10]
    if not start.startswith(_JSON_BEGINNINGS):
        return FormatKind.DELIMITED
    if not start.startswith("{"):
        return FormatKind.JSON
    first, end, rest = text.lstrip().partition("\n")
    if not end and not is_whole:  # a first line as long as this tells nothing
        is_lines = PurePosixPath(name).suffix.lower() in _LINES_ENDINGS
        return FormatKind.JSON_LINES if is_lines else FormatKind.JSON
    row = _parsed(first)
    has_more = bool(rest.strip())
    is_flat = row is not None and not any(isinstance(value, dict | list) for value in row.values())
    return FormatKind.JSON_LINES if row is not None and (has_more or is_flat) else FormatKind.JSON


def _parsed(line: str) -> dict[str, object] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _decoded(head: bytes) -> str:
    """The beginning of the text, near enough to tell JSON."""
    if head.startswith(_MARKS_OF_ORDER):
        return head.decode("utf-16", "replace")
    if b"\x00" in head:
        return head.replace(b"\x00", b"").decode("latin-1")
    return head.decode("utf-8-sig", "replace")


def _looks_like_utf16(head: bytes) -> bool:
    """With its mark; or with a zero in nearly every even or every odd place, as Western text has without it."""
    if head.startswith(_MARKS_OF_ORDER):
        return True
    half = len(head) // 2
    return max(head[0::2].count(0), head[1::2].count(0)) > 0.7 * half > min(head[0::2].count(0), head[1::2].count(0))
