"""`flare datasets`: find, import, upload and look at data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from flare.scraper.v1 import dataset_pb2, source_pb2

import flare_client
from flare_client.choices import short_name
from flare_client.cli.arguments import byte_count, pairs
from flare_client.cli.dataset_words import format_text, origin_text, type_text
from flare_client.cli.fitting import fitted
from flare_client.cli.import_display import follow_import
from flare_client.cli.interruption import keeps_what_arrived
from flare_client.cli.output import Output, OutputFormat, print_fields, print_json, print_table, stderr
from flare_client.cli.progress import ByteProgress
from flare_client.cli.words import byte_size, moment, quantity
from flare_client.names import short
from flare_client.reading import ReadingOptions, reading_options

app = typer.Typer(name="datasets", help="Find, import, upload and look at data sets.", no_args_is_help=True)

Source = Annotated[str, typer.Option(help="samples or kaggle; all of them, or told from the name, if left out")]
DatasetArgument = Annotated[str, typer.Argument(metavar="DATASET", help="such as digits or datasets/digits")]
DatasetId = Annotated[str, typer.Option("--id", help="id of the data set to make; from its source if left out")]
Version = Annotated[int, typer.Option(min=0, help="version of a Kaggle data set; 0 for the latest")]
DisplayName = Annotated[str, typer.Option("--name", help="what to call it")]
Delimiter = Annotated[str, typer.Option(help="delimiter of the file; detected if left out")]
Encoding = Annotated[str, typer.Option(help="character encoding of the file; detected if left out")]
Types = Annotated[
    list[str] | None,
    typer.Option("--type", metavar="COLUMN=TYPE", help="integer, float, boolean, datetime, categorical or text"),
]
Reading = Annotated[
    list[str] | None,
    typer.Option(
        "--read",
        metavar="NAME=VALUE",
        help="more of how to read the file: kind, quote, decimal, thousands, comment, header=no, ragged_rows, sheet, "
        "table, member, image_size=28x28, image_mode, image_resizing, max_broken_share, path_column",
    ),
]


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="words to look for")] = "",
    source: Source = "",
    limit: Annotated[int, typer.Option(min=1, help="at most so many")] = 20,
    file_type: Annotated[str, typer.Option(help="with a file of it: csv, sqlite, json, bigquery, parquet")] = "",
    min_size: Annotated[str, typer.Option(metavar="SIZE", help="at least so large: 10MB")] = "",
    max_size: Annotated[str, typer.Option(metavar="SIZE", help="at most so large: 2GB")] = "",
    license_: Annotated[str, typer.Option("--license", help="creative_commons, gpl, open_database or other")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="filed under it; several times for several")] = None,
    owner: Annotated[str, typer.Option(help="of this account at the source")] = "",
    sort: Annotated[str, typer.Option(help="first: hottest, votes, updated, active or published")] = "",
    output: Output = OutputFormat.TEXT,
) -> None:
    """Search the sources for data sets."""
    with flare_client.connect() as flare:
        found = flare.datasets.search(
            query,
            source=source,
            limit=limit,
            file_type=file_type,
            min_size=byte_count("--min-size", min_size),
            max_size=byte_count("--max-size", max_size),
            license=license_,
            tags=tag or (),
            owner=owner,
            sort=sort,
        )
    if output is OutputFormat.JSON:
        print_json(found)
        return
    print_table(
        ["SOURCE", "NAME", "TITLE", ">SIZE", "LICENCE", ">VERSION"],
        (
            (
                short_name(source_pb2.SourceKind, dataset.source),
                dataset.ref,
                dataset.title,
                byte_size(dataset.size_bytes),
                dataset.license + (" (private)" if dataset.is_private else ""),
                dataset.version or "",
            )
            for dataset in found
        ),
        empty="Nothing was found: try other words.",
    )


@app.command()
def files(
    ref: Annotated[str, typer.Argument(metavar="NAME", help="name at the source: digits, or OWNER/SLUG on Kaggle")],
    source: Source = "",
    version: Version = 0,
    output: Output = OutputFormat.TEXT,
) -> None:
    """List the files of a data set of a source."""
    with flare_client.connect() as flare:
        found = flare.datasets.files(ref, source=source, version=version)
    if output is OutputFormat.JSON:
        print_json(found)
        return
    print_table([">SIZE", "FILE"], ((byte_size(file.size_bytes), file.path) for file in found), empty="No files.")


@app.command("import")
def import_(
    ref: Annotated[str, typer.Argument(metavar="NAME", help="name at the source: digits, or OWNER/SLUG on Kaggle")],
    source: Source = "",
    file: Annotated[str, typer.Option(help="file of a Kaggle data set; not needed if it holds one table")] = "",
    member: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="take these of the archive of all files, such as 'train/**'"),
    ] = None,
    version: Version = 0,
    dataset_id: DatasetId = "",
    name: DisplayName = "",
    delimiter: Delimiter = "",
    encoding: Encoding = "",
    types: Types = None,
    read: Reading = None,
    detach: Annotated[bool, typer.Option("--detach", help="start it and return at once")] = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Import a data set of a source."""
    with flare_client.connect() as flare:
        job = flare.datasets.import_(
            ref,
            source=source,
            file=file,
            members=member or (),
            version=version,
            dataset_id=dataset_id,
            display_name=name,
            **_reading(delimiter, encoding, types, read),
        )
        if detach:
            if output is OutputFormat.JSON:
                print_json(job.job)
            else:
                print_fields([("job", job.name), ("data set", job.job.dataset)])
            return
        _print_made(follow_import(job), output)


