"""Follows a training on the terminal, or as lines of JSON."""

from __future__ import annotations

from flare.ml.v1 import model_pb2, training_job_pb2
from rich.console import Console

from flare_client import TrainingJobHandle
from flare_client.cli.interruption import leaves_running
from flare_client.cli.output import print_json_line
from flare_client.cli.training_display import TrainingDisplay


def follow_training(job: TrainingJobHandle, after: int = 0, console: Console | None = None) -> model_pb2.ModelVersion:
    """Shows the training until it ends. Raises FlareError if it does not end well."""
    with leaves_running(job.name), TrainingDisplay(console) as display:
        for content in job.messages(after, on_interruption=display.interrupted):
            display.show(content)
    return job.wait()


def print_training(job: TrainingJobHandle, after: int = 0) -> None:
    """Prints each message as a line of JSON until the job ends."""
    with leaves_running(job.name):
        for content in job.messages(after):
            key = "snapshot" if isinstance(content, training_job_pb2.TrainingJob) else "event"
            print_json_line({key: content})
    job.wait()
