"""Raw values of a request as the columns that a version's preprocessing takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ml_server.features.columns import (
    MISSING,
    Column,
    Columns,
    ColumnType,
    NumberColumn,
    TextColumn,
    microseconds_of,
)
from ml_server.features.encodings import CategoryEncoding, FittedColumn, ImageEncoding
from ml_server.features.features import FittedFeatures
from ml_server.prediction.finite_features import INFINITE_PROBLEM, MISSING_PROBLEM, finite_features
from ml_server.prediction.images import image_column
from ml_server.prediction.number_tables import number_features
from ml_server.prediction.observers import Inputs
from ml_server.prediction.raw import (
    Booleans,
    EncodedImages,
    Integers,
    Numbers,
    PixelImages,
    RawColumn,
    Texts,
)
from ml_server.prediction.row_faults import MAX_FAULTS, Collecting, Faults, Refusing, RowFault
from servicekit.errors import InvalidArgument, Reason
from servicekit.images.decoding import ImageDecoder

TRUE_TEXTS = ("true", "t", "yes", "y", "1")
FALSE_TEXTS = ("false", "f", "no", "n", "0")
NO_SUCH = {
    ColumnType.DATETIME: "not a point in time like 2024-05-17T12:30:00",
    ColumnType.BOOLEAN: "neither true nor false",
}
REFUSING = Refusing()


@dataclass(slots=True)  # not frozen: each prediction makes one
class ColumnInputs:
    """Raw values by the name of their column."""

    columns: Mapping[str, RawColumn]

    @property
    def rows(self) -> int:
        """How many rows, as the first column has it."""
        return len(next(iter(self.columns.values()), ()))

    def features(self, fitted: FittedFeatures, images: ImageDecoder, version: str) -> NDArray[np.float32]:
        """The features (N, layout.columns) that these values mean. Raises as `features_of`."""
        quick = number_features(fitted, self.columns)
        return quick if quick is not None else features_of(fitted, self.columns, images, version)


@dataclass(slots=True)  # not frozen: each prediction makes one
class Prepared:
    """Features (N, layout.columns) of the rows that can be predicted, these rows' inputs, and what the others lack."""

    features: NDArray[np.float32]
    inputs: Inputs
    faults: Mapping[int, RowFault] = field(default_factory=dict)


@dataclass(slots=True)  # as above
class PartialInputs:
    """Raw values by the name of their column; rows that can't be predicted are left out, unless they are too many."""

    columns: Mapping[str, RawColumn]
    most_faults: int = MAX_FAULTS

    @property
    def rows(self) -> int:
        """How many rows, as the first column has it."""
        return ColumnInputs(self.columns).rows

    def prepared(self, fitted: FittedFeatures, images: ImageDecoder, version: str) -> Prepared:
        """The rows that can be predicted, in order. Raises as `features_of`, and VALUE_INVALID if few can."""
        quick = number_features(fitted, self.columns)
        if quick is not None:
            return Prepared(quick, ColumnInputs(self.columns))
        faults = Collecting(self.most_faults)
        features = features_of(fitted, self.columns, images, version, faults)
        if not faults.rows:
            return Prepared(features, ColumnInputs(self.columns))
        good = [row for row in range(len(features)) if row not in faults.rows]
        kept = {name: column.at(good) for name, column in self.columns.items()}
        return Prepared(features[good], ColumnInputs(kept), faults.rows)


def features_of(
    fitted: FittedFeatures,
    raw: Mapping[str, RawColumn],
    images: ImageDecoder,
    version: str,
    faults: Faults = REFUSING,
) -> NDArray[np.float32]:
    """The features (N, layout.columns) that raw values mean; those of rows with faults mean nothing.

    A number so far from those of training that its feature is none of float32 is a fault too. Raises as `columns_of`.
    """
    return finite_features(fitted, columns_of(fitted, raw, images, version, faults), faults)


def columns_of(
    features: FittedFeatures,
    raw: Mapping[str, RawColumn],
    images: ImageDecoder,
    version: str = "the version",
    faults: Faults = REFUSING,
) -> Columns:
    """The columns in the form that `features` transforms, in any order. What rows with faults hold means nothing.

    Raises:
        InvalidArgument: COLUMN_MISSING, COLUMN_UNEXPECTED or VALUE_INVALID, naming column, row and value.
        ResourceExhausted: LIMIT_EXCEEDED, for images that take too much memory together.
    """
    if raw.keys() != features.names:
        _require_names([column.name for column in features.columns], raw, version)
    _require_lengths(raw)
    columns = _finite_numbers(features, raw)
    for column in features.columns:
        if column.name not in columns:
            columns[column.name] = _column(column, raw[column.name], images, faults)
    return columns


def _finite_numbers(features: FittedFeatures, raw: Mapping[str, RawColumn]) -> dict[str, Column]:
    """Columns that came as numbers, all of them finite: looked at together, since for a few rows each look is dear."""
    sent: dict[str, Numbers | Integers | Booleans] = {}
    for column in features.number_columns:
        values = raw[column.name].values
        if not isinstance(values, np.ndarray) or raw[column.name].missing:
            continue
        if column.type is not ColumnType.BOOLEAN or values.dtype == np.bool_:
            sent[column.name] = values
    if not sent:
        return {}
    are_finite = np.isfinite(np.concatenate(list(sent.values()))).reshape(len(sent), -1).all(axis=1).tolist()
    return {
        name: NumberColumn(values.astype(np.float64, copy=False))
        for (name, values), is_finite in zip(sent.items(), are_finite, strict=True)
        if is_finite
    }


