"""`flare views`: make data sets ready for learning."""

from __future__ import annotations

from typing import Annotated

import typer
from flare.scraper.v1 import dataset_pb2, dataset_view_pb2

import flare_client
from flare_client.choices import short_name
from flare_client.cli.arguments import numbers, pairs
from flare_client.cli.dataset_words import origin_text
from flare_client.cli.output import Output, OutputFormat, print_fields, print_json, print_table, stderr
from flare_client.cli.words import moment
from flare_client.names import short

SHOWN_CELLS = 5

app = typer.Typer(name="views", help="Make data sets ready for learning.", no_args_is_help=True)


@app.command()
def create(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="such as digits")],
    target: Annotated[list[str], typer.Option(help="column to predict; several times for several")],
    input_: Annotated[
        list[str] | None, typer.Option("--input", help="column that goes in; all that are left if never given")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(help="column to leave out")] = None,
    weight: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="says how much each row counts in training")
    ] = None,
    rename: Annotated[list[str] | None, typer.Option(metavar="OLD=NEW", help="another name for a column")] = None,
    cast: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=TYPE", help="type: integer, float, boolean, datetime, categorical or text"),
    ] = None,
    missing: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=POLICY",
            help="for missing values: drop_row, fill_mean, fill_median, fill_most_frequent, fill_value=X, keep, fail",
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="shares of training, validation and test: 0.7,0.15,0.15")] = None,
    seed: Annotated[int, typer.Option(help="decides which rows")] = 0,
    stratify: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="same share of its classes in each part")
    ] = None,
    group: Annotated[str | None, typer.Option(metavar="COLUMN", help="rows of one group stay together")] = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="oldest rows train, newest test")] = None,
    split_column: Annotated[str | None, typer.Option(metavar="COLUMN", help="says train, validation or test")] = None,
    view_id: Annotated[str, typer.Option("--id", help="id of the view; given by the server if left out")] = "",
    name: Annotated[str, typer.Option(help="what to call it")] = "",
    validate_only: Annotated[bool, typer.Option("--validate-only", help="check everything, keep nothing")] = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Make a view: which columns go in and come out, and which rows train, validate and test."""
    with flare_client.connect() as flare:
        view = flare.views.create(
            dataset,
            target,
            inputs=input_,
            drop=drop or (),
            weight=weight,
            rename=pairs("--rename", rename or ()),
            cast=pairs("--cast", cast or ()),
            missing=pairs("--missing", missing or ()),
            split=numbers("--split", split, float) if split else None,
            seed=seed,
            stratify=stratify,
            group=group,
            time=time,
            split_column=split_column,
            view_id=view_id,
            display_name=name,
            validate_only=validate_only,
        )
    _print_view(view, output)


@app.command("list")
def list_(
    dataset: Annotated[str, typer.Argument(metavar="[DATASET]", help="all data sets if left out")] = "-",
    output: Output = OutputFormat.TEXT,
) -> None:
    """List views, newest first."""
    with flare_client.connect() as flare:
        views = flare.views.list(dataset)
    if output is OutputFormat.JSON:
        print_json(views)
        return
    print_table(
        ["VIEW", ">TRAIN", ">VALIDATION", ">TEST", "TARGETS", "MADE"],
        (
            (
                short(view.name),
                view.row_counts.train,
                view.row_counts.validation,
                view.row_counts.test,
                ", ".join(_targets(view)),
                moment(view.create_time),
            )
            for view in views
        ),
        empty="No views yet: `flare views create DATASET --target COLUMN`.",
    )


@app.command()
def describe(
    view: Annotated[str, typer.Argument(metavar="VIEW", help="DATASET/VIEW")], output: Output = OutputFormat.TEXT
) -> None:
    """Show a view: its rows, its columns and what happens to missing values."""
    with flare_client.connect() as flare:
        found = flare.views.get(view)
    _print_view(found, output)
    if output is OutputFormat.TEXT:
        print_table(
            ["COLUMN", "FROM", "ROLE", "TYPE", "MISSING VALUES"],
            (
                (
                    column.name,
                    column.source_column,
                    short_name(dataset_view_pb2.ColumnRole, column.role),
                    short_name(dataset_pb2.ColumnType, column.type),
                    short_name(dataset_view_pb2.MissingPolicy, column.missing)
                    + (f" ({column.fill_value})" if column.HasField("fill_value") else ""),
                )
                for column in found.resolved_columns
            ),
            empty="No columns.",
        )


def _named(view: dataset_view_pb2.DatasetView, role: dataset_view_pb2.ColumnRole.ValueType) -> list[str]:
    return [column.name for column in view.resolved_columns if column.role == role]


def _targets(view: dataset_view_pb2.DatasetView) -> list[str]:
    return _named(view, dataset_view_pb2.COLUMN_ROLE_TARGET)


def _print_view(view: dataset_view_pb2.DatasetView, output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        print_json(view)
        return
    counts = view.row_counts
    print_fields(
        [
            ("view", view.name),
            ("title", view.display_name),
            ("inputs", len(_named(view, dataset_view_pb2.COLUMN_ROLE_INPUT))),
            ("targets", ", ".join(_targets(view))),
            ("weight", ", ".join(_named(view, dataset_view_pb2.COLUMN_ROLE_WEIGHT))),
            ("rows", f"{counts.train:,} train, {counts.validation:,} validation, {counts.test:,} test"),
            ("rows left out", f"{view.dropped_row_count:,}" if view.dropped_row_count else ""),
            ("from", origin_text(view.origin)),
            ("digest", view.digest),
        ]
    )
    for bad in view.bad_cells:
        shown = ", ".join(f"{example.value!r} (row {example.row})" for example in bad.examples[:SHOWN_CELLS])
        kind = short_name(dataset_pb2.ColumnType, bad.type)
        stderr().print(f"bad cells: column '{bad.column}' has {bad.count:,} that are not {kind}: {shown}")
    for warning in view.warnings:
        stderr().print(f"note: {warning.message}")
