"""Measures the scraper service: prints a JSON object a line, a figure each. `--help` names them."""

import argparse
from collections.abc import Callable
from dataclasses import fields

from benchmarks.conversion_speed import csv_to_parquet_with_statistics
from benchmarks.figures import Figure
from benchmarks.import_load import get_dataset_p50_under_imports, import_peak_memory
from benchmarks.sizes import Sizes
from benchmarks.stream_speed import stream_view, stream_view_features, stream_view_memory

FIGURES: dict[str, Callable[[Sizes], Figure]] = {
    "csv_to_parquet_with_statistics": csv_to_parquet_with_statistics,
    "import_peak_memory": import_peak_memory,
    "get_dataset_p50_under_imports": get_dataset_p50_under_imports,
    "stream_view": stream_view,
    "stream_view_features": stream_view_features,
    "stream_view_memory": stream_view_memory,
}


def main(arguments: list[str] | None = None) -> None:
    """Measures the figures named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scraper", description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="figure", help=f"of {', '.join(FIGURES)}; all if none is named")
    sizes = parser.add_argument_group("sizes")
    for field in fields(Sizes):
        sizes.add_argument(f"--{field.name.replace('_', '-')}", type=int, default=field.default, help="%(default)s")
    parsed = parser.parse_args(arguments)
    unknown = [name for name in parsed.figures if name not in FIGURES]
    if unknown:
        parser.error(f"no figure {unknown[0]!r}: there are {', '.join(FIGURES)}")
    chosen = Sizes(**{field.name: getattr(parsed, field.name) for field in fields(Sizes)})
    for name in parsed.figures or FIGURES:
        print(FIGURES[name](chosen).line(), flush=True)


if __name__ == "__main__":
    main()
