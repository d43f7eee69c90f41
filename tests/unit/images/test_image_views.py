"""Tables with images: stored, shown, and made ready for learning."""

from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from scraper_server.datasets.preview import preview_table
from scraper_server.limits import Limits
from scraper_server.tables.conversion import TABLE_FILE, ConvertedTable, convert
from scraper_server.tables.formats import FileFormat, ImageOptions
from scraper_server.tables.schema import ColumnType
from scraper_server.views.making import make_view, part_file
from scraper_server.views.spec import (
    PARTS,
    ColumnRole,
    ColumnSelection,
    MissingPolicy,
    Split,
    SplitMethod,
    ViewSpec,
)
from servicekit.errors import InvalidArgument, Reason
from servicekit.images.shape import ImageMode, ImageResizing, ImageShape
from tests.unit.images.image_archives import packed, png

TARGET = ColumnSelection("label", ColumnRole.TARGET)
NO_PATH = ColumnSelection("path", ColumnRole.IGNORED)
BY_PART = Split(SplitMethod.COLUMN, column="split")
NO_PART = ColumnSelection("split", ColumnRole.IGNORED)
SMALL = ImageOptions(2, 2, ImageMode.GRAYSCALE)
PETS = {
    f"{part}/{label}/{number}.png": png(10 * number + (label == "dog"))
    for part in ("train", "val", "test")
    for label in ("cat", "dog")
    for number in (1, 2)
}


def converted(
    tmp_path: Path, members: Mapping[str, bytes], options: ImageOptions = SMALL, name: str = "table"
) -> tuple[Path, ConvertedTable]:
    source = packed(tmp_path / "pets.zip", members)
    (tmp_path / name).mkdir()
    known = convert(source, "pets.zip", FileFormat(images=options), Limits(), tmp_path / name, lambda *_: None)
    return tmp_path / name, known


def test_a_stored_table_of_images_has_their_pixels_and_statistics(tmp_path: Path) -> None:
    folder, known = converted(tmp_path, PETS)
    image, label, split, path = known.columns
    assert (image.name, label.name, split.name, path.name) == ("image", "label", "split", "path")
    assert image.statistics is not None
    assert image.statistics.count == 12
    assert image.statistics.image is not None
    assert label.statistics is not None
    assert label.statistics.distinct_count == 2
    stored = pq.read_table(folder / TABLE_FILE)
    assert stored.schema.field("image").type == pa.binary(4)
    assert set(stored["image"].to_pylist()) == {bytes([level]) * 4 for level in (10, 11, 20, 21)}
    assert [each.name for each in folder.iterdir()] == [TABLE_FILE]


def test_equal_images_have_equal_digests_and_others_do_not(tmp_path: Path) -> None:
    digest = converted(tmp_path, PETS)[1].digest
    assert converted(tmp_path, dict(reversed(PETS.items())), name="again")[1].digest == digest
    changed = {**PETS, "train/cat/1.png": png(99)}
    flat = replace(SMALL, height=1, width=4)
    padded = replace(SMALL, resizing=ImageResizing.PAD)
    others = [
        converted(tmp_path, changed, name="changed")[1].digest,
        converted(tmp_path, PETS, flat, name="flat")[1].digest,
        converted(tmp_path, PETS, padded, name="padded")[1].digest,
    ]
    assert len({digest, *others}) == 4


def test_a_view_streams_images_as_they_are_stored(tmp_path: Path) -> None:
    folder, known = converted(tmp_path, PETS)
    spec = ViewSpec((TARGET, NO_PATH, NO_PART), split=BY_PART)
    view = make_view(folder / TABLE_FILE, known, spec, tmp_path)
    assert view.row_counts == (4, 4, 4)
    column = view.columns[0]
    assert (column.name, column.role, column.type, column.missing) == (
        "image", ColumnRole.INPUT, ColumnType.IMAGE, MissingPolicy.DROP_ROW
    )  # fmt: skip
    assert column.image == ImageShape(2, 2, ImageMode.GRAYSCALE)
    for part in PARTS:
        rows = pa.ipc.open_file(pa.memory_map(str(part_file(tmp_path, part)))).read_all()
        assert rows.schema.field("image").type == pa.binary(4)
        assert rows.to_pydict() == {
            "image": [bytes([level]) * 4 for level in (10, 20, 11, 21)],
            "label": ["cat", "cat", "dog", "dog"],
        }


