"""The asynchronous client: `async with flare_client.aio.connect() as flare: ...`."""

from flare_client.aio.batch_predictions import BatchPredictionHandle, BatchPredictions
from flare_client.aio.datasets import Datasets
from flare_client.aio.flare import Flare, connect
from flare_client.aio.import_jobs import ImportJobHandle
from flare_client.aio.jobs import Jobs
from flare_client.aio.login import login
from flare_client.aio.models import Models
from flare_client.aio.sweeps import SweepHandle, Sweeps
from flare_client.aio.training_jobs import TrainingJobHandle
from flare_client.aio.views import Views

__all__ = [
    "BatchPredictionHandle",
    "BatchPredictions",
    "Datasets",
    "Flare",
    "ImportJobHandle",
    "Jobs",
    "Models",
    "SweepHandle",
    "Sweeps",
    "TrainingJobHandle",
    "Views",
    "connect",
    "login",
]
