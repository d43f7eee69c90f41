"""The table is taken out of what it came in, whoever wrapped it."""

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from scraper_server.limits import ArchiveLimits
from scraper_server.tables.formats import Compression
from scraper_server.tables.unwrapping import Unwrapped, unwrapped
from servicekit.errors import FlareError, InvalidArgument, Reason
from tests.unit.scraper.archive_files import Entry, zip_bytes
from tests.unit.scraper.workbook_files import ods, xlsx

TABLE = b"a,b\n1,2\n"
WORKBOOK = xlsx({"One": [["a"], [1]]})
Unwrap = Callable[..., Unwrapped]


@pytest.fixture
def unwrap(tmp_path: Path) -> Unwrap:
    def run(content: bytes, name: str, member: str = "", patterns: tuple[str, ...] = ()) -> Unwrapped:
        source = tmp_path / "source"
        source.write_bytes(content)
        (tmp_path / "out").mkdir()
        return unwrapped(source, name, member, patterns, ArchiveLimits(), tmp_path / "out", lambda _: None)

    return run


def packed(*names: str, content: bytes = TABLE) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        for name in names:
            out.writestr(name, content)
    return buffer.getvalue()


def zstd(content: bytes) -> bytes:
    found: bytes = pa.compress(content, "zstd", asbytes=True)
    return found


def refused(call: Callable[[], object]) -> FlareError:
    with pytest.raises(InvalidArgument) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("content", "name", "expected_name", "compression", "member"),
    [
        (TABLE, "t.csv", "t.csv", Compression.NONE, ""),
        (gzip.compress(TABLE), "t.csv.gz", "t.csv", Compression.GZIP, ""),
        (gzip.compress(TABLE), "t.csv", "t.csv", Compression.GZIP, ""),
        (zstd(TABLE), "t.csv.zst", "t.csv", Compression.ZSTD, ""),
        (packed("t.csv"), "folder/t.csv", "t.csv", Compression.ZIP, "t.csv"),
        (packed("t.csv", "other.csv"), "folder/t.csv", "t.csv", Compression.ZIP, "t.csv"),
        (packed("x/t.csv", "other.csv"), "t.csv.zip", "x/t.csv", Compression.ZIP, "x/t.csv"),
        (packed("readme.md", "t.csv", "dataset-metadata.json"), "data.zip", "t.csv", Compression.ZIP, "t.csv"),
        (packed("readme.txt", "t.csv"), "data.zip", "t.csv", Compression.ZIP, "t.csv"),
        (packed("adult.data", "x.names"), "adult.zip", "adult.data", Compression.ZIP, "adult.data"),
        (packed("table"), "data.zip", "table", Compression.ZIP, "table"),
        (packed("t.csv.gz", content=gzip.compress(TABLE)), "data.zip", "t.csv", Compression.ZIP, "t.csv.gz"),
    ],
)
def test_the_table_is_found(
    unwrap: Unwrap, content: bytes, name: str, expected_name: str, compression: Compression, member: str
) -> None:
    found = unwrap(content, name)
    assert found.path.read_bytes() == TABLE
    assert (found.name, found.compression, found.member) == (expected_name, compression, member)


def test_only_what_is_wanted_is_written_under_a_name_of_ours(unwrap: Unwrap, tmp_path: Path) -> None:
    found = unwrap(packed("deep/evil name.csv", "b.csv", "c.csv"), "data.zip", member="deep/evil name.csv")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [found.path.name] == ["member.csv"]


def test_patterns_narrow_the_choice(unwrap: Unwrap) -> None:
    found = unwrap(packed("train/a.csv", "test/a.csv", "train/readme.md"), "data.zip", patterns=("train/**",))
    assert found.member == "train/a.csv"


@pytest.mark.parametrize("content", [WORKBOOK, ods({"One": [["a"], [1]]})])
@pytest.mark.parametrize(
    ("wrap", "name"),
    [
        (lambda book: book, "book.xlsx"),
        (lambda book: packed("book.xlsx", content=book), "book.xlsx"),
        (lambda book: packed("book.xlsx", content=book), "data.zip"),
        (gzip.compress, "book.xlsx.gz"),
    ],
)
def test_a_workbook_is_no_archive_but_may_be_in_one(
    unwrap: Unwrap, content: bytes, wrap: Callable[[bytes], bytes], name: str
) -> None:
    assert unwrap(wrap(content), name).path.read_bytes() == content


@pytest.mark.parametrize(
    ("content", "name", "more", "reason", "text"),
    [
        (
            packed("a.csv", "b.csv"),
            "d.zip",
            {},
            Reason.INVALID_FIELD,
            "2 tables, so name one in format.member: 'a.csv'",
        ),
        (packed("a.txt", "b.txt"), "d.zip", {}, Reason.INVALID_FIELD, "'a.txt', 'b.txt'"),
        (packed("a.md", "b.md"), "d.zip", {}, Reason.FILE_NOT_A_TABLE, "it has 'a.md', 'b.md'"),
        (packed(), "d.zip", {}, Reason.FILE_NOT_A_TABLE, "it has no files"),
        (packed("a.csv"), "d.zip", {"member": "b.csv"}, Reason.FILE_PART_NOT_FOUND, "it has 'a.csv'"),
        (packed("a.csv"), "d.zip", {"patterns": ("x/*",)}, Reason.FILE_PART_NOT_FOUND, "no file that fits 'x/*'"),
        (packed("a.csv", "b.csv"), "d.zip", {"patterns": ("*",)}, Reason.INVALID_FIELD, "2 tables"),
        (TABLE, "t.csv", {"member": "a.csv"}, Reason.FILE_PART_NOT_FOUND, "'t.csv' is no archive"),
        (WORKBOOK, "t.xlsx", {"member": "a.csv"}, Reason.FILE_PART_NOT_FOUND, "'t.xlsx' is no archive"),
        (gzip.compress(TABLE), "t.gz", {"patterns": ("*",)}, Reason.FILE_PART_NOT_FOUND, "is no archive"),
        (packed("in.zip", content=packed("a.csv")), "d.zip", {}, Reason.FILE_NOT_A_TABLE, "another zip file"),
        (gzip.compress(gzip.compress(TABLE)), "t.gz", {}, Reason.FILE_NOT_A_TABLE, "another gzip file"),
        (gzip.compress(packed("a.csv")), "t.gz", {}, Reason.FILE_NOT_A_TABLE, "another zip file"),
        (packed("a.csv")[:-30], "d.zip", {}, Reason.FILE_NOT_A_TABLE, "its end is missing"),
        (zip_bytes([Entry(b"../a.csv", TABLE)]), "d.zip", {}, Reason.ARCHIVE_UNSAFE, "leaves its folder"),
    ],
)
def test_what_can_not_be_unwrapped_is_told(
    unwrap: Unwrap, content: bytes, name: str, more: dict[str, object], reason: Reason, text: str
) -> None:
    error = refused(lambda: unwrap(content, name, **more))
    assert error.reason is reason
    assert text in error.message