def test_batches_of_large_images_stay_small(tmp_path: Path) -> None:
    members = {f"{number % 2}/{number}.png": png(number) for number in range(10)}
    folder, known = converted(tmp_path, members, ImageOptions(512, 512, ImageMode.RGB))
    spec = ViewSpec((TARGET, NO_PATH), split=Split(fractions=(1.0, 0.0, 0.0)))
    make_view(folder / TABLE_FILE, known, spec, tmp_path)
    file = pa.ipc.open_file(pa.memory_map(str(part_file(tmp_path, PARTS[0]))))
    sizes = [file.get_batch(number).num_rows for number in range(file.num_record_batches)]
    assert sizes == [1] * 10  # 768 KiB each, and a batch has about a MiB


def test_rows_without_an_image_leave_the_view(tmp_path: Path) -> None:
    csv = b"file,label\n1.png,a\n,b\n2.png,b\n"
    folder, known = converted(tmp_path, {"1.png": png(1), "2.png": png(2), "t.csv": csv})
    assert known.row_count == 3
    columns = (TARGET, ColumnSelection("file", ColumnRole.IGNORED))
    everything = Split(fractions=(1.0, 0.0, 0.0))
    view = make_view(folder / TABLE_FILE, known, ViewSpec(columns, split=everything), None)
    assert (view.row_counts, view.dropped_row_count) == ((2, 0, 0), 1)
    strict = ViewSpec((*columns, ColumnSelection("image", missing=MissingPolicy.FAIL)), split=everything)
    with pytest.raises(InvalidArgument, match="column 'image': 1 of 3 values are missing, first at row 1") as caught:
        make_view(folder / TABLE_FILE, known, strict, None)
    assert caught.value.reason is Reason.VALUES_MISSING


IMAGE = "image"
REFUSED = {
    "target": (
        (ColumnSelection(IMAGE, ColumnRole.TARGET),), Split(), Reason.INVALID_FIELD, "view.columns[0].role",
        "holds images, which no model predicts",
    ),
    "cast": (
        (TARGET, ColumnSelection(IMAGE, cast=ColumnType.TEXT)), Split(), Reason.CAST_FAILED, "view.columns[1].cast",
        "column 'image' is image, which can't become text: leave out its cast",
    ),
    "cast of others": (
        (ColumnSelection("label", ColumnRole.TARGET, cast=ColumnType.IMAGE),), Split(), Reason.CAST_FAILED,
        "view.columns[0].cast", "column 'label' is categorical, which can't become image",
    ),
    "filling": (
        (TARGET, ColumnSelection(IMAGE, missing=MissingPolicy.FILL_MOST_FREQUENT)), Split(), Reason.INVALID_FIELD,
        "view.columns[1].missing", "holds images, which nothing can stand for: take DROP_ROW or FAIL",
    ),
    "stratified": (
        (TARGET,), Split(SplitMethod.STRATIFIED, column=IMAGE), Reason.SPLIT_INVALID, "view.split.stratified.column",
        "holds images, which can't decide a split",
    ),
    "grouped": (
        (TARGET,), Split(SplitMethod.GROUP, column=IMAGE), Reason.SPLIT_INVALID, "view.split.group.column",
        "holds images, which can't decide a split",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_images_can_not_be_is_refused_at_its_field(tmp_path: Path, case: str) -> None:
    columns, split, reason, field, message = REFUSED[case]
    folder, known = converted(tmp_path, PETS)
    with pytest.raises(InvalidArgument) as caught:
        make_view(folder / TABLE_FILE, known, ViewSpec(columns, split=split), None)
    assert caught.value.reason is reason
    assert [violation.field for violation in caught.value.violations] == [field]
    assert message in caught.value.message


def test_a_preview_shows_small_pictures(tmp_path: Path) -> None:
    folder, known = converted(tmp_path, PETS)
    cell = preview_table(folder / TABLE_FILE, known.columns, 1, 1, ()).rows[0][0]
    assert cell.text == "2x2 grayscale"
    assert Image.open(BytesIO(cell.png)).tobytes() == bytes([20]) * 4
    large, known = converted(tmp_path, {"a/1.png": png(7)}, ImageOptions(300, 600), "large")
    cell = preview_table(large / TABLE_FILE, known.columns, 0, 1, ("image",)).rows[0][0]
    assert cell.text == "300x600 rgb"
    assert Image.open(BytesIO(cell.png)).size == (128, 64)
