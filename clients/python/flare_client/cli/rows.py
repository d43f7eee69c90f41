"""Rows given to a command: a file, one row, or images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flare_client.cli.arguments import cell, pairs
from flare_client.cli.failures import CommandError
from flare_client.tables.columns import Rows
from flare_client.tables.files import read_rows

Model = Annotated[str, typer.Argument(metavar="MODEL", help="iris, iris@prod, or models/iris/versions/3")]
RowsFile = Annotated[Path | None, typer.Argument(metavar="FILE", help="rows: .csv, .tsv, .parquet or .json")]
Row = Annotated[
    list[str] | None, typer.Option("--row", metavar="NAME=VALUE", help="a cell of a single row; once for each column")
]
Images = Annotated[
    list[Path] | None,
    typer.Option("--image", metavar="FILE", help="an image, such as a .png or .jpg; several for several rows"),
]
ImageColumn = Annotated[str, typer.Option(metavar="NAME", help="the model's column of images")]


def rows_of(file: Path | None, row: list[str] | None, images: list[Path] | None, image_column: str) -> Rows:
    """The rows that were given in one of three ways. Raises CommandError if there are none, or more than one way."""
    if [file is None, not row, not images].count(False) != 1:
        raise CommandError(
            "rows come from FILE, one row from --row NAME=VALUE for each of its columns, or images from --image FILE"
        )
    if images:
        missing = next((each for each in images if not each.is_file()), None)
        if missing is not None:
            raise CommandError(f"--image {missing}: there is no such file")
        return {image_column: images}
    if file is not None:
        return read_rows(file)
    return [{name: cell(value) for name, value in pairs("--row", row or []).items()}]
