"""An import as it goes on."""

from __future__ import annotations

from flare.scraper.v1 import dataset_pb2, import_job_pb2

from flare_client import ImportJobHandle
from flare_client.choices import short_name
from flare_client.cli.interruption import leaves_running
from flare_client.cli.output import print_json_line
from flare_client.cli.progress import ByteProgress
from flare_client.jobs_state import state_name


def follow_import(job: ImportJobHandle, after: int = 0) -> dataset_pb2.Dataset:
    """Shows a bar until the job ends. Raises FlareError if it does not end well."""
    with leaves_running(job.name), ByteProgress("waiting") as bar:
        for content in job.messages(after, on_interruption=bar.interrupted):
            if content.HasField("progress"):
                progress = content.progress
                bar.describe(short_name(import_job_pb2.ImportPhase, progress.phase) or state_name(job.job.state))
                bar.update(progress.done_bytes, progress.total_bytes)
    return job.wait()


def print_import(job: ImportJobHandle, after: int = 0) -> None:
    """Prints each message as a line of JSON until the job ends."""
    with leaves_running(job.name):
        for content in job.messages(after):
            key = "snapshot" if isinstance(content, import_job_pb2.ImportJob) else "event"
            print_json_line({key: content})
    job.wait()
