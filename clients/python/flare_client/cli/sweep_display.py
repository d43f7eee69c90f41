"""Follows a sweep on the terminal: a row for each trial as it ends."""

from __future__ import annotations

from collections.abc import Sequence

from flare.ml.v1 import model_pb2
from flare.ml.v1 import sweep_pb2 as pb
from rich.console import Console

from flare_client import SweepHandle
from flare_client.cli.interruption import leaves_running
from flare_client.cli.output import print_json_line, stdout
from flare_client.sweep_requests import plain_value
from flare_client.trials import trial_state

STATE_WIDTH = 9


def follow_sweep(sweep: SweepHandle, after: int = 0, console: Console | None = None) -> model_pb2.ModelVersion:
    """Shows each trial as it ends, and which one is the best. Raises FlareError if the sweep does not end well."""
    console = console or stdout()
    with leaves_running(sweep.name, "flare sweeps watch"):
        for event in sweep.events(after, on_interruption=lambda cause: console.print(f"connection lost: {cause}")):
            match event.WhichOneof("event"):
                case "trial_ended":
                    console.print(trial_line(event.trial_ended, sweep.sweep), soft_wrap=True)
                case "best_changed":
                    console.print(f"  trial {event.best_changed.number} is the best so far", style="bold")
                case "time_over":
                    console.print(f"  time is over: {event.time_over.running_trials} trials end with their best epoch")
    return sweep.wait()


def print_sweep(sweep: SweepHandle, after: int = 0) -> None:
    """Prints each message as a line of JSON until the sweep ends."""
    with leaves_running(sweep.name, "flare sweeps watch"):
        for content in sweep.messages(after):
            print_json_line({"snapshot" if isinstance(content, pb.Sweep) else "event": content})
    sweep.wait()


def trial_line(trial: pb.SweepTrial, sweep: pb.Sweep) -> str:
    """A trial in a line: number, state, value, and its parameters."""
    value = f"{sweep.objective.metric} {trial.value:.5g}" if trial.HasField("value") else trial.error.message
    parameters = "  ".join(f"{path}={shown(trial.parameters[path])}" for path in sorted(trial.parameters))
    total = sweep.progress.total_trials
    return f"trial {trial.number:>{len(str(total))}}/{total} {trial_state(trial):{STATE_WIDTH}} {value}  {parameters}"


def trial_rows(trials: Sequence[pb.SweepTrial], sweep: pb.Sweep) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of a table of trials; the best one is marked."""
    paths = [parameter.path for parameter in sweep.parameters]
    headings = ["", ">TRIAL", "STATE", f">{sweep.objective.metric.upper()}", ">EPOCH", ">EPOCHS", *paths, "JOB"]
    rows = [
        [
            "*" if trial.number == sweep.best_trial.number else "",
            str(trial.number),
            trial_state(trial),
            f"{trial.value:.5g}" if trial.HasField("value") else "",
            str(trial.epoch or ""),
            str(trial.finished_epochs),
            *(shown(trial.parameters[path]) if path in trial.parameters else "" for path in paths),
            trial.training_job,
        ]
        for trial in trials
    ]
    return headings, rows


def shown(value: pb.ParameterValue) -> str:
    """A value of a parameter in few digits."""
    plain = plain_value(value)
    return f"{plain:.4g}" if isinstance(plain, float) else str(plain)
