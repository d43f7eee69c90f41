"""`flare jobs`: imports, trainings and batch predictions."""

from __future__ import annotations

from typing import Annotated

import typer

import flare_client
from flare_client import BatchPredictionHandle, Flare, ImportJobHandle, TrainingJobHandle
from flare_client.cli.batch_predict import follow_batch_prediction, print_batch_prediction
from flare_client.cli.failures import CommandError
from flare_client.cli.import_display import follow_import, print_import
from flare_client.cli.output import Output, OutputFormat, print_fields, print_json, print_table
from flare_client.cli.training_watch import follow_training, print_training
from flare_client.cli.words import moment
from flare_client.names import short

app = typer.Typer(
    name="jobs", help="See, watch and stop imports, trainings and batch predictions.", no_args_is_help=True
)

JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="trainingJobs/ID, importJobs/ID or batchPredictions/ID")
]
Handle = ImportJobHandle | TrainingJobHandle | BatchPredictionHandle


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="at most so many of each kind")] = 20,
    output: Output = OutputFormat.TEXT,
) -> None:
    """List imports, trainings and batch predictions, newest first."""
    with flare_client.connect() as flare:
        jobs: list[Handle] = [
            *flare.jobs.imports(limit),
            *flare.jobs.trainings(limit),
            *flare.batch_predictions.list(limit),
        ]
    jobs.sort(key=lambda job: job.job.create_time.ToNanoseconds(), reverse=True)
    if output is OutputFormat.JSON:
        print_json([job.job for job in jobs])
        return
    print_table(
        ["JOB", "STATE", "WHAT", "STARTED", "ENDED"],
        ((job.name, _state(job), _what(job), moment(job.job.create_time), moment(job.job.end_time)) for job in jobs),
        empty="No jobs yet: `flare datasets import digits`, `flare train MODEL VIEW`.",
    )


@app.command()
def watch(
    job: JobArgument,
    after: Annotated[int, typer.Option(min=0, help="go on after the event of this sequence")] = 0,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Watch a job until it ends. Ctrl-C leaves it running."""
    with flare_client.connect() as flare:
        handle = _job(flare, job)
        if isinstance(handle, TrainingJobHandle):
            if output is OutputFormat.JSON:
                print_training(handle, after)
            else:
                print_fields([("version", follow_training(handle, after).name)])
        elif isinstance(handle, BatchPredictionHandle):
            if output is OutputFormat.JSON:
                print_batch_prediction(handle, after)
            else:
                print_fields([("data set", follow_batch_prediction(handle, after))])
        elif output is OutputFormat.JSON:
            print_import(handle, after)
        else:
            print_fields([("data set", follow_import(handle, after).name)])


@app.command()
def cancel(
    job: JobArgument,
    keep_best: Annotated[bool, typer.Option("--keep-best", help="make a version of the best epoch so far")] = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Ask a job to stop."""
    with flare_client.connect() as flare:
        handle = _training(flare, job) if keep_best else _job(flare, job)
        if isinstance(handle, TrainingJobHandle):
            handle.cancel(keep_best=keep_best)
        else:
            handle.cancel()
    _print_job(handle, output)


@app.command()
def pause(job: JobArgument, output: Output = OutputFormat.TEXT) -> None:
    """Ask a training to save where it is, and to leave its place to others."""
    with flare_client.connect() as flare:
        handle = _training(flare, job)
        handle.pause()
    _print_job(handle, output)


@app.command()
def resume(job: JobArgument, output: Output = OutputFormat.TEXT) -> None:
    """Let a paused training go on."""
    with flare_client.connect() as flare:
        handle = _training(flare, job)
        handle.resume()
    _print_job(handle, output)


def _print_job(handle: Handle, output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        print_json(handle.job)
    else:
        print_fields([("job", handle.name), ("state", handle.state)])


def _training(flare: Flare, name: str) -> TrainingJobHandle:
    handle = _job(flare, name)
    if not isinstance(handle, TrainingJobHandle):
        raise CommandError(f"{name!r} is no training: that is for trainings")
    return handle


def _job(flare: Flare, name: str) -> Handle:
    if name.startswith("trainingJobs/"):
        return flare.jobs.get_training(name)
    if name.startswith("importJobs/"):
        return flare.jobs.get_import(name)
    if name.startswith("batchPredictions/"):
        return flare.batch_predictions.get(name)
    kinds = "trainingJobs/ID, importJobs/ID or batchPredictions/ID"
    raise CommandError(f"{name!r} is not {kinds}: `flare jobs list` shows them")


def _state(job: Handle) -> str:
    position = job.job.queue_position if isinstance(job, TrainingJobHandle) else 0
    return f"{job.state}, place {position}" if position else job.state


def _what(job: Handle) -> str:
    if isinstance(job, ImportJobHandle):
        return f"import of {short(job.job.dataset)}"
    if isinstance(job, BatchPredictionHandle):
        return f"{short(job.job.view)} by {short(job.job.version)}"
    trial = f", a trial of {short(job.job.sweep)}" if job.job.sweep else ""
    return f"{short(job.job.model)} on {short(job.job.view)}{trial}"
