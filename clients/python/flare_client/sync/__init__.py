# Made from flare_client/aio/__init__.py by tools/make_sync_client.py: edit that, then run this.
"""The blocking client: `with flare_client.connect() as flare: ...`."""

from flare_client.sync.batch_predictions import BatchPredictionHandle, BatchPredictions
from flare_client.sync.datasets import Datasets
from flare_client.sync.flare import Flare, connect
from flare_client.sync.import_jobs import ImportJobHandle
from flare_client.sync.jobs import Jobs
from flare_client.sync.login import login
from flare_client.sync.models import Models
from flare_client.sync.sweeps import SweepHandle, Sweeps
from flare_client.sync.training_jobs import TrainingJobHandle
from flare_client.sync.views import Views

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
