"""Measures the scraper service: prints a JSON object a line, a figure each. `--help` names them."""

from benchmarks.command import Figures, measure
from benchmarks.conversion_speed import csv_to_parquet_with_statistics
from benchmarks.import_load import get_dataset_p50_under_imports, import_peak_memory
from benchmarks.stream_speed import stream_view, stream_view_features, stream_view_memory
from benchmarks.upload_speed import upload

FIGURES: Figures = {
    "csv_to_parquet_with_statistics": csv_to_parquet_with_statistics,
    "import_peak_memory": import_peak_memory,
    "get_dataset_p50_under_imports": get_dataset_p50_under_imports,
    "upload": upload,
    "stream_view": stream_view,
    "stream_view_features": stream_view_features,
    "stream_view_memory": stream_view_memory,
}


def main(arguments: list[str] | None = None) -> None:
    """Measures the figures named, or all."""
    measure("benchmarks.scraper", __doc__, FIGURES, arguments)


if __name__ == "__main__":
    main()
