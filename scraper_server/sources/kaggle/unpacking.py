"""Takes the table out of the archive or compression that it came in, with limits on what really comes out."""

import gzip
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from scraper_server.sources.kaggle.tables import TABLE_ENDINGS, ending_of
from servicekit.errors import DataLoss, InvalidArgument, Reason, ResourceExhausted

CHUNK_BYTES = 1024 * 1024
# What zipfile, gzip and zlib raise at damaged bytes.
DAMAGED = (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError)


@dataclass(frozen=True)
class UnpackLimits:
    """Counted on bytes that come out, never on what the archive says of itself."""

    max_bytes: int
    max_ratio: int = 200
    """How many times its compressed size a file may have, once it is larger than `ratio_from_bytes`."""
    ratio_from_bytes: int = 64 * 1024 * 1024


def unpacked(file: Path, path: str, limits: UnpackLimits, check: Callable[[], None]) -> Path:
    """The table in `file`, which came for the file `path` of a data set: `file` itself if nothing wraps it.

    Unpacks `NAME.csv.zip` that came for `NAME.csv`, and the one table in a `.zip` or `.gz` that was asked for. The
    result lies beside `file`, which is removed, and has the table's ending. `check` is called between chunks and may
    raise.

    Raises:
        DataLoss: DOWNLOAD_CORRUPT, the archive is damaged.
        ResourceExhausted: LIMIT_EXCEEDED.
        InvalidArgument: FILE_NOT_A_TABLE, the archive holds no table, several, or encrypted ones.
    """
    wrapping = PurePosixPath(path).suffix.lower()
    try:
        if wrapping == ".gz":
            with gzip.open(file, "rb") as content:
                return _written(content, file, ending_of(path), path, limits, check)
        if not zipfile.is_zipfile(file):
            if wrapping == ".zip":
                raise _damaged(path)
            return file
        with zipfile.ZipFile(file) as archive:
            member = _member(archive, path)
            if member is None:
                return file
            with archive.open(member) as content:
                return _written(content, file, ending_of(member.filename), path, limits, check)
    except DAMAGED as error:
        raise _damaged(path) from error
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or a compression that zipfile does not know
        raise InvalidArgument(
            Reason.FILE_NOT_A_TABLE,
            f"the archive '{path}' is encrypted or compressed in a way that can't be read: {error}",
            field="kaggle.path",
        ) from error


def _member(archive: zipfile.ZipFile, path: str) -> zipfile.ZipInfo | None:
    """The member to take; None if the file only looks like an archive, as a spreadsheet does."""
    files = [info for info in archive.infolist() if not info.is_dir()]
    name = PurePosixPath(path).name
    if PurePosixPath(path).suffix.lower() != ".zip":
        return next((info for info in files if PurePosixPath(info.filename).name == name), None)
    tables = [
        info
        for info in files
        if PurePosixPath(info.filename).suffix.lower() in TABLE_ENDINGS and not info.filename.startswith("__MACOSX/")
    ]
    if len(tables) == 1:
        return tables[0]
    found = f"holds {len(tables)} tables" if tables else f"holds no table ({', '.join(sorted(TABLE_ENDINGS))})"
    raise InvalidArgument(
        Reason.FILE_NOT_A_TABLE,
        f"the archive '{path}' {found}, and one is needed: choose another file, or upload the table that you want",
        field="kaggle.path",
    )


def _written(
    content: IO[bytes] | gzip.GzipFile,
    file: Path,
    ending: str,
    path: str,
    limits: UnpackLimits,
    check: Callable[[], None],
) -> Path:
    target = file.with_name(f"table{ending}")
    compressed = max(file.stat().st_size, 1)
    written = 0
    with target.open("wb") as out:
        while chunk := content.read(CHUNK_BYTES):
            check()
            written += len(chunk)
            too_dense = written > limits.ratio_from_bytes and written > limits.max_ratio * compressed
            if written > limits.max_bytes or too_dense:
                limit = f"{limits.max_ratio} times its size" if too_dense else f"{limits.max_bytes} bytes"
                raise ResourceExhausted(
                    Reason.LIMIT_EXCEEDED, f"the archive '{path}' unpacks to more than {limit}, which is the limit"
                )
            out.write(chunk)
    file.unlink()
    return target


def _damaged(path: str) -> DataLoss:
    return DataLoss(
        Reason.DOWNLOAD_CORRUPT,
        f"the archive that came for '{path}' is damaged although it arrived as announced: "
        "the copy at the source is broken, choose another version or file",
    )
