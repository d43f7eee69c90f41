"""Learning curves. Importing this needs matplotlib, which the bare client does without."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    import pandas as pd

NOT_METRICS = frozenset({"train_loss", "validation_loss", "learning_rate", "seconds", "samples_per_second", "loss"})


class Curves(Figure):
    """A figure that notebooks show by themselves, whether or not pyplot is in use."""

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png")
        return picture.getvalue()


def learning_curves(histories: Mapping[str, pd.DataFrame]) -> Curves:
    """Losses above, a metric below, a column for each history."""
    figure = Curves(figsize=(5.0 * len(histories), 6.0), layout="constrained")
    axes = figure.subplots(2, len(histories), squeeze=False, sharex="col")
    for (title, frame), (losses, metrics) in zip(histories.items(), axes.T, strict=True):
        losses.plot(frame.index, frame["train_loss"], label="train")
        losses.plot(frame.index, frame["validation_loss"], label="validation")
        if len(frame):
            best = frame["validation_loss"].idxmin()
            losses.axvline(best, linestyle=":", color="grey", label=f"best epoch {best}")
        losses.set(title=title, ylabel="loss")
        losses.legend()
        name = metric_to_show(frame)
        if name is not None:
            metrics.plot(frame.index, frame[name], color="tab:green")
            metrics.set(ylabel=f"validation {name}")
        metrics.set(xlabel="epoch")
    return figure


def metric_to_show(frame: pd.DataFrame) -> str | None:
    """The metric that says most to a person: an accuracy, else an r2, else the first."""
    names = [str(name) for name in frame.columns if name not in NOT_METRICS]
    for wanted in ("accuracy", "r2"):
        for name in names:
            if name.startswith(wanted):
                return name
    return names[0] if names else None
