"""`flare explain`: what a prediction comes of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

import flare_client
from flare_client.cli.output import Output, OutputFormat, print_json, print_table, stderr
from flare_client.cli.rows import ImageColumn, Images, Model, Row, RowsFile, rows_of

if TYPE_CHECKING:
    import pandas as pd


def explain(
    model: Model,
    file: RowsFile = None,
    row: Row = None,
    image: Images = None,
    image_column: ImageColumn = "image",
    target: Annotated[str, typer.Option(metavar="NAME", help="which one, if the model predicts several")] = "",
    class_label: Annotated[
        str, typer.Option("--class", metavar="LABEL", help="for which class; for the predicted one unless given")
    ] = "",
    method: Annotated[
        str, typer.Option(metavar="METHOD", help="integrated_gradients or permutation; chosen unless given")
    ] = "",
    steps: Annotated[int, typer.Option(min=0, max=1000, help="more are more exact; 50 unless given")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="decides the orders of permutation")] = 0,
    id_: Annotated[
        str,
        typer.Option("--id", metavar="ID", help="decides which version of a shared alias is explained, as in predict"),
    ] = "",
    columns: Annotated[int, typer.Option(min=1, help="show only so many columns, those that matter most")] = 8,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Tell how much each column contributed to the predictions for rows, against an average row.

    What a class comes of is told of its logit, the number before it becomes a probability.
    """
    rows = rows_of(file, row, image, image_column)
    with flare_client.connect() as flare:
        found = flare.explain(
            model, rows, target=target, class_label=class_label, method=method, steps=steps, seed=seed, id=id_
        )
    if output is OutputFormat.JSON:
        told = {name: found.attrs[name] for name in ("version", "target", "method")}
        print_json({**told, "rows": _records(found)})
        return
    stderr().print(f"{found.attrs['version']}: {found.attrs['target']} by {found.attrs['method']}", style="dim")
    order = found.abs().mean().sort_values(ascending=False, kind="stable").index
    shown = found[order[:columns]]
    if len(order) > columns:
        stderr().print(f"the {columns} columns of {len(order)} that matter most: --columns shows more", style="dim")
    labels = found.attrs["class_labels"]
    explained = ["CLASS", ">LOGIT"] if labels else [">OUTPUT"]
    print_table(
        ["ROW", *explained, ">AVERAGE ROW", *(f">{name}" for name in shown.columns)],
        (
            [
                index,
                *([labels[index]] if labels else []),
                f"{found.attrs['outputs'][index]:.4f}",
                f"{found.attrs['baseline_outputs'][index]:.4f}",
                *(f"{value:+.4f}" for value in values),
            ]
            for index, *values in shown.itertuples()
        ),
        empty="No rows.",
    )


def _records(found: pd.DataFrame) -> list[dict[str, object]]:
    labels = found.attrs["class_labels"]
    return [
        {
            **({"class_label": labels[place]} if labels else {}),
            "output": found.attrs["outputs"][place],
            "baseline_output": found.attrs["baseline_outputs"][place],
            "contributions": contributions,
        }
        for place, contributions in enumerate(found.to_dict(orient="records"))
    ]
