"""`flare sweeps`: searches for a plan that trains a model well."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from flare.ml.v1 import sweep_pb2 as pb

import flare_client
from flare_client import SweepHandle
from flare_client.cli.arguments import cell, pairs, space_of
from flare_client.cli.output import Output, OutputFormat, print_fields, print_json, print_table, stderr
from flare_client.cli.sweep_display import follow_sweep, print_sweep, trial_rows
from flare_client.cli.words import moment
from flare_client.names import short
from flare_client.plans import PlanOptions
from flare_client.sweep_requests import plain_value

app = typer.Typer(name="sweeps", help="Search for a plan that trains a model well.", no_args_is_help=True)

SweepArgument = Annotated[str, typer.Argument(metavar="SWEEP", help="an id, or sweeps/ID")]


@app.command()
def create(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="such as iris")],
    view: Annotated[str, typer.Argument(metavar="VIEW", help="DATASET/VIEW")],
    parameter: Annotated[
        list[str],
        typer.Option(
            "--parameter",
            "-p",
            metavar="PATH=VALUES",
            help="learning_rate=1e-4..0.1:log, epochs=10..50:5, optimizer=adam,sgd, optimizer.sgd.momentum=0..0.95",
        ),
    ],
    plan: Annotated[
        list[str] | None, typer.Option(metavar="OPTION=VALUE", help="of all trials alike, such as epochs=30")
    ] = None,
    objective: Annotated[str, typer.Option(help="validation_loss, or a metric such as accuracy")] = "",
    target: Annotated[str, typer.Option(help="whose metric it is, if there are several targets")] = "",
    sampler: Annotated[str, typer.Option(help="tpe, random, grid or gaussian_process; grid:points=3")] = "tpe",
    pruner: Annotated[
        str, typer.Option(help="no_pruner, median, percentile, successive_halving or hyperband")
    ] = "no_pruner",
    trials: Annotated[int, typer.Option(min=0, help="at most so many; 20, or the whole grid, unless given")] = 0,
    parallel: Annotated[int, typer.Option(min=1, help="trials at a time")] = 1,
    max_seconds: Annotated[float, typer.Option(min=0, help="after so long no trial starts")] = 0.0,
    seed: Annotated[int, typer.Option(help="decides what the sampler takes by chance")] = 0,
    priority: Annotated[int, typer.Option(min=-100, max=100, help="of the trials")] = 0,
    base_version: Annotated[str | None, typer.Option("--base-version", help="start from its weights")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="start it and return at once")] = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Start a sweep, and watch. Ctrl-C leaves it running."""
    options: PlanOptions = {name: cell(value) for name, value in pairs("--plan", plan or []).items()}  # type: ignore[assignment]
    with flare_client.connect() as flare:
        sweep = flare.sweeps.create(
            model,
            view,
            space_of(parameter),
            objective=objective,
            target=target,
            sampler=_options("--sampler", sampler),
            pruner=_options("--pruner", pruner),
            max_trials=trials,
            parallel_trials=parallel,
            max_seconds=max_seconds,
            sweep_seed=seed,
            priority=priority,
            base_version=base_version,
            **options,
        )
        if detach:
            if output is OutputFormat.JSON:
                print_json(sweep.sweep)
            else:
                print_fields([("sweep", sweep.name), ("watch it", f"flare sweeps watch {sweep.name}")])
        else:
            stderr().print(f"{sweep.name}: Ctrl-C stops watching, not the sweep.", style="dim", soft_wrap=True)
            _watch(sweep, 0, output)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="at most so many")] = 20, output: Output = OutputFormat.TEXT
) -> None:
    """List sweeps, newest first."""
    with flare_client.connect() as flare:
        sweeps = flare.sweeps.list(limit)
    if output is OutputFormat.JSON:
        print_json([each.sweep for each in sweeps])
        return
    print_table(
        ["SWEEP", "STATE", "WHAT", ">TRIALS", "BEST", "STARTED", "ENDED"],
        (
            (
                short(each.name),
                each.state,
                f"{short(each.sweep.model)} on {short(each.sweep.view)}",
                f"{_ended(each.sweep)}/{each.sweep.progress.total_trials}",
                _best(each.sweep),
                moment(each.sweep.create_time),
                moment(each.sweep.end_time),
            )
            for each in sweeps
        ),
        empty="No sweeps yet: `flare sweeps create MODEL VIEW -p learning_rate=1e-4..0.1:log`.",
    )


