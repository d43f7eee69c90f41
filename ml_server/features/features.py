"""All input columns together: from raw columns to one row-major float32 tensor."""

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ml_server.features.columns import Column, Columns, ColumnType, ImageColumn, NumberColumn
from ml_server.features.encodings import CategoryEncoding, FittedColumn, ImageEncoding, NumberEncoding, TimeEncoding
from ml_server.networks.feature_layout import EmbeddingColumn, FeatureLayout
from ml_server.networks.values import Value

# How many features are computed in float64 at a time: so many stay in the processor's cache from one step to the next.
CHUNK_FEATURES = 262_144
# Up to so many numbers stay in it while they are turned as float32.
TURNED_FEATURES = 65_536
# Of more numbers, libraries of linear algebra make a product with several threads.
FEW_NUMBERS = 8_192


class FittedFeatures(Value):
    """Input columns with their fitted encodings, in the view's order."""

    columns: tuple[FittedColumn, ...]

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of the columns."""
        return frozenset(column.name for column in self.columns)

    @cached_property
    def by_name(self) -> dict[str, FittedColumn]:
        """The columns by their name."""
        return {column.name: column for column in self.columns}

    @cached_property
    def number_columns(self) -> tuple[FittedColumn, ...]:
        """The columns whose encodings compute with numbers."""
        return tuple(column for column in self.columns if isinstance(column.encoding, NumberEncoding | TimeEncoding))

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

    @property
    def parts(self) -> tuple[tuple[FittedColumn, slice], ...]:
        """Each column, in the view's order, with its part of the features that an architecture sees.

        That is `layout.features` of them: the vector of an embedded category in the place of its code.
        """
        found = []
        dense, embedded = 0, self.layout.dense
        for column in self.columns:
            encoding = column.encoding
            if isinstance(encoding, CategoryEncoding) and encoding.dim is not None:
                found.append((column, slice(embedded, embedded + encoding.dim)))
                embedded += encoding.dim
            else:
                found.append((column, slice(dense, dense + encoding.width)))
                dense += encoding.width
        return tuple(found)

    @property
    def image(self) -> tuple[int, ImageEncoding] | None:
        """The encoding of the column of images, with the first of its places in the tensor; None if there is none."""
        return next(((at, each.encoding) for each, at in self.places if isinstance(each.encoding, ImageEncoding)), None)

    def transform(self, columns: Columns) -> NDArray[np.float32]:
        """The features (N, layout.columns) of N rows. Every column must be there; see FittedColumn."""
        features = np.empty((len(columns[self.columns[0].name]), self.layout.columns), dtype=np.float32)
        start = 0
        for block in self.blocks(columns):
            features[start : start + len(block)] = block
            start += len(block)
        return features

    @cached_property
    def number_names(self) -> tuple[str, ...]:
        """The columns' names if each column is one number; empty if one is not."""
        return tuple(self._numbers.names) if len(self._numbers.names) == len(self.columns) else ()

    @cached_property
    def boolean_columns(self) -> tuple[int, ...]:
        """Which of the columns hold booleans."""
        return tuple(at for at, each in enumerate(self.columns) if each.type is ColumnType.BOOLEAN)

    def transform_numbers(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """As `transform`, for `number_names` as the rows of one matrix (columns, N) without NaN, which is changed.

        A few calls for all columns together: of a table with few rows, the calls are all that takes time.
        """
        scaled = self._numbers.scaled(values)
        if scaled.size > TURNED_FEATURES:
            return scaled.T.astype(np.float32, order="C")
        return np.ascontiguousarray(scaled.astype(np.float32).T)  # in the cache, half the bytes turn in half the time

    def transform_row(self, values: Sequence[float]) -> NDArray[np.float32] | None:
        """As `transform_numbers` for the numbers of a single row, without NumPy until the end; to be read only.

        None if a feature is none of float32.
        """
        numbers = self._numbers
        features = [(value - shift) * scale for value, (shift, scale) in zip(values, numbers.scaling, strict=True)]
        if not math.isfinite(sum(features)):  # no sum of numbers of float32 is infinite in float64
            return None
        try:
            packed = numbers.row_format.pack(*features)
        except OverflowError:
            return None
        return np.ndarray((1, len(features)), np.float32, packed)

    def blocks(self, columns: Columns) -> Iterator[NDArray[np.float32]]:
        """As `transform`, some rows at a time. A block is gone when the next one comes."""
        codes = {column.name: column.codes_of(columns[column.name]) for column, _ in self._categories}
        others = {name: columns[name] for name in (*self._numbers.names, *(column.name for column, _ in self._others))}
        rows = len(columns[self.columns[0].name])
        step = max(1, CHUNK_FEATURES // self.layout.columns)
        block = np.empty((min(step, rows), self.layout.columns), dtype=np.float32)
        for start in range(0, rows, step):
            part = slice(start, start + step)
            features = block[: min(step, rows - start)]
            if rows <= step:
                self._fill(features, others)
            else:
                self._fill(features, {name: _slice(column, part) for name, column in others.items()})
            self._fill_categories(features, {name: code[part] for name, code in codes.items()})
            yield features

    def _fill(self, features: NDArray[np.float32], columns: Columns) -> None:
        numbers = self._numbers
        if numbers.names:
            # Column by column: a row is often too short for NumPy to be quick along it.
            values = np.stack([_numbers_of(columns[name]) for name in numbers.names])
            for at, fill in numbers.fills.items():
                np.copyto(values[at], fill, where=np.isnan(values[at]))
            features[:, numbers.places] = numbers.scaled(values).T
        for column, place in self._others:
            prepared = column.prepared(columns[column.name])
            encoding = column.encoding
            if isinstance(encoding, ImageEncoding):
                assert isinstance(prepared, ImageColumn), column.name
                features[:, place : place + encoding.width] = encoding.encode(prepared)
            else:
                assert isinstance(encoding, TimeEncoding), column.name
                assert isinstance(prepared, NumberColumn), column.name
                features[:, place : place + encoding.width] = encoding.encode(prepared)

    def _fill_categories(self, features: NDArray[np.float32], codes: dict[str, NDArray[np.int64]]) -> None:
        for column, place in self._categories:
            code, width = codes[column.name], column.encoding.width
            if width:
                features[:, place : place + width] = 0.0
                features[np.arange(len(features)), place + code] = 1.0
            else:
                features[:, place] = code

    @cached_property
    def _numbers(self) -> "_Numbers":
        """The columns that are one number each, computed together: most tables are nothing else."""
        found = [(c, p, c.encoding) for c, p in self.places if isinstance(c.encoding, NumberEncoding)]
        places = [place for _, place, _ in found]
        are_neighbours = bool(places) and places == list(range(places[0], places[0] + len(places)))
        return _Numbers(
            names=[column.name for column, _, _ in found],
            places=slice(places[0], places[0] + len(places)) if are_neighbours else np.array(places, dtype=np.int64),
            fills={at: float(column.fill) for at, (column, _, _) in enumerate(found) if column.fill is not None},
            shifts=np.array([[encoding.shift] for _, _, encoding in found]),
            scales=np.array([[encoding.scale] for _, _, encoding in found]),
        )

    @cached_property
    def _categories(self) -> list[tuple[FittedColumn, int]]:
        return [(c, place) for c, place in self.places if isinstance(c.encoding, CategoryEncoding)]

    @cached_property
    def _others(self) -> list[tuple[FittedColumn, int]]:
        known = NumberEncoding | CategoryEncoding
        return [(c, place) for c, place in self.places if not isinstance(c.encoding, known)]

    @cached_property
    def places(self) -> list[tuple[FittedColumn, int]]:
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
    """Columns that are one number each: places in the tensor, what missing values of some become, and scaling.

    `shifts` and `scales` are (columns, 1).
    """

    names: list[str]
    places: slice | NDArray[np.int64]
    fills: Mapping[int, float]
    shifts: NDArray[np.float64]
    scales: NDArray[np.float64]

    @cached_property
    def scaling(self) -> list[tuple[float, float]]:
        """Shift and scale of each column."""
        return list(zip(self.shifts[:, 0].tolist(), self.scales[:, 0].tolist(), strict=True))

    @cached_property
    def row_format(self) -> struct.Struct:
        """A row of them as float32. Packs in the standard size, for only that refuses what is too large."""
        return struct.Struct(f"={len(self.names)}f")

    def scaled(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same matrix (columns, N), changed."""
        values -= self.shifts
        values *= self.scales
        return values


def are_finite(features: NDArray[np.float32]) -> bool:
    """True if each of them is finite."""
    # Of few numbers one product is the quickest look: it is finite only if all of them are, and they are small.
    if features.size <= FEW_NUMBERS and math.isfinite(np.vdot(features, features)):
        return True
    return bool(np.isfinite(features).all())


def _numbers_of(column: Column) -> NDArray[np.float64]:
    assert isinstance(column, NumberColumn)
    return column.values


def _slice(column: Column, part: slice) -> Column:
    if isinstance(column, ImageColumn):
        return column.between(part.start, part.stop)
    assert isinstance(column, NumberColumn)
    return NumberColumn(column.values[part])
