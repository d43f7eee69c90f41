"""What is asked of an explanation, and what it says."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from ml_server.registry.values import ModelVersion


class Method(StrEnum):
    """How contributions are found. The names are the contract's in lower case."""

    INTEGRATED_GRADIENTS = "integrated_gradients"
    PERMUTATION = "permutation"


@dataclass(frozen=True)
class ExplanationRequest:
    """Which output is explained, and how.

    `target` may be empty if there is only one, `class_label` for the class that is predicted; `method` None takes
    integrated gradients where the network has gradients. `steps` are those of the integral, or orders of the columns.
    """

    target: str
    class_label: str
    method: Method | None
    steps: int
    seed: int


@dataclass(frozen=True)
class Contributions:
    """Contributions (N, columns) to outputs (N,), which are measured from those of the baseline (N,)."""

    values: NDArray[np.float64]
    outputs: NDArray[np.float64]
    baseline_outputs: NDArray[np.float64]


@dataclass(frozen=True)
class Explanation:
    """The contributions for N rows, in the target's own unit or as logits of the classes `class_labels` (N)."""

    version: ModelVersion
    target: str
    class_labels: tuple[str, ...]
    method: Method
    columns: tuple[str, ...]
    contributions: Contributions
