"""`flare predict`: ask a trained model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

import flare_client
from flare_client.cli.output import Output, OutputFormat, print_json, print_table, stderr
from flare_client.cli.rows import ImageColumn, Images, Model, Row, RowsFile, rows_of

if TYPE_CHECKING:
    import pandas as pd


def predict(
    model: Model,
    file: RowsFile = None,
    row: Row = None,
    image: Images = None,
    image_column: ImageColumn = "image",
    top: Annotated[int, typer.Option(min=0, max=1000, help="tell only so many of the most probable classes")] = 0,
    partial: Annotated[bool, typer.Option("--partial", help="leave out rows that can't be predicted, and say why")] = (
        False
    ),
    id_: Annotated[
        str,
        typer.Option("--id", metavar="ID", help="decides which version of a shared alias answers: equal ids, the same"),
    ] = "",
    output: Output = OutputFormat.TEXT,
) -> None:
    """Predict for the rows of a file, for one row given here, or for images."""
    rows = rows_of(file, row, image, image_column)
    with flare_client.connect() as flare:
        predicted = flare.predict(model, rows, top=top, partial=partial, id=id_)
    errors: list[dict[str, Any]] = predicted.attrs["row_errors"]
    if output is OutputFormat.JSON:
        told: dict[str, Any] = {"version": predicted.attrs["version"], "predictions": _records(predicted)}
        print_json({**told, "row_errors": errors} if partial else told)
        return
    stderr().print(f"{predicted.attrs['version']}", style="dim")
    print_table(
        ["ROW", *(f">{name}" for name in predicted.columns)],
        ([index, *(_text(value) for value in values)] for index, *values in predicted.itertuples()),
        empty="No rows.",
    )
    for error in errors:
        line = f"row {error['row']}, column '{error['column']}': {error['message']}"
        stderr().print(line, soft_wrap=True, markup=False)


def _records(predicted: pd.DataFrame) -> list[Any]:
    """Rows as JSON has them, which knows no NaN."""
    return predicted.astype(object).where(predicted.notna(), None).to_dict(orient="records")


def _text(value: object) -> str:
    if value is None or value != value:  # NaN
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
