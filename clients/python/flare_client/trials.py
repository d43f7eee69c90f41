"""The trials of a sweep as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flare.ml.v1 import sweep_pb2 as pb

from flare_client.choices import short_name
from flare_client.sweep_requests import plain_value

if TYPE_CHECKING:
    import pandas as pd


def trial_state(trial: pb.SweepTrial) -> str:
    """The state in a word: `pruned`."""
    return short_name(pb.SweepTrial.State, trial.state)


def parameter_paths(trials: Sequence[pb.SweepTrial]) -> list[str]:
    """The paths of the parameters of all trials, in order."""
    return sorted({path for trial in trials for path in trial.parameters})


def trials_frame(trials: Sequence[pb.SweepTrial]) -> pd.DataFrame:
    """A row for each trial, by its number: state, value, epochs, and a column for each parameter."""
    import pandas as pd

    rows: dict[int, dict[str, Any]] = {}
    for trial in trials:
        rows[trial.number] = {
            "state": trial_state(trial),
            "value": trial.value if trial.HasField("value") else None,
            "epoch": trial.epoch,
            "finished_epochs": trial.finished_epochs,
            **{path: plain_value(trial.parameters[path]) for path in sorted(trial.parameters)},
        }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index.name = "trial"
    return frame