@app.command()
def upload(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a table, or an archive with one or with images")],
    dataset_id: DatasetId = "",
    name: DisplayName = "",
    delimiter: Delimiter = "",
    encoding: Encoding = "",
    types: Types = None,
    read: Reading = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Make a data set of a file of your own. An upload that was interrupted goes on where it stopped."""
    with flare_client.connect() as flare:
        with keeps_what_arrived(), ByteProgress(f"uploading {file.name}") as bar:
            job = flare.datasets.import_file(
                file,
                dataset_id=dataset_id,
                display_name=name,
                on_progress=bar.update,
                on_interruption=bar.interrupted,
                **_reading(delimiter, encoding, types, read),
            )
        _print_made(follow_import(job), output)


@app.command("list")
def list_(output: Output = OutputFormat.TEXT) -> None:
    """List data sets, newest first."""
    with flare_client.connect() as flare:
        datasets = flare.datasets.list()
    if output is OutputFormat.JSON:
        print_json(datasets)
        return
    print_table(
        ["DATA SET", "TITLE", ">ROWS", ">SIZE", "MADE"],
        (
            (short(d.name), d.display_name, f"{d.row_count:,}", byte_size(d.size_bytes), moment(d.create_time))
            for d in datasets
        ),
        empty="No data sets yet: `flare datasets import digits`, or `flare datasets upload FILE`.",
    )


@app.command()
def describe(dataset: DatasetArgument, output: Output = OutputFormat.TEXT) -> None:
    """Show a data set and the statistics of its columns."""
    with flare_client.connect() as flare:
        found = flare.datasets.get(dataset)
    if output is OutputFormat.JSON:
        print_json(found)
        return
    print_fields(
        [
            ("data set", found.name),
            ("title", found.display_name),
            ("rows", f"{found.row_count:,}"),
            ("columns", f"{len(found.columns):,}"),
            ("size", byte_size(found.size_bytes)),
            ("from", origin_text(found.origin)),
            ("read as", format_text(found.format)),
            ("digest", found.digest),
            ("made", moment(found.create_time)),
        ]
    )
    print_table(
        ["COLUMN", "TYPE", ">MISSING", ">DISTINCT", ">MINIMUM", ">MEAN", ">MAXIMUM", "MOST FREQUENT"],
        (_column_row(column) for column in found.columns),
        empty="No columns.",
    )
    for warning in found.warnings:
        stderr().print(f"note: {warning.message}")


@app.command()
def preview(
    dataset: DatasetArgument,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="how many rows")] = 10,
    start: Annotated[int, typer.Option(min=0, help="first row, from 0")] = 0,
    column: Annotated[list[str] | None, typer.Option(help="column to show; several times for several")] = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Show some rows."""
    with flare_client.connect() as flare:
        frame = flare.datasets.preview(dataset, rows=rows, start=start, columns=column or ())
    if output is OutputFormat.JSON:
        print_json(frame.to_dict(orient="records"))
        return
    table = [[str(index), *("" if value is None else value for value in row)] for index, *row in frame.itertuples()]
    print_table(*fitted(["", *map(str, frame.columns)], table), empty="No rows there.")


@app.command()
def delete(
    dataset: DatasetArgument,
    force: Annotated[bool, typer.Option("--force", help="delete its views too")] = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Delete a data set."""
    with flare_client.connect() as flare:
        flare.datasets.delete(dataset, force=force)
    if output is OutputFormat.JSON:
        print_json({})
    else:
        stderr().print(f"Deleted {dataset}.")


def _reading(delimiter: str, encoding: str, types: list[str] | None, read: list[str] | None) -> ReadingOptions:
    """What the options of a command line say of how its file is read."""
    options = reading_options(pairs("--read", read or ()))
    if delimiter:
        options["delimiter"] = delimiter
    if encoding:
        options["encoding"] = encoding
    if types:
        options["column_types"] = pairs("--type", types)
    return options


def _print_made(dataset: dataset_pb2.Dataset, output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        print_json(dataset)
        return
    print_fields(
        [
            ("data set", dataset.name),
            ("rows", f"{dataset.row_count:,}"),
            ("columns", f"{len(dataset.columns):,}"),
        ]
    )
    for warning in dataset.warnings:
        stderr().print(f"note: {warning.message}")


def _column_row(column: dataset_pb2.Column) -> list[str]:
    known = column.statistics
    figures = ["", "", ""]
    if known.HasField("numeric"):
        figures = [quantity(known.numeric.minimum), quantity(known.numeric.mean), quantity(known.numeric.maximum)]
    elif known.HasField("time"):
        figures = [moment(known.time.minimum), "", moment(known.time.maximum)]
    frequent = ", ".join(f"{value.value} ({value.count})" for value in known.most_frequent[:3])
    return [
        column.name,
        type_text(column),
        str(known.missing_count),
        ("~" if known.is_distinct_count_approximate else "") + str(known.distinct_count),
        *figures,
        frequent,
    ]
