"""Tables in files: what an upload sends, and what a prediction reads."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import grpc

from flare_client.errors import FlareError
from flare_client.tables.columns import Rows

if TYPE_CHECKING:
    import pandas as pd

CHUNK_BYTES = 1 << 20


class Content:
    """Bytes to send, and what a header says of them."""

    def __init__(self, file_name: str, size_bytes: int, sha256: str, source: Path | bytes) -> None:
        self.file_name = file_name
        self.size_bytes = size_bytes
        self.sha256 = sha256
        self._source = source

    def chunks(self, begin: int = 0) -> Iterator[bytes]:
        """The bytes from a position on, in pieces of at most 1 MiB."""
        with self._open() as file:
            file.seek(begin)
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def _open(self) -> IO[bytes]:
        return io.BytesIO(self._source) if isinstance(self._source, bytes) else self._source.open("rb")


def file_content(path: Path) -> Content:
    """The bytes of a file. Raises OSError if it can't be read."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size_bytes = file.tell()
    return Content(path.name, size_bytes, digest, path)


def bytes_content(file_name: str, content: bytes) -> Content:
    """The given bytes."""
    return Content(file_name, len(content), hashlib.sha256(content).hexdigest(), content)


def frame_content(file_name: str, frame: pd.DataFrame) -> Content:
    """The frame without its index, as Parquet, which keeps the types of its columns."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, engine="pyarrow")
    return bytes_content(f"{file_name}.parquet", buffer.getvalue())


def read_rows(path: Path) -> Rows:
    """The rows of a CSV, TSV, Parquet or JSON file; JSON holds a list of objects, or an object of lists.

    Raises:
        FlareError: The file is none of these.
        OSError: It can't be read.
    """
    import pandas as pd

    suffix = path.suffix.lower()
    try:
        if suffix == ".json":
            return _json_rows(json.loads(path.read_text()))
        if suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, sep="\t" if suffix == ".tsv" else ",")
    except ValueError as error:  # of json, pandas and pyarrow alike
        raise FlareError(
            grpc.StatusCode.INVALID_ARGUMENT,
            "FILE_NOT_A_TABLE",
            f"{path} can't be read as a table ({error}): give a .csv, .tsv, .parquet or .json file",
        ) from error


def _json_rows(value: Any) -> Rows:
    if isinstance(value, list) and all(isinstance(row, dict) for row in value):
        return value
    if isinstance(value, dict):
        if all(isinstance(column, list) for column in value.values()):
            return value
        return [value]
    raise ValueError("it holds neither a list of objects nor an object of lists")
