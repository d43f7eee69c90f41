"""The trackers that an operator asks for. Their packages are extras, imported only if they are wanted."""

import os
from pathlib import Path

from ml_server.tracking.tracker import Tracker

# Unless these say otherwise MLflow tells its makers of its use, waits minutes for a server that is away, and prints the
# address of each run that ends.
MLFLOW_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def open_trackers(
    tensorboard_directory: Path | None, mlflow_tracking_uri: str, mlflow_experiment: str
) -> list[Tracker]:
    """The trackers whose settings are set; none connects to anything yet.

    Raises:
        ValueError: The package of one is not installed; says which extra brings it.
    """
    trackers: list[Tracker] = []
    if tensorboard_directory is not None:
        try:
            from ml_server.tracking.tensorboard_tracker import TensorBoardTracker
        except ImportError as error:
            raise _missing("FLARE_ML_TENSORBOARD_DIRECTORY", "tensorboard") from error
        trackers.append(TensorBoardTracker(tensorboard_directory.absolute()))
    if mlflow_tracking_uri:
        for name, value in MLFLOW_DEFAULTS.items():
            os.environ.setdefault(name, value)
        try:
            from ml_server.tracking.mlflow_tracker import MlflowTracker
        except ImportError as error:
            raise _missing("FLARE_ML_MLFLOW_TRACKING_URI", "mlflow") from error
        trackers.append(MlflowTracker(mlflow_tracking_uri, mlflow_experiment))
    return trackers


def _missing(setting: str, package: str) -> ValueError:
    return ValueError(
        f"{setting} is set, but the package '{package}' is not installed: install flare[{package}], or unset it"
    )
