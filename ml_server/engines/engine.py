"""The port of engines, and what is known of them."""

from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ml_server.networks.values import PositiveOrZero, Value

# Rows of the batch that engines are measured with.
BATCH_ROWS = 32

Features = NDArray[np.float32]
Outputs = NDArray[np.float32]


class EngineName(StrEnum):
    """The engines that there are."""

    ONNXRUNTIME = "onnxruntime"
    TORCH = "torch"


class Engine(Protocol):
    """A network that is ready to compute; safe to call from several threads at a time."""

    def run(self, features: Features) -> Outputs:
        """Outputs (N, outputs), float32, for features (N, layout.columns), float32 and contiguous, N at least 1."""
        ...


class EngineMeasurement(Value):
    """What an engine was found to do with a network, on one thread. Times are 0 if it is refused."""

    engine: EngineName
    single_row_microseconds: PositiveOrZero = 0.0
    batch_microseconds: PositiveOrZero = 0.0
    largest_difference: PositiveOrZero = 0.0
    """From PyTorch's outputs, in shares of the largest of them."""
    refusal: str = ""

    def microseconds(self, rows: int) -> float:
        """About what a call with this many rows (at least 1) takes, on the line through both measurements."""
        per_row = max(0.0, self.batch_microseconds - self.single_row_microseconds) / (BATCH_ROWS - 1)
        return self.single_row_microseconds + (rows - 1) * per_row


class EngineChoice(Value):
    """The engine of a version, and the measurements that it was chosen by."""

    engine: EngineName
    measurements: tuple[EngineMeasurement, ...]

    def measurement(self) -> EngineMeasurement:
        """That of the engine itself."""
        return next(each for each in self.measurements if each.engine is self.engine)
