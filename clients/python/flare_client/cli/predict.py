"""`flare predict`: ask a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import flare_client
from flare_client.cli.arguments import cell, pairs
from flare_client.cli.failures import CommandError
from flare_client.cli.output import Output, OutputFormat, print_json, print_table, stderr
from flare_client.tables.columns import Rows
from flare_client.tables.files import read_rows


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="iris, iris@prod, or models/iris/versions/3")],
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="rows: .csv, .tsv, .parquet or .json")] = None,
    row: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="a cell of a single row; once for each column")
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="an image, such as a .png or .jpg; several for several rows"),
    ] = None,
    image_column: Annotated[str, typer.Option(metavar="NAME", help="the model's column of images")] = "image",
    id_: Annotated[
        str,
        typer.Option("--id", metavar="ID", help="decides which version of a shared alias answers: equal ids, the same"),
    ] = "",
    output: Output = OutputFormat.TEXT,
) -> None:
    """Predict for the rows of a file, for one row given here, or for images."""
    if [file is None, not row, not image].count(False) != 1:
        raise CommandError(
            "rows come from FILE, one row from --row NAME=VALUE for each of its columns, or images from --image FILE"
        )
    rows = _rows(file, row or [], image or [], image_column)
    with flare_client.connect() as flare:
        predicted = flare.predict(model, rows, id=id_)
    if output is OutputFormat.JSON:
        print_json({"version": predicted.attrs["version"], "predictions": predicted.to_dict(orient="records")})
        return
    stderr().print(f"{predicted.attrs['version']}", style="dim")
    print_table(
        ["ROW", *(f">{name}" for name in predicted.columns)],
        ([index, *(_text(value) for value in values)] for index, *values in predicted.itertuples()),
        empty="No rows.",
    )


def _rows(file: Path | None, row: list[str], images: list[Path], image_column: str) -> Rows:
    if images:
        missing = next((each for each in images if not each.is_file()), None)
        if missing is not None:
            raise CommandError(f"--image {missing}: there is no such file")
        return {image_column: images}
    return read_rows(file) if file is not None else [_row(row)]


def _row(texts: tuple[str, ...] | list[str]) -> dict[str, Any]:
    return {name: cell(value) for name, value in pairs("--row", texts).items()}


def _text(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
