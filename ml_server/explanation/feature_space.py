"""The features that an architecture sees: where each column's stand, and those of an average row."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ml_server.features.columns import ColumnType
from ml_server.features.encodings import CategoryEncoding, FittedColumn, ImageEncoding, NumberEncoding
from ml_server.features.features import FittedFeatures
from ml_server.networks.manageable_model import ManageableModel

BRIGHTEST = 255


@dataclass(frozen=True)
class FeatureSpace:
    """A network from its features (N, F) on, without what looks up vectors of categories."""

    model: ManageableModel
    columns: tuple[str, ...]
    column_of: Tensor
    """The index of the column that each feature belongs to (F,)."""
    baseline: Tensor
    """The features of an average row (F,)."""

    @classmethod
    def of(cls, fitted: FittedFeatures, model: ManageableModel) -> "FeatureSpace":
        """The space of a version's features."""
        column_of = torch.empty(fitted.layout.features, dtype=torch.int64)
        baseline = torch.zeros(fitted.layout.features)
        tables: list[nn.Module] = [] if model.input is None else list(model.input.tables)
        for index, (column, part) in enumerate(fitted.parts):
            column_of[part] = index
            if isinstance(column.encoding, CategoryEncoding) and column.encoding.dim is not None:
                baseline[part] = _average_vector(column.encoding, tables.pop(0))
            else:
                baseline[part] = _average(column)
        return cls(model, tuple(column.name for column in fitted.columns), column_of, baseline)

    def features(self, tensor: NDArray[np.float32]) -> Tensor:
        """The features (N, F) that a network's input tensor (N, layout.columns) means."""
        columns = torch.tensor(tensor)  # a copy: it may be the memory of a request
        if self.model.input is None:
            return columns
        features: Tensor = self.model.input(columns)
        return features


def _average(column: FittedColumn) -> Tensor:
    """An average row's features (width,) of a column that is not embedded. Zeros where 0 is the mean."""
    encoding = column.encoding
    average = torch.zeros(encoding.width)
    if isinstance(encoding, CategoryEncoding):
        average[: max(1, len(encoding.categories))] = 1 / max(1, len(encoding.categories))
    elif isinstance(encoding, NumberEncoding):
        is_flag = column.type is ColumnType.BOOLEAN and encoding.encoding == "pass_through"
        if is_flag or encoding.encoding == "min_max":
            average[:] = 0.5
    elif isinstance(encoding, ImageEncoding) and encoding.encoding != "standardize":
        average[:] = BRIGHTEST / 2 if encoding.encoding == "pass_through" else 0.5
    return average  # that of a time is 0: the mean time, and the middle of each circle that a part runs round


def _average_vector(encoding: CategoryEncoding, table: nn.Module) -> Tensor:
    """The mean (dim,) of the vectors of all known categories: nothing trains that of unknown ones."""
    assert isinstance(table, nn.Embedding)
    return table.weight.detach()[: max(1, len(encoding.categories))].mean(dim=0)
