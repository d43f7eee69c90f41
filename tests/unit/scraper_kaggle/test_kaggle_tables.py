import pytest

from scraper_server.sources.kaggle.tables import chosen_file
from scraper_server.sources.source import FileRequest, SourceFile
from servicekit.errors import InvalidArgument, Reason


def test_a_list_of_many_files_is_cut() -> None:
    files = [SourceFile(f"{number}.csv") for number in range(50)]
    with pytest.raises(InvalidArgument) as caught:
        chosen_file(FileRequest("ann/many"), files)
    assert caught.value.reason == Reason.INVALID_FIELD
    assert "'19.csv' and 30 more" in caught.value.message
    assert "'20.csv'" not in caught.value.message


def test_a_path_decides_among_tables_and_may_name_any_file() -> None:
    files = [SourceFile("a.csv"), SourceFile("b.csv"), SourceFile("data.txt")]
    assert chosen_file(FileRequest("ann/x", path="b.csv"), files).path == "b.csv"
    assert chosen_file(FileRequest("ann/x", path="data.txt"), files).path == "data.txt"


def test_the_only_archive_is_taken_where_there_is_no_table() -> None:
    files = [SourceFile("data.zip"), SourceFile("readme.md")]
    assert chosen_file(FileRequest("ann/x"), files).path == "data.zip"
    assert chosen_file(FileRequest("ann/x"), [*files, SourceFile("a.json.gz")]).path == "a.json.gz"
