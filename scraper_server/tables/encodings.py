"""Finds out the character encoding of a text file."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from charset_normalizer import from_bytes

from scraper_server.tables.formats import SAMPLE_BYTES, usual_name
from scraper_server.tables.refusals import not_a_table
from servicekit.errors import InvalidArgument

UTF8 = "utf-8"
CHUNK = 1 << 20
# What files without a mark are written in. A longer list makes guesses on short files worse.
_CANDIDATES = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "shift_jis", "euc_jp", "euc_kr", "gb18030", "big5"]


class Undecodable(Exception):  # a guess that a later byte refutes is no fault
    """A byte does not fit the encoding of its file."""

    def __init__(self, position: int, encoding: str) -> None:
        super().__init__(f"byte {position} is not {encoding}")


def detect_encoding(path: Path, name: str) -> str:
    """The encoding of a text file, from all of it.

    Raises:
        InvalidArgument: FILE_NOT_A_TABLE if it is text in no encoding.
    """
    guessed = guessed_encoding(path, name)
    if guessed != UTF8:
        return guessed
    try:
        for _ in _decoded(path, UTF8):
            pass
    except Undecodable:
        return likely_encoding(path, name)
    return UTF8


def as_utf8(path: Path, encoding: str, name: str, directory: Path) -> Path:
    """The file itself if it is UTF-8, else a copy in `directory` that is.

    Raises:
        InvalidArgument: FILE_NOT_A_TABLE, with the position of the first byte that does not fit the encoding.
    """
    copy = directory / "utf8"
    try:
        if encoding == UTF8:
            for _ in _decoded(path, encoding):
                pass
            return path
        with copy.open("wb") as target:
            for at, text in enumerate(_decoded(path, encoding)):
                target.write((text if at else text.removeprefix("\ufeff")).encode())
    except Undecodable as error:
        raise undecodable(name, error) from error
    return copy


def undecodable(name: str, error: Undecodable) -> InvalidArgument:
    """The error for a file that is not in the encoding which its owner named."""
    return not_a_table(name, f"{error}; leave format.encoding out to have the encoding detected")


def guessed_encoding(path: Path, name: str) -> str:
    """The encoding that the beginning of a text file shows; `likely_encoding` if that is not UTF-8."""
    with path.open("rb") as file:
        head = file.read(SAMPLE_BYTES)
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if head[1::2].count(0) > len(head) // 4:
        return "utf-16-le"
    if head[0::2].count(0) > len(head) // 4:
        return "utf-16-be"
    try:
        codecs.utf_8_decode(head, "strict", len(head) < SAMPLE_BYTES)
    except UnicodeDecodeError:
        return likely_encoding(path, name)
    return UTF8


def likely_encoding(path: Path, name: str) -> str:
    """The likeliest encoding of a file that is not UTF-8, from all of its lines that tell.

    Raises:
        InvalidArgument: FILE_NOT_A_TABLE if it is text in no encoding.
    """
    found = from_bytes(_telling_lines(path), cp_isolation=_CANDIDATES)
    best = found.best()
    if best is None:
        raise not_a_table(name, "it is text in no encoding that is known; name it in format.encoding")
    equally_good = [match for match in found if match.chaos <= best.chaos + 0.02]
    # Short files often fit several tables of one byte a character; the most common one then wins.
    if any("cp1252" in match.could_be_from_charset for match in equally_good):
        return "windows-1252"
    return usual_name(best.encoding)


def sample_text(path: Path, encoding: str) -> str:
    """The first characters of a file; what can't be read stands as a question mark."""
    with path.open("rb") as file:
        head = file.read(SAMPLE_BYTES)
    return head.decode(encoding, "replace").removeprefix("\ufeff")


def _decoded(path: Path, encoding: str) -> Iterator[str]:
    """The text of a file, piece by piece. Raises Undecodable."""
    decoder = codecs.getincrementaldecoder(encoding)()
    done = 0
    with path.open("rb") as file:
        is_last = False
        while not is_last:
            chunk = file.read(CHUNK)
            is_last = not chunk
            try:
                yield decoder.decode(chunk, final=is_last)
            except UnicodeDecodeError as error:
                raise Undecodable(done + error.start, encoding) from error
            done += len(chunk)


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
