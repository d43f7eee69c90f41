"""`flare batch-predict`: predict for all rows of a view, into a new data set."""

from __future__ import annotations

from typing import Annotated

import typer
from flare.ml.v1 import batch_prediction_pb2 as pb
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import flare_client
from flare_client import BatchPredictionHandle
from flare_client.choices import short_name
from flare_client.cli.failures import CommandError
from flare_client.cli.interruption import leaves_running
from flare_client.cli.output import Output, OutputFormat, print_fields, print_json, print_json_line, stderr


def batch_predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="iris, iris@prod, or models/iris/versions/3")],
    view: Annotated[str, typer.Argument(metavar="VIEW", help="DATASET/VIEW with the rows")],
    dataset_id: Annotated[str, typer.Option("--id", metavar="ID", help="id of the data set to make")],
    part: Annotated[
        list[str] | None, typer.Option(metavar="PART", help="train, validation or test; all unless given")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="a column of the view to keep; all unless given")
    ] = None,
    only_predictions: Annotated[bool, typer.Option("--only-predictions", help="keep no column of the view")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="start it, and don't wait")] = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Predict for all rows of a view, into a new data set. Ctrl-C leaves it running."""
    if only_predictions and column:
        raise CommandError("name columns to keep with --column, or keep none with --only-predictions")
    columns = [] if only_predictions else column or None
    with flare_client.connect() as flare:
        job = flare.batch_predict(model, view, dataset_id=dataset_id, parts=part or (), columns=columns)
        if detach:
            if output is OutputFormat.JSON:
                print_json(job.job)
            else:
                print_fields([("job", job.name), ("state", job.state)])
        elif output is OutputFormat.JSON:
            print_batch_prediction(job)
        else:
            print_fields([("data set", follow_batch_prediction(job))])


def follow_batch_prediction(job: BatchPredictionHandle, after: int = 0) -> str:
    """Shows a bar until the job ends, and returns the data set. Raises FlareError if it does not end well."""
    console = stderr()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("waiting", total=job.job.progress.total_rows)
    with leaves_running(job.name), bar:
        for content in job.messages(after):
            if content.HasField("progress"):
                progress = content.progress
                phase = short_name(pb.BatchPredictionPhase, progress.phase) or job.state
                bar.update(task, description=phase, completed=progress.predicted_rows)
    return job.wait()


def print_batch_prediction(job: BatchPredictionHandle, after: int = 0) -> None:
    """Prints each message as a line of JSON until the job ends."""
    with leaves_running(job.name):
        for content in job.messages(after):
            key = "snapshot" if isinstance(content, pb.BatchPrediction) else "event"
            print_json_line({key: content})
    job.wait()
