"""What trackers draw of a training: named series of numbers."""

import re
from collections.abc import Sequence

from ml_server.registry.values import Metric
from ml_server.training.events import EpochFinished

# What MLflow takes in a name, but for the slash, which parts series into groups.
_STRANGE = re.compile(r"[^\w .:-]", re.ASCII)
MOST_CHARACTERS = 180


def epoch_series(epoch: EpochFinished) -> dict[str, float]:
    """The numbers of an epoch."""
    return {
        "loss/train": epoch.train_loss,
        "loss/validation": epoch.validation_loss,
        **metric_series("validation", epoch.validation_metrics),
        "learning_rate": epoch.learning_rate,
        "samples_per_second": epoch.samples_per_second,
    }


def metric_series(part: str, metrics: Sequence[Metric]) -> dict[str, float]:
    """Metrics as `{part}/{target}/{metric}`, those of all targets together as `{part}/{metric}`."""
    places: dict[str, str] = {"": part}
    for metric in metrics:
        if metric.target not in places:
            place = f"{part}/{_plain(metric.target)}"
            taken = places.values()
            places[metric.target] = place if place not in taken else f"{place}_{len(places)}"
    return {f"{places[metric.target]}/{metric.name}": metric.value for metric in metrics}


def _plain(target: str) -> str:
    return _STRANGE.sub("_", target)[:MOST_CHARACTERS].strip() or "_"
