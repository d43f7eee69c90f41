"""What the endings of file names promise. The content decides: names only tell what is worth a look."""

from pathlib import PurePosixPath

# A file with one of these is very likely a table; one with the others may be, where there is nothing else.
TABLE_ENDINGS = frozenset(
    {
        ".csv",
        ".tsv",
        ".tab",
        ".psv",
        ".parquet",
        ".json",
        ".jsonl",
        ".ndjson",
        ".xlsx",
        ".xlsm",
        ".xlsb",
        ".xls",
        ".ods",
        ".sqlite",
        ".sqlite3",
        ".db",
    }
)
TEXT_ENDINGS = frozenset({".txt", ".data", ".dat"})
COMPRESSION_ENDINGS = frozenset({".gz", ".gzip", ".zst", ".zstd"})
ARCHIVE_ENDINGS = frozenset({".zip"})
# Files about a data set and not of it.
COMPANIONS = frozenset({"dataset-metadata.json", "datapackage.json"})


def unwrapped_name(path: str) -> str:
    """A path without the ending of its compression or archive: `a/b.csv` for `a/b.csv.gz`."""
    name = PurePosixPath(path)
    is_wrapped = name.suffix.lower() in COMPRESSION_ENDINGS | ARCHIVE_ENDINGS
    return str(name.with_suffix("")) if is_wrapped and name.stem else path


def ending_of(path: str) -> str:
    """The ending that tells the format, in lower case: of `a/b.CSV.gz` it is `.csv`."""
    return PurePosixPath(unwrapped_name(path)).suffix.lower()


def is_table(path: str) -> bool:
    """Whether a file's name promises a table."""
    return ending_of(path) in TABLE_ENDINGS and PurePosixPath(path).name not in COMPANIONS


def is_archive(path: str) -> bool:
    """Whether a file's name promises an archive."""
    return PurePosixPath(path).suffix.lower() in ARCHIVE_ENDINGS
