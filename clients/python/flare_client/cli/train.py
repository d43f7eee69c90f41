"""`flare train`: train a model on a view."""

from __future__ import annotations

from typing import Annotated

import typer

import flare_client
from flare_client.cli.arguments import cell, numbers_by_name, pairs
from flare_client.cli.failures import CommandError
from flare_client.cli.output import Output, OutputFormat, print_fields, print_json, stderr
from flare_client.cli.training_watch import follow_training, print_training
from flare_client.plans import PlanOptions


def train(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="such as iris")],
    view: Annotated[str, typer.Argument(metavar="VIEW", help="DATASET/VIEW")],
    epochs: Annotated[int | None, typer.Option(min=1, help="at most so many; 50 unless given")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="rows of a step; 64 unless given")] = None,
    lr: Annotated[float | None, typer.Option("--lr", "--learning-rate", help="0.001 unless given; sgd 0.01")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adam, adamw, sgd, rmsprop or adagrad")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="pull of the weights towards 0")] = None,
    momentum: Annotated[float | None, typer.Option(help="of sgd and rmsprop")] = None,
    nesterov: Annotated[bool | None, typer.Option("--nesterov", help="Nesterov's momentum, for sgd")] = None,
    schedule: Annotated[str | None, typer.Option(help="constant, step, cosine, one_cycle or reduce_on_plateau")] = None,
    step_epochs: Annotated[int | None, typer.Option(help="of step: epochs between two falls")] = None,
    step_factor: Annotated[float | None, typer.Option(help="of step: what the rate is multiplied with")] = None,
    final_fraction: Annotated[float | None, typer.Option(help="of cosine: share of the rate left at the end")] = None,
    warmup_steps: Annotated[int | None, typer.Option(help="steps in which the rate rises from 0")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="scale gradients down to this norm")] = None,
    accumulation_steps: Annotated[int | None, typer.Option(min=1, help="batches whose gradients make a step")] = None,
    loss: Annotated[
        list[str] | None,
        typer.Option(help="mse, mae or huber for numbers; cross_entropy, binary_cross_entropy or focal for classes"),
    ] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="of cross_entropy: share spread over classes")] = None,
    class_weight: Annotated[
        list[str] | None, typer.Option(metavar="balanced|CLASS=WEIGHT", help="how much the rows of a class count")
    ] = None,
    patience: Annotated[int | None, typer.Option(min=1, help="stop after so many epochs without a better loss")] = None,
    min_delta: Annotated[float | None, typer.Option(help="what counts as better, with --patience")] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, help="at most so many steps in all")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="at most so long")] = None,
    engine: Annotated[
        str | None, typer.Option(help="What serves the version: onnxruntime or torch; else the faster one")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16")] = None,
    compile_: Annotated[bool | None, typer.Option("--compile", help="compile the network first")] = None,
    seed: Annotated[int | None, typer.Option(help="decides first weights, order and dropout")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="workers of a Ray cluster that train together")] = None,
    max_attempts: Annotated[int | None, typer.Option(min=1, help="how often infrastructure may fail")] = None,
    base_version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="start from its weights: iris/versions/3, iris@prod, iris")
    ] = None,
    freeze: Annotated[
        list[str] | None, typer.Option(metavar="BLOCK", help="leave its weights as they are: blocks.0, lstm")
    ] = None,
    augment: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHANGE=NUMBER",
            help="change training images at random: horizontal_flip=0.5, vertical_flip, crop_padding=2, "
            "rotation_degrees=10, brightness=0.2, contrast, saturation",
        ),
    ] = None,
    plan: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OPTION=VALUE",
            help="any other option of a plan: huber_delta, focal_gamma, rise_fraction, start_divisor, end_divisor, "
            "plateau_patience, plateau_factor, plateau_min_delta, plateau_min_learning_rate, checkpoint_interval=30, "
            "deterministic=true",
        ),
    ] = None,
    priority: Annotated[int, typer.Option(min=-100, max=100, help="higher ones leave the queue first")] = 0,
    detach: Annotated[bool, typer.Option("--detach", help="start it and return at once")] = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Train a model on a view, and watch. Ctrl-C leaves the training running."""
    given = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": lr,
        "optimizer": optimizer,
        "weight_decay": weight_decay,
        "momentum": momentum,
        "nesterov": nesterov,
        "schedule": schedule,
        "step_epochs": step_epochs,
        "step_factor": step_factor,
        "final_fraction": final_fraction,
        "warmup_steps": warmup_steps,
        "gradient_clip_norm": clip_norm,
        "accumulation_steps": accumulation_steps,
        "loss": loss,
        "label_smoothing": label_smoothing,
        "class_weights": _class_weights(class_weight or []),
        "patience": patience,
        "min_delta": min_delta,
        "max_steps": max_steps,
        "max_duration": max_seconds,
        "engine": engine,
        "precision": precision,
        "compile": compile_,
        "seed": seed,
        "device": device,
        "workers": workers,
        "max_attempts": max_attempts,
        "frozen_blocks": freeze or None,
        "augmentation": numbers_by_name("--augment", augment or []) or None,
    }
    others = {name: cell(value) for name, value in pairs("--plan", plan or []).items()}
    chosen = {key: value for key, value in given.items() if value is not None}
    if twice := others.keys() & chosen.keys():
        raise CommandError(f"{min(twice)} is given twice: by --plan, and by an option of its own")
    options: PlanOptions = chosen | others  # type: ignore[assignment]
    with flare_client.connect() as flare:
        job = flare.train(model, view, base_version=base_version, priority=priority, **options)
        if detach:
            if output is OutputFormat.JSON:
                print_json(job.job)
            else:
                base = [("starts from", job.job.base_version)] if job.job.base_version else []
                print_fields([("job", job.name), *base, ("watch it", f"flare jobs watch {job.name}")])
        elif output is OutputFormat.JSON:
            print_training(job)
        else:
            stderr().print(f"{job.name}: Ctrl-C stops watching, not the training.", style="dim", soft_wrap=True)
            version = follow_training(job)
            print_fields([("version", version.name)])


def _class_weights(texts: list[str]) -> str | dict[str, float] | None:
    if texts == ["balanced"]:
        return "balanced"
    return numbers_by_name("--class-weight", texts) or None
