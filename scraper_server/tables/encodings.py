"""Finds out the character encoding of a text file, and makes it UTF-8."""

import codecs
from pathlib import Path

from charset_normalizer import from_bytes

from scraper_server.tables.formats import SAMPLE_BYTES, usual_name
from scraper_server.tables.refusals import not_a_table

UTF8 = "utf-8"
CHUNK = 1 << 20
# What files without a mark are written in. A longer list makes guesses on short files worse.
_CANDIDATES = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "shift_jis", "euc_jp", "euc_kr", "gb18030", "big5"]


def detect_encoding(path: Path, name: str) -> str:
    """The encoding of a text file: its byte order mark's, UTF-8 if every byte fits, else the likeliest.

    Raises:
        InvalidArgument: FILE_NOT_A_TABLE if it is text in no encoding.
    """
    with path.open("rb") as file:
        head = file.read(SAMPLE_BYTES)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if head[1::2].count(0) > len(head) // 4:
        return "utf-16-le"
    if head[0::2].count(0) > len(head) // 4:
        return "utf-16-be"
    if _decodes(path, UTF8):
        return UTF8
    found = from_bytes(_telling_lines(path), cp_isolation=_CANDIDATES)
    best = found.best()
    if best is None:
        raise not_a_table(name, "it is text in no encoding that is known; name it in format.encoding")
    equally_good = [match for match in found if match.chaos <= best.chaos + 0.02]
    # Short files often fit several tables of one byte a character; the most common one then wins.
    if any("cp1252" in match.could_be_from_charset for match in equally_good):
        return "windows-1252"
    return usual_name(best.encoding)


def as_utf8(path: Path, encoding: str, name: str, directory: Path) -> Path:
    """The file itself if it is UTF-8, else a copy in `directory` that is.

    Raises:
        InvalidArgument: FILE_NOT_A_TABLE, with the position of the first byte that does not fit the encoding.
    """
    if encoding == UTF8:
        if (failure := _failure(path, UTF8)) is not None:
            raise _misfit(name, encoding, failure)
        return path
    copy = directory / "utf8"
    decoder = codecs.getincrementaldecoder(encoding)()
    done = 0
    with path.open("rb") as source, copy.open("wb") as target:
        while True:
            chunk = source.read(CHUNK)
            try:
                target.write(decoder.decode(chunk, final=not chunk).removeprefix("\ufeff" if not done else "").encode())
            except UnicodeDecodeError as error:
                raise _misfit(name, encoding, done + error.start) from error
            done += len(chunk)
            if not chunk:
                return copy


def _misfit(name: str, encoding: str, position: int) -> Exception:
    return not_a_table(
        name, f"byte {position} is not {encoding}; leave format.encoding out to have the encoding detected"
    )


def _decodes(path: Path, encoding: str) -> bool:
    return _failure(path, encoding) is None


def _failure(path: Path, encoding: str) -> int | None:
    """Where the first byte stands that does not fit, about; None if all do."""
    decoder = codecs.getincrementaldecoder(encoding)()
    done = 0
    with path.open("rb") as file:
        while True:
            chunk = file.read(CHUNK)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                return done + error.start
            done += len(chunk)
            if not chunk:
                return None


def _telling_lines(path: Path) -> bytes:
    """The lines that hold more than ASCII, as far as they fit the sample: they alone tell the encoding."""
    lines: list[bytes] = []
    size = 0
    with path.open("rb") as file:
        while size < SAMPLE_BYTES and (chunk := file.readlines(CHUNK)):
            for line in chunk:
                if not line.isascii() and size < SAMPLE_BYTES:
                    lines.append(line[:SAMPLE_BYTES])
                    size += len(lines[-1])
    return b"".join(lines)
