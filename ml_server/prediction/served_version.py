"""A version as predictions need it: its engine, its preprocessing, and its network only if somebody asks for it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ml_server.engines.engine import Engine, EngineName, Features, Outputs
from ml_server.engines.onnx_engine import OnnxEngine
from ml_server.engines.torch_engine import TorchEngine
from ml_server.features.features import FittedFeatures
from ml_server.features.targets import FittedTargets
from ml_server.networks.manageable_model import ManageableModel
from ml_server.prediction.batcher import inline_rows
from ml_server.prediction.signature import output_names
from ml_server.registry.bundle import ENGINE_FILE, read_details, read_network, read_preprocessing
from ml_server.registry.values import VersionDetails

# So few that what a layer makes of them is in the processor's cache when the next one reads it.
BATCH_ROWS = 1_024
# A network makes many numbers of each feature of an image, and those of all rows of a batch are in memory at once.
BATCH_FEATURES = 4_000_000
# What has more numbers than this is converted on a thread: it would keep other calls waiting.
INLINE_CELLS = 65_536
# Of PyTorch on one core, roughly.
MICROSECONDS_PER_CALL = 30.0
MULTIPLICATIONS_PER_MICROSECOND = 5_000.0


@dataclass(frozen=True, eq=False)
class ServedVersion:
    """A version that is ready to predict. Its folder must stay."""

    directory: Path
    features: FittedFeatures
    targets: FittedTargets
    details: VersionDetails

    @classmethod
    def read(cls, directory: Path) -> "ServedVersion":
        """Reads a version's folder, and has computed once when it returns. Raises InvalidArgument as `read_bundle`."""
        preprocessing = read_preprocessing(directory)
        served = cls(directory, preprocessing.features, preprocessing.targets, read_details(directory))
        served.engine.run(np.zeros((1, preprocessing.features.layout.columns), np.float32))
        return served

    @cached_property
    def engine(self) -> Engine:
        """What computes the outputs."""
        if self.details.engine_name is EngineName.ONNXRUNTIME:
            return OnnxEngine(self.directory / ENGINE_FILE)
        return TorchEngine(self.model)

    def run(self, features: Features) -> Outputs:
        """Outputs (N, targets.outputs), float32, for features (N, layout.columns), with bounded memory."""
        rows, size = len(features), self._batch_rows
        if 0 < rows <= size:
            return self.engine.run(features)
        if not rows:
            return np.empty((0, self.targets.outputs), np.float32)
        parts = [self.engine.run(features[start : start + size]) for start in range(0, rows, size)]
        return np.concatenate(parts)

    @cached_property
    def _batch_rows(self) -> int:
        """How many rows are computed at a time."""
        return max(1, min(BATCH_ROWS, BATCH_FEATURES // max(self.features.layout.columns, 1)))

    def expected_microseconds(self, rows: int) -> float:
        """About what `run` takes, as measured when the version was made; guessed from its weights if it was not."""
        if self.details.engine is None:
            return MICROSECONDS_PER_CALL + rows * self.details.parameter_count / MULTIPLICATIONS_PER_MICROSECOND
        return self.details.engine.measurement().microseconds(rows)

    @cached_property
    def inline_rows(self) -> int:
        """With how many rows a call is computed where it is asked for."""
        return inline_rows(self)

    @cached_property
    def output_names(self) -> dict[str, bool]:
        """As `output_names` of the targets."""
        return output_names(self.targets)

    @cached_property
    def most_cells(self) -> int:
        """Numbers of a row, in the features or in the outputs."""
        return max(self.features.layout.columns, self.targets.outputs)

    @cached_property
    def quick_rows(self) -> int:
        """With how many rows all of a call is done where it is asked for: 0 for images, decoded on threads."""
        if self.features.layout.image is not None:
            return 0
        return min(self.inline_rows, INLINE_CELLS // self.most_cells)

    @cached_property
    def model(self) -> ManageableModel:
        """The network itself, in evaluation mode, for what engines can't do."""
        return read_network(self.directory)
