"""How files are read and sources searched, from the words that people use."""

import pytest
from flare.scraper.v1 import dataset_pb2, source_pb2
from flare_client import FlareError
from flare_client.cli.arguments import byte_count
from flare_client.cli.dataset_words import format_text, origin_text, type_text
from flare_client.cli.failures import CommandError
from flare_client.messages import as_json
from flare_client.reading import ReadingOptions, file_format, reading_options
from flare_client.searching import search_filter, search_sort


def test_nothing_asked_for_leaves_everything_to_be_detected() -> None:
    assert file_format({}) is None
    assert file_format({"delimiter": "", "header": True}) is None


def test_every_option_is_where_the_contract_wants_it() -> None:
    options: ReadingOptions = {
        "kind": "images",
        "delimiter": ";",
        "encoding": "utf-16",
        "quote": "'",
        "decimal": ",",
        "thousands": ".",
        "comment": "#",
        "header": False,
        "ragged_rows": "fill",
        "sheet": "Data",
        "table": "people",
        "member": "a/b.csv",
        "column_types": {"age": "integer"},
        "image_size": (28, 32),
        "image_mode": "grayscale",
        "image_resizing": "pad",
        "max_broken_share": 0.0,
        "path_column": "file",
    }
    assert set(options) == set(ReadingOptions.__annotations__)
    assert as_json(file_format(options) or dataset_pb2.FileFormat()) == {
        "kind": "KIND_IMAGES",
        "delimiter": ";",
        "encoding": "utf-16",
        "quote": "'",
        "decimal_separator": ",",
        "thousands_separator": ".",
        "comment": "#",
        "has_no_header": True,
        "ragged_rows": "RAGGED_ROWS_FILL",
        "sheet": "Data",
        "table": "people",
        "member": "a/b.csv",
        "column_types": [{"column": "age", "type": "COLUMN_TYPE_INTEGER"}],
        "images": {
            "height": 28,
            "width": 32,
            "mode": "IMAGE_MODE_GRAYSCALE",
            "resizing": "IMAGE_RESIZING_PAD",
            "max_broken_share": 0.0,
            "path_column": "file",
        },
    }


def test_words_of_a_command_line_become_options() -> None:
    texts = {"sheet": "Data", "header": "no", "image_size": "28x32", "max_broken_share": "0.1"}
    expected = {"sheet": "Data", "header": False, "image_size": (28, 32), "max_broken_share": 0.1}
    assert reading_options(texts) == expected


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("shet", "Data", "'shet' says nothing of how a file is read: it can be comment, decimal"),
        ("header", "maybe", "neither yes nor no"),
        ("image_size", "28", "HEIGHTxWIDTH"),
        ("max_broken_share", "few", "a number from 0 to 1"),
    ],
)
def test_other_words_are_refused_with_what_they_can_be(name: str, text: str, said: str) -> None:
    with pytest.raises(FlareError, match=said) as raised:
        reading_options({name: text})
    assert raised.value.violations[0].field == name


def test_a_search_has_its_filter_and_its_order() -> None:
    found = search_filter({"file_type": "csv", "min_size": 5, "license": "gpl", "tags": ["a", "b"], "owner": "ann"})
    assert (found.file_type, found.min_size_bytes, found.license) == (
        source_pb2.SOURCE_FILE_TYPE_CSV,
        5,
        source_pb2.SOURCE_LICENSE_GPL,
    )
    assert (list(found.tags), found.owner) == (["a", "b"], "ann")
    assert search_sort({"sort": "votes"}) == source_pb2.SEARCH_SORT_VOTES
    with pytest.raises(FlareError, match="sort 'best' is not one of hottest, votes"):
        search_sort({"sort": "best"})


@pytest.mark.parametrize(
    ("text", "size"), [("", 0), ("300", 300), ("10kB", 10_000), ("2.5 GB", 2_500_000_000), ("1m", 1_000_000)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert byte_count("--min-size", text) == size


def test_a_size_that_is_none_is_refused() -> None:
    with pytest.raises(CommandError, match="--min-size 'big' is not a size"):
        byte_count("--min-size", "big")


def test_origin_format_and_type_are_told_in_words() -> None:
    kaggle = source_pb2.KaggleRef(ref="ann/pets", version=3, path="pets.csv")
    assert origin_text(source_pb2.DatasetOrigin(kaggle=kaggle)) == "kaggle ann/pets, version 3, pets.csv"
    upload = source_pb2.UploadedFile(file_name="pets.csv", size_bytes=2000)
    assert origin_text(source_pb2.DatasetOrigin(upload=upload)) == "pets.csv, 2.0 kB"
    known = dataset_pb2.FileFormat(
        kind=dataset_pb2.FileFormat.KIND_DELIMITED,
        delimiter=";",
        encoding="utf-8",
        quote='"',
        decimal_separator=",",
        compression=dataset_pb2.COMPRESSION_GZIP,
    )
    assert format_text(known) == "delimited, delimiter ';', encoding utf-8, decimal ',', gzip"
    image = dataset_pb2.ImageShape(height=28, width=32, mode=dataset_pb2.IMAGE_MODE_GRAYSCALE)
    column = dataset_pb2.Column(name="image", type=dataset_pb2.COLUMN_TYPE_IMAGE, image=image)
    assert type_text(column) == "image 28x32 grayscale"
