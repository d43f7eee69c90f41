"""How single columns become features: fitted on training rows, stored with the version, replayed in serving."""

from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ml_server.features.columns import MISSING, Column, ColumnType, ImageColumn, NumberColumn, TextColumn, as_text
from ml_server.networks.specification import ImageShape as NetworkImage
from ml_server.networks.values import Value
from servicekit.images.shape import ImageShape

MICROSECONDS_PER_DAY = 86_400_000_000.0
DAYS_PER_YEAR = 365.2425
TIME_PARTS = 7


class NumberEncoding(Value):
    """One feature: (x - shift) x scale. Covers standardising, scaling to 0..1, and passing through."""

    kind: Literal["number"] = "number"
    encoding: Literal["standardize", "min_max", "pass_through"]
    shift: float
    scale: float

    @property
    def width(self) -> int:
        """Features that it makes."""
        return 1

    def encode(self, column: NumberColumn) -> NDArray[np.float64]:
        """Features (N, 1)."""
        return ((column.values - self.shift) * self.scale)[:, None]


class TimeEncoding(Value):
    """Seven features: standardised time, and sine and cosine of the hour of day, day of week and day of year."""

    kind: Literal["time"] = "time"
    shift: float
    scale: float

    @property
    def width(self) -> int:
        """Features that it makes."""
        return TIME_PARTS

    def encode(self, column: NumberColumn) -> NDArray[np.float64]:
        """Features (N, 7)."""
        days = column.values / MICROSECONDS_PER_DAY
        turns = [days, days / 7.0, days / DAYS_PER_YEAR]
        angles = [2 * np.pi * (turn % 1.0) for turn in turns]
        waves = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
        return np.stack([(column.values - self.shift) * self.scale, *waves], axis=1)


class CategoryEncoding(Value):
    """A code for each category that training saw, and the last one for all others and for missing values.

    With `dim` None the code becomes 0/1 features, else a learned vector inside the network.
    """

    kind: Literal["category"] = "category"
    categories: tuple[str, ...]
    dim: int | None = None

    @property
    def codes(self) -> int:
        """How many codes there are."""
        return len(self.categories) + 1

    @property
    def width(self) -> int:
        """Features that it makes outside of the network."""
        return self.codes if self.dim is None else 0

    def code(self, column: TextColumn) -> NDArray[np.int64]:
        """The code of each row (N,)."""
        unknown = len(self.categories)
        known = self._known
        # The extra place at the end is what MISSING, -1, picks.
        codes = np.array([*(known.get(value, unknown) for value in column.values), unknown], dtype=np.int64)
        return codes[column.codes]

    @cached_property
    def _known(self) -> dict[str, int]:
        return {category: code for code, category in enumerate(self.categories)}


class ImageEncoding(Value):
    """Channels x height x width features in this order, as PyTorch has images: (x - shift) x scale of each channel.

    `shape` says too how an image that is to be predicted is made like those of training.
    """

    kind: Literal["image"] = "image"
    encoding: Literal["standardize", "min_max", "pass_through"]
    shape: ImageShape
    shifts: tuple[float, ...]
    scales: tuple[float, ...]

    @property
    def width(self) -> int:
        """Features that it makes."""
        return self.shape.size_bytes

    @property
    def network_shape(self) -> NetworkImage:
        """The image as a network sees it."""
        return network_image(self.shape)

    def encode(self, column: ImageColumn) -> NDArray[np.float32]:
        """Features (N, width)."""
        shape = self.shape
        pixels = np.concatenate(column.blocks).reshape(-1, shape.height, shape.width, shape.mode.channels)
        levels = pixels.transpose(0, 3, 1, 2).astype(np.float32, order="C")
        levels -= np.array(self.shifts, dtype=np.float32)[:, None, None]
        levels *= np.array(self.scales, dtype=np.float32)[:, None, None]
        return levels.reshape(len(pixels), self.width)


def network_image(shape: ImageShape) -> NetworkImage:
    """An image of a column as a network sees it."""
    return NetworkImage(channels=shape.mode.channels, height=shape.height, width=shape.width)


ColumnEncoding = Annotated[
    NumberEncoding | TimeEncoding | CategoryEncoding | ImageEncoding, Field(discriminator="kind")
]


class FittedColumn(Value):
    """An input column with its encoding and with what a missing value becomes.

    `fill` is the view's own replacement, as a number or a text; None: the encoding knows missing values itself (as
    "unknown"), or, if `accepts_missing` is False, a row without a value can't be predicted.
    """

    name: str
    type: ColumnType
    encoding: ColumnEncoding
    fill: float | str | None = None
    accepts_missing: bool = True

    def codes_of(self, column: Column) -> NDArray[np.int64]:
        """The code of each row (N,), for a category."""
        prepared = self.prepared(column)
        assert isinstance(self.encoding, CategoryEncoding), self.name
        assert isinstance(prepared, TextColumn), self.name
        return self.encoding.code(prepared)

    def prepared(self, column: Column) -> Column:
        """The column in the form that the encoding takes, with missing values filled in."""
        if isinstance(column, ImageColumn):
            return column
        if isinstance(self.encoding, CategoryEncoding):
            text = as_text(column, self.type)
            if self.fill is None or not (text.codes == MISSING).any():
                return text
            filled = np.where(text.codes == MISSING, len(text.values), text.codes)
            return TextColumn([*text.values, str(self.fill)], filled)
        assert isinstance(column, NumberColumn), self.name
        if self.fill is None:
            return column
        return NumberColumn(np.where(np.isnan(column.values), float(self.fill), column.values))
