import io
import struct
import zipfile
from pathlib import Path

import pytest

from scraper_server.sources.kaggle.retries import Stop, Stopped
from scraper_server.sources.kaggle.unpacking import UnpackLimits, unpacked
from servicekit.errors import DataLoss, InvalidArgument, Reason, ResourceExhausted

LIMITS = UnpackLimits(max_bytes=1_000_000, max_ratio=50, ratio_from_bytes=10_000)


def nothing() -> None:
    pass


def archive(directory: Path, *members: tuple[str, bytes]) -> Path:
    file = directory / "whole"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members:
            out.writestr(name, content)
    return file


def test_what_nothing_wraps_stays(tmp_path: Path) -> None:
    file = tmp_path / "whole.csv"
    file.write_bytes(b"a,b\n1,2\n")
    assert unpacked(file, "x/a.csv", LIMITS, nothing) == file


def test_an_archive_in_place_of_a_table_gives_only_that_member(tmp_path: Path) -> None:
    file = archive(tmp_path, ("../../evil.csv", b"x"), ("a.csv", b"a\n1\n"), ("/etc/other.csv", b"y"))
    table = unpacked(file, "x/a.csv", LIMITS, nothing)
    assert table.read_bytes() == b"a\n1\n"
    assert list(tmp_path.iterdir()) == [table]


def test_an_archive_that_does_not_hold_the_table_stays(tmp_path: Path) -> None:
    file = archive(tmp_path, ("xl/workbook.xml", b"<workbook/>"))
    assert unpacked(file, "x/a.xlsx", LIMITS, nothing) == file


def test_a_member_that_leads_outside_is_written_inside(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    table = unpacked(archive(inside, ("../../escaped.csv", b"a\n1\n")), "a.csv.zip", LIMITS, nothing)
    assert table.parent == inside
    assert list(tmp_path.iterdir()) == [inside]


@pytest.mark.parametrize("content", [b"0" * 1_000_001, b"0" * 400_000])
def test_limits_hold_for_size_and_ratio(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ResourceExhausted) as caught:
        unpacked(archive(tmp_path, ("a.csv", content)), "a.csv", LIMITS, nothing)
    assert caught.value.reason == Reason.LIMIT_EXCEEDED


def test_a_member_that_understates_its_size_is_damaged(tmp_path: Path) -> None:
    file = archive(tmp_path, ("a.csv", b"0123456789" * 500))
    content = file.read_bytes().replace(struct.pack("<I", 5000), struct.pack("<I", 10))
    file.write_bytes(content)
    with pytest.raises(DataLoss) as caught:
        unpacked(file, "a.csv", LIMITS, nothing)
    assert caught.value.reason == Reason.DOWNLOAD_CORRUPT


def test_an_encrypted_member_is_no_table(tmp_path: Path) -> None:
    file = archive(tmp_path, ("a.csv", b"a\n1\n"))
    content = bytearray(file.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    file.write_bytes(content)
    with pytest.raises(InvalidArgument, match="encrypted") as caught:
        unpacked(file, "a.csv", LIMITS, nothing)
    assert caught.value.reason == Reason.FILE_NOT_A_TABLE


def test_unpacking_can_be_ended(tmp_path: Path) -> None:
    stop = Stop()
    stop.request()
    with pytest.raises(Stopped):
        unpacked(archive(tmp_path, ("a.csv", b"a\n1\n")), "a.csv", LIMITS, stop.check)


def test_a_folder_in_an_archive_is_not_taken_for_a_table(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        out.writestr("a.csv/", b"")
        out.writestr("a.csv/part.csv", b"a\n1\n")
    file = tmp_path / "whole"
    file.write_bytes(buffer.getvalue())
    assert unpacked(file, "a.csv.zip", LIMITS, nothing).read_bytes() == b"a\n1\n"
