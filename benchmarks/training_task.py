"""A task for a worker, made without any service."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from benchmarks.peers.made_networks import HIDDEN_UNITS
from benchmarks.peers.made_rows import made_rows
from ml_server.features.columns import ColumnType
from ml_server.features.fit import InputColumn
from ml_server.features.targets import TargetColumn
from ml_server.networks.specification import MlpSpecification, ModelSpecification
from ml_server.training.plans import TrainingPlan
from ml_server.training.task import Provenance, TrainingTask
from ml_server.views.folder_cache import FolderCache
from ml_server.views.values import Part

CACHE_BYTES = MEMORY_BYTES = 4 * 10**9


def training_task(directory: Path, rows: int, batch: int, epochs: int, threads: int) -> TrainingTask:
    """The perceptron on so many made rows, a tenth of which validates and a tenth tests; all files in `directory`."""
    features, classes = made_rows("mlp", rows)
    names = [f"x{at}" for at in range(features.shape[1])]
    columns = [pa.array(features[:, at]) for at in range(len(names))]
    table = pa.table([*columns, pa.array(np.array(["no", "yes"], object)[classes])], names=[*names, "y"])
    turn = np.arange(rows) % 10
    files = {}
    for part, chosen in ((Part.TRAIN, turn < 8), (Part.VALIDATION, turn == 8), (Part.TEST, turn == 9)):
        files[part] = directory / f"{part}.arrow"
        of_part = table.filter(pa.array(chosen))
        with ipc.new_file(str(files[part]), of_part.schema) as writer:
            writer.write_table(of_part)
    return TrainingTask(
        specification=ModelSpecification(architecture=MlpSpecification(hidden_units=HIDDEN_UNITS)),
        plan=TrainingPlan(epochs=epochs, batch_size=batch, seed=1),
        inputs=tuple(InputColumn(name, ColumnType.FLOAT) for name in names),
        targets=(TargetColumn("y", ColumnType.CATEGORICAL, 2),),
        files=files,
        cache=FolderCache(directory / "cache", CACHE_BYTES),
        memory_bytes=MEMORY_BYTES,
        initial_weights=None,
        checkpoints=directory / "checkpoints",
        output=directory / "version",
        threads=threads,
        provenance=Provenance("job", "datasets/made/views/main", "0" * 64),
        logged_epochs=0,
    )
