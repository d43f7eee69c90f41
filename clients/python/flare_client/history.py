"""A training's epochs, and the curves that they draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare.ml.v1 import metric_pb2, training_job_pb2

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Epoch:
    """A finished epoch. `metrics` are those of the validation rows, by name; several targets give `name(target)`."""

    epoch: int
    train_loss: float
    validation_loss: float
    metrics: Mapping[str, float]
    learning_rate: float
    seconds: float
    samples_per_second: float
    is_best: bool


def epoch_of(event: training_job_pb2.EpochFinished) -> Epoch:
    """The epoch that an event tells of."""
    return Epoch(
        epoch=event.epoch,
        train_loss=event.train_loss,
        validation_loss=event.validation_loss,
        metrics=metrics_by_name(event.validation_metrics),
        learning_rate=event.learning_rate,
        seconds=event.duration.ToNanoseconds() / 1e9,
        samples_per_second=event.samples_per_second,
        is_best=event.is_best,
    )


def metrics_by_name(metrics: Sequence[metric_pb2.Metric]) -> dict[str, float]:
    """Metrics by name, in their order; by `name(target)` where there are several targets."""
    targets = {metric.target for metric in metrics if metric.target}
    return {
        f"{metric.name}({metric.target})" if metric.target and len(targets) > 1 else metric.name: metric.value
        for metric in metrics
    }


def history_frame(epochs: Sequence[Epoch]) -> pd.DataFrame:
    """A row for each epoch, by its number: losses, metrics, learning rate, seconds, samples a second.

    An epoch that ran again after a lost attempt stands once, as it ended last.
    """
    import pandas as pd

    rows: dict[int, dict[str, Any]] = {}
    for epoch in epochs:
        rows[epoch.epoch] = {
            "train_loss": epoch.train_loss,
            "validation_loss": epoch.validation_loss,
            **epoch.metrics,
            "learning_rate": epoch.learning_rate,
            "seconds": epoch.seconds,
            "samples_per_second": epoch.samples_per_second,
        }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index.name = "epoch"
    return frame.sort_index()


def plot_history(histories: Mapping[str, pd.DataFrame], path: str | Path | None = None) -> Figure:
    """Draws loss and accuracy (or the first metric there is) of one or more trainings, by their titles.

    Writes the picture to `path` if there is one, in the format of its ending. A notebook shows the figure returned.
    """
    from flare_client.curves import learning_curves

    figure = learning_curves(histories)
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure
