"""CSV to Parquet with statistics, beside polars, which writes Parquet and knows nothing of what it wrote."""

import shutil
import tempfile
from pathlib import Path

import polars

from benchmarks.alternating import median_seconds
from benchmarks.figures import Figure
from benchmarks.made_tables import write_csv
from benchmarks.sizes import Sizes
from scraper_server.limits import Limits
from scraper_server.tables.conversion import convert
from scraper_server.tables.formats import FileFormat


def csv_to_parquet_with_statistics(sizes: Sizes) -> Figure:
    """Rows a second of a whole conversion, types found out, digest and statistics included."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        rows = write_csv(directory / "table.csv", sizes.columns, sizes.rows)
        ours, theirs = median_seconds(sizes.runs, _convert, _convert_with_polars, directory)
    return Figure.of_rate(
        "csv_to_parquet_with_statistics", rows / ours, "rows/s", "polars, no statistics", rows / theirs
    )


def _convert(directory: Path) -> None:
    target = directory / "ours"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    convert(directory / "table.csv", "table.csv", FileFormat(), Limits(), target, lambda *_: None)


def _convert_with_polars(directory: Path) -> None:
    polars.read_csv(directory / "table.csv").write_parquet(directory / "theirs.parquet")
