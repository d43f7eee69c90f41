"""The rows that all sides train on, the same every time. Knows nothing but NumPy."""

import numpy as np
from numpy.typing import NDArray

PERCEPTRON_INPUTS = 32
IMAGE = (3, 16, 16)


def made_rows(kind: str, rows: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features (rows, F) and classes 0 and 1 (rows,), for an `mlp` or a `cnn`."""
    inputs = PERCEPTRON_INPUTS if kind == "mlp" else int(np.prod(IMAGE))
    random = np.random.default_rng(7)
    features = random.normal(size=(rows, inputs)).astype(np.float32)
    hidden = np.tanh(features[:, :PERCEPTRON_INPUTS] @ random.normal(size=(PERCEPTRON_INPUTS, 8)))
    return features, (hidden.sum(axis=1) + random.normal(scale=0.3, size=rows) > 0).astype(np.int64)
