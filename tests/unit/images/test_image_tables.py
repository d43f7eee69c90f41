"""Archives of images as tables."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from scraper_server.limits import ArchiveLimits, ImageLimits, Limits, TableLimits
from scraper_server.tables.formats import Compression, FileFormat, FormatKind, ImageOptions
from scraper_server.tables.images.decoding import THREADS
from scraper_server.tables.images.folders import placed
from scraper_server.tables.images.reader import ImageTable, open_images
from scraper_server.tables.reader import plain_schema
from scraper_server.tables.schema import Column, ColumnType, WarningKind
from servicekit.errors import FlareError, InvalidArgument, Reason
from servicekit.images.shape import ImageMode, ImageShape
from tests.unit.images.image_archives import packed, png

SMALL = ImageOptions(2, 2, ImageMode.GRAYSCALE)
LIMITS = Limits(image=ImageLimits(max_pixels=10_000))


class CommaTable:
    """A file of plain comma-separated texts."""

    warnings = ()
    format = FileFormat(FormatKind.DELIMITED, ",", "utf-8")

    def __init__(self, path: Path, name: str) -> None:
        self._lines = [line.split(",") for line in path.read_text().splitlines()]
        self.columns = tuple(Column(each, ColumnType.TEXT) for each in self._lines[0])

    def batches(self, done: object) -> Any:
        values = list(zip(*self._lines[1:], strict=True))
        arrays = [pa.array([cell or None for cell in column], pa.string()) for column in values]
        yield pa.RecordBatch.from_arrays(arrays, schema=plain_schema(self.columns))


def opened(
    tmp_path: Path,
    members: Mapping[str, bytes],
    options: ImageOptions | None = SMALL,
    limits: Limits = LIMITS,
    patterns: Sequence[str] = (),
    **wanted: Any,
) -> ImageTable | None:
    path = packed(tmp_path / "pets.zip", members)
    asked = FileFormat(images=options, **wanted)
    return open_images(path, "pets.zip", asked, patterns, limits, CommaTable, tmp_path)


def read(table: ImageTable | None) -> dict[str, list[Any]]:
    assert table is not None
    batches = list(table.batches(lambda done: None))
    assert all(batch.schema == plain_schema(table.columns) for batch in batches)
    return pa.Table.from_batches(batches).to_pydict()


def refusal(tmp_path: Path, members: Mapping[str, bytes], **asked: Any) -> FlareError:
    with pytest.raises(FlareError) as caught:
        read(opened(tmp_path, members, **asked))
    return caught.value


PETS = {
    "pets/dog/1.png": png(20, 8, 6),
    "pets/cat/2.PNG": png(10),
    "pets/cat/1.png": png(11),
    "pets/readme.txt": b"from the shelter",
    "__MACOSX/pets/cat/._1.png": b"a leftover",
}


def test_the_class_of_an_image_is_the_folder_that_holds_it(tmp_path: Path) -> None:
    table = opened(tmp_path, PETS)
    assert read(table) == {
        "image": [bytes([level]) * 4 for level in (11, 10, 20)],
        "label": ["cat", "cat", "dog"],
        "path": ["pets/cat/1.png", "pets/cat/2.PNG", "pets/dog/1.png"],
    }
    assert table is not None
    assert table.warnings == ()
    assert [column.type for column in table.columns] == [ColumnType.IMAGE, ColumnType.CATEGORICAL, ColumnType.TEXT]
    assert table.columns[0].image == ImageShape(2, 2, ImageMode.GRAYSCALE)
    assert table.format == FileFormat(FormatKind.IMAGES, compression=Compression.ZIP, images=SMALL)


def test_sizes_before_and_channels_after_resizing_are_known_at_the_end(tmp_path: Path) -> None:
    table = opened(tmp_path, {**PETS, "pets/cat/3.png": png(11)})
    read(table)
    assert table is not None
    known = table.columns[0].statistics
    assert known is not None
    assert known.image is not None
    assert (known.count, known.missing_count, known.distinct_count) == (4, 0, 3)
    image = known.image
    assert (image.minimum_height, image.maximum_height, image.minimum_width, image.maximum_width) == (4, 8, 4, 6)
    assert [(each.height, each.width, each.count) for each in image.most_frequent_sizes] == [(4, 4, 3), (8, 6, 1)]
    assert image.channel_means == pytest.approx((13.0,))
    assert image.channel_standard_deviations == pytest.approx((16.5**0.5,))


FOLDERS = {
    "train/cat/1.png": ("cat", "train"),
    "data/Training_Set/cat/1.png": ("cat", "train"),
    "seg_test/seg_test/forest/1.png": ("forest", "test"),
    "asl-alphabet-train/A/1.png": ("A", "train"),
    "val/x/y/1.png": ("y", "validation"),
    "valid/test_tube/1.png": (None, "validation"),
    "cat/1.png": ("cat", None),
    "trains/steam/1.png": ("steam", None),
    "contest/winner/1.png": ("winner", None),
    "test/1.png": (None, "test"),
    "1.png": (None, None),
}


@pytest.mark.parametrize("path", FOLDERS)
def test_folders_tell_class_and_part(path: str) -> None:
    found = placed([path, "other_train/dog/1.png", "1.png"])[0]
    assert (found.label, found.part) == FOLDERS[path]


def test_parts_become_a_column_and_a_root_that_is_called_like_one_does_not(tmp_path: Path) -> None:
    members = {f"{part}/{kind}/1.png": png() for part in ("train", "TEST", "val") for kind in ("a", "b")}
    got = read(opened(tmp_path, members))
    assert got["split"] == ["test", "test", "train", "train", "validation", "validation"]
    assert got["label"] == ["a", "b"] * 3
    assert list(read(opened(tmp_path, {"train/a/1.png": png(), "train/b/1.png": png()}))) == ["image", "label", "path"]


CSV = b"id,age,file\na,3,x/1.png\nb,,2.png\nc,5,\nd,6,3\n"
LISTED = {"set/x/1.png": png(1), "set/y/1.png": png(2), "set/y/2.png": png(3), "set/3.jpg": png(4), "set/pets.csv": CSV}


def test_a_table_of_paths_keeps_its_columns_and_its_order(tmp_path: Path) -> None:
    table = opened(tmp_path, LISTED)
    assert read(table) == {
        "image": [b"\x01" * 4, b"\x03" * 4, None, b"\x04" * 4],
        "id": ["a", "b", "c", "d"],
        "age": ["3", None, "5", "6"],
        "file": ["x/1.png", "2.png", None, "3"],
    }
    assert table is not None
    assert table.format.member == "set/pets.csv"
    assert table.format.kind is FormatKind.IMAGES
    assert table.format.images == replace(SMALL, path_column="file")
    assert table.columns[0].statistics is not None
    assert table.columns[0].statistics.missing_count == 1


def test_paths_that_no_file_or_several_have_are_broken_images(tmp_path: Path) -> None:
    csv = b"file\n1.png\n2.png\n9.png\nx/1.png\nset/y/1.png\n"
    table = opened(tmp_path, {**LISTED, "set/pets.csv": csv}, replace(SMALL, max_broken_share=0.5))
    assert read(table)["file"] == ["2.png", "x/1.png", "set/y/1.png"]
    assert table is not None
    (warning,) = table.warnings
    assert (warning.kind, warning.count) == (WarningKind.IMAGES_BROKEN, 2)
    assert [(each.row, each.value) for each in warning.examples] == [
        (0, "1.png: several files could be meant: 'set/x/1.png', 'set/y/1.png'"),
        (2, "9.png: the archive has no such file"),
    ]


def test_a_path_below_the_folder_of_the_table_is_meant_before_others(tmp_path: Path) -> None:
    members = {"a/1.png": png(1), "a/b/1.png": png(2), "a/t.csv": b"file\n1.png\nb/1.png\n"}
    assert read(opened(tmp_path, members))["image"] == [b"\x01" * 4, b"\x02" * 4]


def test_the_column_of_paths_makes_room_for_the_images(tmp_path: Path) -> None:
    table = opened(tmp_path, {"1.png": png(1), "t.csv": b"image,path\n1.png,far\n"})
    assert read(table) == {"image": [b"\x01" * 4], "path_2": ["1.png"], "path": ["far"]}
    assert table is not None
    assert [warning.kind for warning in table.warnings] == [WarningKind.COLUMN_RENAMED]
    table = opened(tmp_path, {"1.png": png(1), "t.csv": b"file,image\n1.png,nice\n"})
    assert read(table) == {"image_2": [b"\x01" * 4], "file": ["1.png"], "image": ["nice"]}


def test_a_table_that_names_no_image_is_none_of_them(tmp_path: Path) -> None:
    got = read(opened(tmp_path, {**PETS, "prices.csv": b"pet,price\nrex,3\n"}))
    assert got["label"] == ["cat", "cat", "dog"]


def test_a_table_that_can_not_be_read_counts_where_folders_are_no_classes(tmp_path: Path) -> None:
    ragged = {"prices.csv": b"pet,price\nrex\n"}

    def open_ragged(path: Path, name: str) -> CommaTable:
        raise InvalidArgument(Reason.FILE_NOT_A_TABLE, f"{name} is ragged")

    path = packed(tmp_path / "pets.zip", {**PETS, **ragged})
    assert read(open_images(path, "pets.zip", FileFormat(), (), LIMITS, open_ragged, tmp_path))["label"][0] == "cat"
    path = packed(tmp_path / "pets.zip", {"all/1.png": png(), "all/2.png": png(), **ragged})
    with pytest.raises(InvalidArgument, match=r"prices\.csv is ragged"):
        open_images(path, "pets.zip", FileFormat(), (), LIMITS, open_ragged, tmp_path)


def test_many_small_tables_are_no_lists_of_images(tmp_path: Path) -> None:
    members = {f"{kind}/{number}.png": png() for kind in "ab" for number in range(30)}
    notes = {f"notes/{number}.csv": f"file\n{number}.png\n".encode() for number in range(21)}
    assert read(opened(tmp_path, {**members, **notes}))["label"] == ["a"] * 30 + ["b"] * 30


def test_of_several_tables_one_is_chosen_by_name(tmp_path: Path) -> None:
    members = {"a/1.png": png(), "a/2.png": png(), "one.csv": b"file\n1.png\n", "two.csv": b"file,sex\n2.png,f\n"}
    message = "several of its tables name images: 'one.csv', 'two.csv'; say which in format.member"
    assert message in refusal(tmp_path, members).message
    assert read(opened(tmp_path, members, member="two.csv"))["sex"] == ["f"]
    # Folders that are classes are less doubtful than two tables.
    assert read(opened(tmp_path, {**members, "b/3.png": png()}))["label"] == ["a", "a", "b"]


BROKEN = {
    "cat/1.png": png(),
    "cat/2.png": png()[:40],
    "dog/3.png": b"<html>not found</html>",
    "dog/4.png": png(0, 200, 200),
    "dog/5.png": png(),
}


def test_broken_images_are_listed_with_why_and_left_out(tmp_path: Path) -> None:
    table = opened(tmp_path, BROKEN, replace(SMALL, max_broken_share=0.6))
    assert read(table)["path"] == ["cat/1.png", "dog/5.png"]
    assert table is not None
    (warning,) = table.warnings
    assert warning.kind is WarningKind.IMAGES_BROKEN
    assert warning.count == 3
    assert [example.value for example in warning.examples] == [
        "cat/2.png: it is no image of a known format, such as PNG or JPEG",
        "dog/3.png: it is no image of a known format, such as PNG or JPEG",
        "dog/4.png: 200 x 200 pixels are more than the 10000 that this server takes (IMAGE_TOO_LARGE)",
    ]
    assert "3 of 5 images are broken and were left out, first cat/2.png" in warning.message


def test_the_warning_shows_twenty_and_counts_all(tmp_path: Path) -> None:
    members = {f"a/{number:03}.png": png() if number % 2 else b"" for number in range(60)}
    table = opened(tmp_path, members, replace(SMALL, max_broken_share=0.5))
    assert len(read(table)["path"]) == 30
    assert table is not None
    assert (table.warnings[0].count, len(table.warnings[0].examples)) == (30, 20)


def test_more_broken_images_than_allowed_refuse_the_archive(tmp_path: Path) -> None:
    error = refusal(tmp_path, BROKEN)
    assert isinstance(error, InvalidArgument)
    assert error.reason is Reason.IMAGES_BROKEN
    assert "at least 1 of 5 images are broken, more than the share of 0.05" in error.message
    assert "'cat/2.png: it is no image" in error.message


def test_an_archive_without_any_whole_image_is_refused_whatever_is_allowed(tmp_path: Path) -> None:
    error = refusal(tmp_path, {"a/1.png": b"x", "b/2.png": b"y"}, options=replace(SMALL, max_broken_share=1.0))
    assert error.reason is Reason.IMAGES_BROKEN
    assert "none of its 2 images can be read" in error.message


def test_a_member_whose_bytes_are_damaged_is_a_broken_image(tmp_path: Path) -> None:
    path = packed(tmp_path / "pets.zip", {"a/1.png": png(1), "b/2.png": png(2)})
    data = bytearray(path.read_bytes())
    data[data.index(png(2)) + 20] ^= 0xFF  # the checksum of the member is off now
    path.write_bytes(data)
    asked = FileFormat(images=replace(SMALL, max_broken_share=0.5))
    table = open_images(path, "pets.zip", asked, (), LIMITS, CommaTable, tmp_path)
    assert read(table)["path"] == ["a/1.png"]
    assert table is not None
    assert "damaged" in table.warnings[0].examples[0].value


REFUSED: dict[str, tuple[dict[str, bytes], dict[str, Any], Reason, str]] = {
    "no image": (
        {"a.txt": b"x", "b.csv": b"y"},
        {"kind": FormatKind.IMAGES},
        Reason.FILE_EMPTY,
        "it holds no image: it has 'a.txt', 'b.csv'",
    ),
    "no match": (
        {"a/1.png": png(), "t.csv": b"file,age\nzebra.png,3\n"},
        {"options": replace(SMALL, path_column="file")},
        Reason.FILE_NOT_A_TABLE,
        "column 'file' of its table 't.csv' names no images: it holds 'zebra.png', and the images are called like "
        "'a/1.png'",
    ),
    "no such column": (
        {"a/1.png": png(), "t.csv": b"file,age\n1.png,3\n"},
        {"options": replace(SMALL, path_column="files")},
        Reason.COLUMN_NOT_FOUND,
        "has a column 'files': 't.csv' has 'file', 'age'",
    ),
    "no column at all": (
        {"a/1.png": png(), "t.csv": b"file,age\nzebra.png,3\n"},
        {"member": "t.csv"},
        Reason.FILE_NOT_A_TABLE,
        "no column of its table 't.csv' names the images: it holds 'zebra.png', '3'",
    ),
    "no such table": (
        {"a/1.png": png()},
        {"member": "t.csv"},
        Reason.FILE_PART_NOT_FOUND,
        "has no file 't.csv'",
    ),
    "large images": (
        {"a/1.png": png()},
        {"options": ImageOptions(4096, 4096)},
        Reason.CELL_TOO_LARGE,
        "asks for 4096x4096 rgb, 50331648 bytes an image",
    ),
    "leaves its folder": ({"../1.png": png()}, {}, Reason.ARCHIVE_UNSAFE, "leaves its folder"),
    "too many entries": (
        {f"a/{number}.png": png() for number in range(4)},
        {"limits": Limits(archive=ArchiveLimits(max_entries=3))},
        Reason.TOO_MANY_ARCHIVE_ENTRIES,
        "more than 3 entries",
    ),
    "unpacks to too much": (
        {f"a/{number}.png": png() for number in range(4)},
        {"limits": Limits(archive=ArchiveLimits(max_bytes=200))},
        Reason.ARCHIVE_TOO_LARGE,
        "unpacks to more than 200 bytes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_a_table_of_images_is_refused_with_its_place(tmp_path: Path, case: str) -> None:
    members, asked, reason, message = REFUSED[case]
    error = refusal(tmp_path, members, **asked)
    assert error.reason is reason
    assert message in error.message


def test_what_holds_mostly_other_files_is_images_only_if_asked(tmp_path: Path) -> None:
    members = {"a/1.png": png(), "b.txt": b"x", "c.csv": b"y,z\n7,8\n"}
    assert opened(tmp_path, members, None) is None
    assert opened(tmp_path, {"1.png": png()}, kind=FormatKind.DELIMITED) is None
    assert read(opened(tmp_path, members, SMALL))["label"] == ["a"]
    assert read(opened(tmp_path, members, kind=FormatKind.IMAGES))["label"] == ["a"]
    document = {"xl/media/1.png": png(), "xl/media/2.png": png(), "[Content_Types].xml": b"<Types/>"}
    assert opened(tmp_path, document, None) is None
    assert opened(tmp_path, LISTED, None, member="set/pets.csv") is None  # the table alone


def test_only_members_that_were_asked_for_are_read(tmp_path: Path) -> None:
    assert read(opened(tmp_path, PETS, patterns=["pets/dog/**"]))["label"] == ["dog"]


def test_images_asked_for_of_a_file_that_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    path.write_bytes(png())
    with pytest.raises(InvalidArgument, match="which come in a ZIP archive, and it is none"):
        open_images(path, "one.png", FileFormat(FormatKind.IMAGES), (), LIMITS, CommaTable, tmp_path)
    assert open_images(path, "one.png", FileFormat(), (), LIMITS, CommaTable, tmp_path) is None


def test_order_and_content_do_not_hang_on_how_the_archive_was_packed(tmp_path: Path) -> None:
    members = {f"{number % 3}/{number:03}.png": png(number) for number in range(20 * THREADS)}
    first = read(opened(tmp_path, members))
    assert first["path"] == sorted(members)
    assert [image[0] for image in first["image"]] == [int(path[2:5]) % 256 for path in first["path"]]
    assert read(opened(tmp_path, dict(reversed(members.items())))) == first


def test_progress_is_told_in_bytes_of_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scraper_server.tables.images.reader.BATCH_ROWS", 2)
    table = opened(tmp_path, {f"a/{number}.png": png(number) for number in range(5)})
    assert table is not None
    told: list[int] = []
    sizes = [len(batch) for batch in table.batches(told.append)]
    with zipfile.ZipFile(tmp_path / "pets.zip") as archive:
        packed_sizes = [info.compress_size for info in archive.infolist()]
    assert sizes == [2, 2, 1]
    assert told == [sum(packed_sizes[:2]), sum(packed_sizes[:4])]


def test_a_wide_table_of_paths_has_its_limits_too(tmp_path: Path) -> None:
    limits = Limits(table=TableLimits(max_cell_bytes=3))
    assert refusal(tmp_path, {"a/1.png": png()}, limits=limits).reason is Reason.CELL_TOO_LARGE
