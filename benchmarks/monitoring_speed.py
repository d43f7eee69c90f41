"""What it costs a caller that the rows of all predictions are watched for drift."""

import asyncio
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure
from benchmarks.serving_service import COLUMNS, HIDDEN_UNITS
from benchmarks.sizes import Sizes
from ml_server.monitoring.drift_watch import DriftWatch
from ml_server.monitoring.reference import make_reference
from ml_server.prediction.inputs import ColumnInputs
from ml_server.prediction.observers import Answered, Asked
from ml_server.prediction.served_version import ServedVersion
from ml_server.prediction.statistics import Timings
from ml_server.registry.bundle import REFERENCE_FILE, write_bundle
from ml_server.registry.values import Model, ModelVersion, VersionReference
from servicekit.artifacts import FolderArtifacts
from tests.made_versions import numbers_version

LIMIT_MICROSECONDS = 5.0


def watched_row(sizes: Sizes) -> Figure:
    """Microseconds that a call for one row of 30 columns takes longer, beside what it may take."""
    taken = [asyncio.run(_microseconds(sizes.calls)) for _ in range(sizes.runs)]
    return Figure.of_cost("watched_row", statistics.median(taken), "us", "what it may take", LIMIT_MICROSECONDS)


async def _microseconds(calls: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "v1"
        bundle = numbers_version(COLUMNS, HIDDEN_UNITS)
        write_bundle(directory, bundle)
        served = ServedVersion.read(directory)
        rows = np.random.default_rng(0).standard_normal((calls, COLUMNS)).astype(np.float32)
        outputs = served.run(rows)
        reference = make_reference(bundle.features, bundle.targets, rows, outputs)
        (directory / REFERENCE_FILE).write_text(reference.model_dump_json())
        now = datetime.now(UTC)
        model = Model("u1", "accounts/ann", "mlp", "", bundle.model.config.specification, now, now)
        version = ModelVersion(model, 1, bundle.details, 1, now, "v1")
        watch = DriftWatch(FolderArtifacts(Path(name)))
        asked = Asked(model.owner, VersionReference("mlp"), version, served)
        inputs, timings = ColumnInputs({}), Timings(0, 0, 0, 0)
        requests = [(rows[at : at + 1].copy(), outputs[at : at + 1].copy()) for at in range(calls)]
        began = time.perf_counter()
        for features, found in requests:
            watch.answered(Answered(asked, inputs, features, found, timings))
        seconds = time.perf_counter() - began
        drift = await watch.drift(version)
        assert drift.rows + drift.dropped == calls
        return seconds / calls * 1e6
