"""Files of every format through a running server: what was found is told, and what can't be taken is refused."""

import gzip
import io
import sqlite3
import zipfile
from pathlib import Path

import grpc
import pandas as pd
import pyarrow as pa
import pytest
from flare.scraper.v1 import dataset_pb2

from tests.server.scraper.scraper_calls import Caller, Refusal, Server, files_below
from tests.unit.scraper.archive_files import Entry, zip_bytes
from tests.unit.scraper.workbook_files import WORKBOOKS

pytestmark = pytest.mark.asyncio(loop_scope="session")
FRAME = pd.DataFrame({"n": [1, 2, 3], "x": [0.5, None, 2.5], "s": ["a", "b", "c, d"]})
CSV = FRAME.to_csv(index=False).encode()
Format = dataset_pb2.FileFormat


def parquet() -> bytes:
    buffer = io.BytesIO()
    FRAME.to_parquet(buffer)
    return buffer.getvalue()


def packed(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, CSV)
    return buffer.getvalue()


def database(folder: Path, *tables: str) -> bytes:
    path = folder / "made.db"
    connection = sqlite3.connect(path)
    for table in tables:
        FRAME.to_sql(table, connection, index=False)
    connection.close()
    return path.read_bytes()


async def test_a_file_of_each_format_becomes_the_same_data_set(ann: Caller, tmp_path: Path) -> None:
    cells = FRAME.astype(object).where(FRAME.notna(), None).to_numpy().tolist()
    sheets = {"Notes": [], "Data": [["n", "x", "s"], *cells]}
    nothing, text = dataset_pb2.COMPRESSION_NONE, {"delimiter": ",", "encoding": "utf-8"}
    files = {
        "t.csv": (CSV, Format(kind=Format.KIND_DELIMITED, compression=nothing)),
        "t.csv.gz": (gzip.compress(CSV), Format(kind=Format.KIND_DELIMITED, compression=dataset_pb2.COMPRESSION_GZIP)),
        "t.csv.zst": (
            pa.compress(CSV, "zstd", asbytes=True),
            Format(kind=Format.KIND_DELIMITED, compression=dataset_pb2.COMPRESSION_ZSTD),
        ),
        "t.zip": (
            packed("x/t.csv", "readme.md"),
            Format(kind=Format.KIND_DELIMITED, compression=dataset_pb2.COMPRESSION_ZIP, member="x/t.csv"),
        ),
        "t.parquet": (parquet(), Format(kind=Format.KIND_PARQUET, compression=nothing)),
        "t.json": (
            FRAME.to_json(orient="records").encode(),
            Format(kind=Format.KIND_JSON, compression=nothing, encoding="utf-8"),
        ),
        "t.jsonl": (
            FRAME.to_json(orient="records", lines=True).encode(),
            Format(kind=Format.KIND_JSON_LINES, compression=nothing, encoding="utf-8"),
        ),
        "t.sqlite": (database(tmp_path, "only"), Format(kind=Format.KIND_SQLITE, compression=nothing, table="only")),
        **{
            f"t.{ending}": (make(sheets), Format(kind=Format.KIND_EXCEL, compression=nothing, sheet="Data"))
            for ending, make in WORKBOOKS.items()
        },
    }
    digests = set()
    for name, (content, expected) in files.items():
        dataset = await ann.upload(content, file_name=name)
        digests.add(dataset.digest)
        if expected.kind == Format.KIND_DELIMITED:
            assert (dataset.format.delimiter, dataset.format.encoding) == tuple(text.values())
            expected.MergeFrom(dataset.format)
        assert dataset.format == expected, name
    assert len(digests) == 1


async def test_the_part_that_is_named_is_taken(ann: Caller, tmp_path: Path) -> None:
    archive = packed("a.csv", "b.csv")
    dataset = await ann.upload(archive, file_name="d.zip", format=Format(member="b.csv"))
    assert (dataset.format.member, dataset.row_count) == ("b.csv", 3)
    tables = database(tmp_path, "a", "b")
    dataset = await ann.upload(tables, file_name="d.db", format=Format(table="b"))
    assert (dataset.format.table, dataset.row_count) == ("b", 3)


@pytest.mark.parametrize(
    ("content", "wanted", "reason", "text"),
    [
        (packed("a.csv", "b.csv"), Format(), "INVALID_FIELD", "name one in format.member: 'a.csv', 'b.csv'"),
        (packed("a.csv"), Format(member="c.csv"), "FILE_PART_NOT_FOUND", "has no file 'c.csv'; it has 'a.csv'"),
        (zip_bytes([Entry(b"../../evil.csv", CSV)]), Format(), "ARCHIVE_UNSAFE", "'../../evil.csv' leaves its folder"),
        (zip_bytes([Entry(b"a.csv", CSV, flags=1)]), Format(), "ARCHIVE_UNSAFE", "is encrypted"),
        (packed("a.csv")[:-60], Format(), "FILE_NOT_A_TABLE", "can't be unpacked"),
        (gzip.compress(CSV)[:-3], Format(), "FILE_NOT_A_TABLE", "damaged or not whole"),
        (b'{"a": 1}\n{"a": \n', Format(), "FILE_NOT_A_TABLE", "line 2 is not a JSON object"),
        (CSV, Format(kind=Format.KIND_PARQUET), "FILE_NOT_A_TABLE", "it is delimited text, not Parquet"),
    ],
)
async def test_what_can_not_be_taken_is_refused_and_leaves_nothing(
    scraper: Server, ann: Caller, content: bytes, wanted: Format, reason: str, text: str
) -> None:
    before = files_below(scraper.directory)
    refusal: Refusal = await ann.upload_refused(content, file_name="d.bin", format=wanted)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert text in refusal.text
    assert files_below(scraper.directory) == before


async def test_a_bomb_is_refused_and_leaves_nothing(scraper: Server, ann: Caller) -> None:
    before = files_below(scraper.directory)
    bomb = gzip.compress(b"0" * (65 << 20))
    refusal = await ann.upload_refused(bomb, file_name="bomb.csv.gz")
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "ARCHIVE_TOO_DENSE")
    assert files_below(scraper.directory) == before