def _require_names(expected: list[str], raw: Mapping[str, RawColumn], version: str) -> None:
    missing = [name for name in expected if name not in raw]
    if missing:
        raise InvalidArgument(
            Reason.COLUMN_MISSING,
            f"{_columns(missing)} missing: {version} was trained on {_listed(expected)}; a value that is not known "
            "is sent as missing, not left out",
            field="inputs",
            columns=",".join(missing),
        )
    known = set(expected)
    unexpected = [name for name in raw if name not in known]
    if unexpected:
        raise InvalidArgument(
            Reason.COLUMN_UNEXPECTED,
            f"{_columns(unexpected)} not known: {version} was trained on {_listed(expected)}; leave out what it does "
            "not use, the target too",
            field="inputs",
            columns=",".join(unexpected),
        )


def _require_lengths(raw: Mapping[str, RawColumn]) -> None:
    if len({len(column.values) for column in raw.values()}) > 1:
        lengths = {name: len(column) for name, column in raw.items()}
        named = sorted(lengths, key=lambda name: lengths[name])
        short, long = named[0], named[-1]
        raise InvalidArgument(
            Reason.VALUE_INVALID,
            f"columns differ in length: '{short}' has {lengths[short]} values and '{long}' has {lengths[long]}",
            field="inputs",
        )


def _column(fitted: FittedColumn, raw: RawColumn, images: ImageDecoder, faults: Faults) -> Column:
    for row, problem in raw.unusable.items():
        faults.found(fitted.name, row, problem)
    if isinstance(fitted.encoding, ImageEncoding):
        return image_column(fitted.name, fitted.encoding.shape, raw, images, faults)
    if isinstance(raw.values, EncodedImages | PixelImages):
        for row in range(len(raw)):
            faults.found(fitted.name, row, f"is an image, and the column is {fitted.type.name}")
        raw = RawColumn(np.full(len(raw), np.nan))
    if fitted.type.is_textual:
        return _text_column(fitted, raw)
    column = _number_column(fitted, raw, faults)
    if not fitted.accepts_missing:
        for row in np.flatnonzero(np.isnan(column.values)).tolist():
            faults.found(fitted.name, row, MISSING_PROBLEM)
    return column


def _text_column(fitted: FittedColumn, raw: RawColumn) -> TextColumn:
    assert isinstance(fitted.encoding, CategoryEncoding), fitted.name
    assert not isinstance(raw.values, EncodedImages | PixelImages)
    texts = _texts(raw.values, frozenset(fitted.encoding.categories))
    codes = np.arange(len(texts), dtype=np.int64)
    if isinstance(raw.values, np.ndarray) and raw.values.dtype == np.float64:
        codes[np.isnan(raw.values)] = MISSING
    codes[list(raw.missing)] = MISSING
    return TextColumn(texts, codes)


def _texts(values: Numbers | Integers | Booleans | Texts, known: frozenset[str]) -> Sequence[str]:
    """Values as the categories that they mean, written as a view writes them that casts them to text."""
    if not isinstance(values, np.ndarray):
        return values
    texts: list[Any] = pa.array(values).cast(pa.string()).to_pylist()
    if values.dtype != np.float64:
        return texts
    # JSON has no whole numbers: 1e10 may mean '10000000000', of a column of such, or '1e+10', of one of fractions.
    return [
        whole if value.is_integer() and (whole := str(int(value))) in known else text
        for value, text in zip(values.tolist(), texts, strict=True)
    ]


def _number_column(fitted: FittedColumn, raw: RawColumn, faults: Faults) -> NumberColumn:
    """Numbers; NaN where they are missing, and where there is a fault."""
    assert not isinstance(raw.values, EncodedImages | PixelImages)
    if isinstance(raw.values, np.ndarray):
        values = raw.values.astype(np.float64)
    else:
        numbers = (
            np.nan if row in raw.missing else _number(fitted, row, text, faults) for row, text in enumerate(raw.values)
        )
        values = np.fromiter(numbers, np.float64, len(raw))
    values[list(raw.missing)] = np.nan
    for row in np.flatnonzero(np.isinf(values)).tolist():
        faults.found(fitted.name, row, INFINITE_PROBLEM)
        values[row] = np.nan
    if fitted.type is ColumnType.BOOLEAN:
        for row in np.flatnonzero(~np.isnan(values) & (values != 0) & (values != 1)).tolist():
            faults.found(fitted.name, row, f"is {values[row]:g}, which is neither true nor false")
            values[row] = np.nan
    return NumberColumn(values)


def _number(fitted: FittedColumn, row: int, text: str, faults: Faults) -> float:
    """What a text means in a column of numbers, booleans or points in time; NaN for a fault."""
    try:
        if fitted.type is ColumnType.DATETIME:
            return microseconds_of(text)
        if fitted.type is ColumnType.BOOLEAN and text.lower() in TRUE_TEXTS + FALSE_TEXTS:
            return float(text.lower() in TRUE_TEXTS)
        return float(text)
    except ValueError:
        faults.found(fitted.name, row, f"is '{text[:80]}', which is {NO_SUCH.get(fitted.type, 'not a number')}")
        return np.nan


def _columns(names: list[str]) -> str:
    return f"column {_listed(names)} is" if len(names) == 1 else f"columns {_listed(names)} are"


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
