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
            part.verify("file 't.csv'", nothing)
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
