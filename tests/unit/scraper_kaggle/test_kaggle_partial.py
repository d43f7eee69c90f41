import hashlib
import io
import zipfile
from base64 import b64encode
from pathlib import Path

import pytest

from scraper_server.sources.kaggle.partial import Announced, Partial
from servicekit.errors import DataLoss, Reason


def nothing() -> None:
    pass


@pytest.mark.parametrize("content", [b"0123", b"0123456789"])
def test_too_few_and_too_many_bytes_are_corrupt(tmp_path: Path, content: bytes) -> None:
    with Partial(tmp_path, "a/b/1/t.csv") as part:
        part.start(Announced("", 7, ""))
        part.append(content)
        with pytest.raises(DataLoss, match=f"{len(content)} bytes arrived where 7 were announced") as caught:
            part.verify("file 't.csv'", 0, nothing)
    assert caught.value.reason == Reason.DOWNLOAD_CORRUPT


def test_a_part_is_gone_on_with_for_the_same_file_only(tmp_path: Path) -> None:
    announced = Announced('"etag"', 7, "")
    with Partial(tmp_path, "a/b/1/t.csv") as part:
        part.start(announced)
        part.append(b"0123")
    with Partial(tmp_path, "a/b/1/t.csv") as part:
        assert (part.announced, part.size) == (announced, 4)
    with Partial(tmp_path, "a/b/2/t.csv") as part:
        assert (part.announced, part.size) == (None, 0)


@pytest.mark.parametrize("notes", ["", "[]", "{", '{"identity": "a/b/1/t.csv"}', '{"identity": "a/b/1/t.csv", "x": 1}'])
def test_notes_that_make_no_sense_start_anew(tmp_path: Path, notes: str) -> None:
    (tmp_path / "part").write_bytes(b"0123")
    (tmp_path / "part.json").write_text(notes)
    with Partial(tmp_path, "a/b/1/t.csv") as part:
        assert (part.announced, part.size) == (None, 0)
    assert (tmp_path / "part").read_bytes() == b""


@pytest.mark.parametrize("resumed_at", [0, 4, 10])
def test_the_checksum_is_that_of_all_bytes_also_of_those_of_an_earlier_attempt(tmp_path: Path, resumed_at: int) -> None:
    content = b"0123456789"
    md5 = b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
    for first, damage in ((content, False), (b"x" + content[1:], resumed_at > 0)):
        with Partial(tmp_path, "a/b/1/t.csv") as part:
            part.start(Announced('"etag"', 10, md5))
            part.append(first[:resumed_at])
        with Partial(tmp_path, "a/b/1/t.csv") as part:
            part.append(content[resumed_at:])
            if damage:
                with pytest.raises(DataLoss, match="its md5 is"):
                    part.verify("file 't.csv'", 0, nothing)
            else:
                part.verify("file 't.csv'", 0, nothing)


def test_without_a_checksum_something_has_to_say_where_the_end_is(tmp_path: Path) -> None:
    def outcome(announced: Announced, listed_bytes: int, content: bytes = b"0123") -> str:
        with Partial(tmp_path, "a/b/1/t.csv") as part:
            part.start(announced)
            part.append(content)
            try:
                part.verify("file 't.csv'", listed_bytes, nothing)
            except DataLoss as error:
                return error.message.split("twice: ")[1]
        return ""

    assert outcome(Announced("", 4, ""), 0) == ""
    assert outcome(Announced("", 0, "", has_end_mark=True), 0) == ""
    assert outcome(Announced("", 0, ""), 4) == ""
    assert "nothing says whether the 4 bytes" in outcome(Announced("", 0, ""), 0)
    assert "4 bytes arrived where 9 are listed" in outcome(Announced("", 4, ""), 9)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("t.csv", b"a" * 1000)
    assert outcome(Announced("", 0, ""), 1000, archive.getvalue()) == "", "listed is what it unpacks to"
    assert "are listed" in outcome(Announced("", 0, ""), 1000, archive.getvalue()[:-5])


def test_two_at_once_do_not_write_one_part(tmp_path: Path) -> None:
    with Partial(tmp_path, "a/b/1/t.csv") as part:
        part.start(Announced('"etag"', 7, ""))
        part.append(b"0123")
        with pytest.raises(BlockingIOError):
            Partial(tmp_path, "a/b/1/t.csv")
    with Partial(tmp_path, "a/b/1/t.csv") as part:
        assert part.size == 4
