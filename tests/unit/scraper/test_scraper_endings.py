"""What the names of files promise."""

import pytest

from scraper_server.endings import ending_of, is_archive, is_table, unwrapped_name


@pytest.mark.parametrize(
    ("path", "ending", "table"),
    [
        ("a.csv", ".csv", True),
        ("a/b.TSV", ".tsv", True),
        ("a.parquet", ".parquet", True),
        ("a.csv.gz", ".csv", True),
        ("a.v1.CSV.ZIP", ".csv", True),
        ("a.jsonl.zst", ".jsonl", True),
        ("a.zip", "", False),
        ("a.txt", ".txt", False),
        ("x/dataset-metadata.json", ".json", False),
        ("csv", "", False),
        (".csv", "", False),
        (".gz", "", False),
    ],
)
def test_the_name_tells_whether_a_file_is_a_table(path: str, ending: str, table: bool) -> None:
    assert ending_of(path) == ending
    assert is_table(path) == table


def test_the_ending_of_what_wraps_a_file_is_taken_off() -> None:
    assert unwrapped_name("a/b.csv.gz") == "a/b.csv"
    assert unwrapped_name("b.csv") == "b.csv"
    assert is_archive("a/b.ZIP")
    assert not is_archive("b.csv.gz")
