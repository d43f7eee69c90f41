"""All input columns together: from raw columns to one row-major float32 tensor."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ml_server.features.columns import Column, Columns, ImageColumn, NumberColumn, TextColumn
from ml_server.features.encodings import CategoryEncoding, FittedColumn, ImageEncoding, NumberEncoding
from ml_server.networks.feature_layout import EmbeddingColumn, FeatureLayout
from ml_server.networks.values import Value

# How many features are computed in float64 at a time: so many stay in the processor's cache from one step to the next.
CHUNK_FEATURES = 65_536


class FittedFeatures(Value):
    """Input columns with their fitted encodings, in the view's order."""

    columns: tuple[FittedColumn, ...]

    @cached_property
    def layout(self) -> FeatureLayout:
        """How the columns of the tensor are laid out."""
        embeddings = [
            EmbeddingColumn(name=column.name, categories=column.encoding.codes, dim=column.encoding.dim)
            for column in self.columns
            if isinstance(column.encoding, CategoryEncoding) and column.encoding.dim is not None
        ]
        dense = sum(column.encoding.width for column in self.columns)
        images = [each.encoding.network_shape for each in self.columns if isinstance(each.encoding, ImageEncoding)]
        return FeatureLayout(dense=dense, embeddings=tuple(embeddings), image=images[0] if images else None)

    def transform(self, columns: Columns) -> NDArray[np.float32]:
        """The features (N, layout.columns) of N rows. Every column must be there; see FittedColumn."""
        rows = len(columns[self.columns[0].name])
        features = np.empty((rows, self.layout.columns), dtype=np.float32)
        step = max(1, CHUNK_FEATURES // self.layout.columns)
        for start in range(0, rows, step):
            part = slice(start, start + step)
            self._fill(features[part], {name: _slice(column, part) for name, column in columns.items()})
        return features

    def _fill(self, features: NDArray[np.float32], columns: Columns) -> None:
        numbers = self._numbers
        if numbers.names:
            values = np.stack([_numbers_of(columns[name]) for name in numbers.names], axis=1)
            np.copyto(values, numbers.fills, where=np.isnan(values))
            values -= numbers.shifts
            values *= numbers.scales
            features[:, numbers.places] = values
        for column, place in self._others:
            prepared = column.prepared(columns[column.name])
            encoding = column.encoding
            if isinstance(encoding, CategoryEncoding):
                assert isinstance(prepared, TextColumn), column.name
                if encoding.dim is not None:
                    features[:, place] = encoding.code(prepared)
                else:
                    features[:, place : place + encoding.width] = encoding.encode(prepared)
            elif isinstance(encoding, ImageEncoding):
                assert isinstance(prepared, ImageColumn), column.name
                features[:, place : place + encoding.width] = encoding.encode(prepared)
            else:
                assert isinstance(prepared, NumberColumn), column.name
                features[:, place : place + encoding.width] = encoding.encode(prepared)

    @cached_property
    def _numbers(self) -> "_Numbers":
        """The columns that are one number each, computed together: most tables are nothing else."""
        found = [(c, p, c.encoding) for c, p in self._places if isinstance(c.encoding, NumberEncoding)]
        places = [place for _, place, _ in found]
        are_neighbours = bool(places) and places == list(range(places[0], places[0] + len(places)))
        return _Numbers(
            names=[column.name for column, _, _ in found],
            places=slice(places[0], places[0] + len(places)) if are_neighbours else np.array(places, dtype=np.int64),
            fills=np.array([np.nan if column.fill is None else float(column.fill) for column, _, _ in found]),
            shifts=np.array([encoding.shift for _, _, encoding in found]),
            scales=np.array([encoding.scale for _, _, encoding in found]),
        )

    @cached_property
    def _others(self) -> list[tuple[FittedColumn, int]]:
        return [(c, place) for c, place in self._places if not isinstance(c.encoding, NumberEncoding)]

    @cached_property
    def _places(self) -> list[tuple[FittedColumn, int]]:
        """Each column with the first of its places in the tensor: dense ones in order, then the embedded codes."""
        places = []
        dense, embedded = 0, self.layout.dense
        for column in self.columns:
            if column.encoding.width:
                places.append((column, dense))
                dense += column.encoding.width
            else:
                places.append((column, embedded))
                embedded += 1
        return places


@dataclass(frozen=True)
class _Numbers:
    """Columns that are one number each: places in the tensor, what missing values become (NaN: stay), and scaling."""

    names: list[str]
    places: slice | NDArray[np.int64]
    fills: NDArray[np.float64]
    shifts: NDArray[np.float64]
    scales: NDArray[np.float64]


def _numbers_of(column: Column) -> NDArray[np.float64]:
    assert isinstance(column, NumberColumn)
    return column.values


def _slice(column: Column, part: slice) -> Column:
    if isinstance(column, ImageColumn):
        return column.between(part.start, part.stop)
    if isinstance(column, NumberColumn):
        return NumberColumn(column.values[part])
    return TextColumn(column.values, column.codes[part])