@app.command()
def get(sweep: SweepArgument, output: Output = OutputFormat.TEXT) -> None:
    """Show how a sweep is."""
    with flare_client.connect() as flare:
        handle = flare.sweeps.get(sweep)
    _print(handle, output)


@app.command()
def watch(
    sweep: SweepArgument,
    after: Annotated[int, typer.Option(min=0, help="go on after the event of this sequence")] = 0,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Watch a sweep until it ends. Ctrl-C leaves it running."""
    with flare_client.connect() as flare:
        _watch(flare.sweeps.get(sweep), after, output)


@app.command()
def cancel(
    sweep: SweepArgument,
    keep_best: Annotated[bool, typer.Option("--keep-best", help="make a version of the best trial so far")] = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Ask a sweep to stop, with its trials."""
    with flare_client.connect() as flare:
        handle = flare.sweeps.get(sweep)
        handle.cancel(keep_best=keep_best)
    _print(handle, output)


@app.command()
def trials(
    sweep: SweepArgument,
    best_first: Annotated[bool, typer.Option("--best-first", help="by their value")] = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """List the trials of a sweep with their values."""
    with flare_client.connect() as flare:
        handle = flare.sweeps.get(sweep)
        found = handle.trials()
    if best_first:
        found = _best_first(found, handle.sweep)
    if output is OutputFormat.JSON:
        print_json(found)
        return
    headings, rows = trial_rows(found, handle.sweep)
    print_table(headings, rows, empty="No trial has begun yet.")


def _watch(sweep: SweepHandle, after: int, output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        print_sweep(sweep, after)
        return
    version = follow_sweep(sweep, after)
    print_fields([("best trial", _best(sweep.sweep)), *_parameters(sweep.sweep), ("version", version.name)])


def _print(handle: SweepHandle, output: OutputFormat) -> None:
    sweep = handle.sweep
    if output is OutputFormat.JSON:
        print_json(sweep)
        return
    progress = sweep.progress
    counts = {
        "running": progress.running_trials,
        "succeeded": progress.succeeded_trials,
        "pruned": progress.pruned_trials,
        "failed": progress.failed_trials,
        "cancelled": progress.cancelled_trials,
    }
    counted = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none yet"
    print_fields(
        [
            ("sweep", handle.name),
            ("state", handle.state),
            ("trials", f"{counted}, of at most {progress.total_trials}"),
            ("objective", sweep.objective.metric),
            ("best trial", _best(sweep)),
            *_parameters(sweep),
            ("version", sweep.version),
            ("error", sweep.error.message),
        ]
    )


def _ended(sweep: pb.Sweep) -> int:
    progress = sweep.progress
    return progress.succeeded_trials + progress.pruned_trials + progress.failed_trials + progress.cancelled_trials


def _best(sweep: pb.Sweep) -> str:
    best = sweep.best_trial
    return f"#{best.number} with {sweep.objective.metric} {best.value:.5g}" if best.number else ""


def _parameters(sweep: pb.Sweep) -> list[tuple[str, object]]:
    parameters = sweep.best_trial.parameters
    return [(path, plain_value(parameters[path])) for path in sorted(parameters)]


def _best_first(trials: list[pb.SweepTrial], sweep: pb.Sweep) -> list[pb.SweepTrial]:
    """Those with a value by it, the best first; which end is best follows from the best trial."""
    valued = [trial for trial in trials if trial.state == pb.SweepTrial.STATE_SUCCEEDED]
    sign = -1 if any(trial.value < sweep.best_trial.value for trial in valued) else 1
    others = [trial for trial in trials if trial.state != pb.SweepTrial.STATE_SUCCEEDED]
    return sorted(valued, key=lambda trial: (sign * trial.value, trial.number)) + others


def _options(option: str, text: str) -> dict[str, dict[str, Any]]:
    """`median`, or `median:startup_trials=3:warmup_epochs=2`."""
    name, *given = text.split(":")
    return {name: {key: cell(value) for key, value in pairs(option, given).items()}}
