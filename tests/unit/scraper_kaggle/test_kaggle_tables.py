import pytest

from scraper_server.sources.kaggle.tables import chosen_file, ending_of, is_table
from scraper_server.sources.source import FileRequest, SourceFile
from servicekit.errors import InvalidArgument, Reason


@pytest.mark.parametrize(
    ("path", "ending", "table"),
    [
        ("a.csv", ".csv", True),
        ("a/b.TSV", ".tsv", True),
        ("a.parquet", ".parquet", True),
        ("a.csv.gz", ".csv", True),
        ("a.v1.CSV.ZIP", ".csv", True),
        ("a.zip", "", False),
        ("a.json", ".json", False),
        ("csv", "", False),
        (".csv", "", False),
    ],
)
def test_the_name_tells_whether_a_file_is_a_table(path: str, ending: str, table: bool) -> None:
    assert ending_of(path) == ending
    assert is_table(path) == table


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
