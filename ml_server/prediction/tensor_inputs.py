"""The tensors of a request as the features of a version: prepared ones in one tensor, or a column each."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ml_server.features.encodings import FittedColumn, ImageEncoding
from ml_server.features.features import FittedFeatures, are_finite
from ml_server.prediction.inputs import ColumnInputs
from ml_server.prediction.raw import EncodedImages, PixelImages, RawColumn, invalid_value
from ml_server.prediction.signature import DATATYPE_OF, FEATURES, features_inputs
from ml_server.prediction.tensors import (
    ANY,
    Datatype,
    NamedTensor,
    TensorSpecification,
    misfit,
)
from servicekit.errors import InvalidArgument, Reason
from servicekit.images.decoding import ImageDecoder
from servicekit.images.shape import ImageMode, ImageShape

# As many rows as Predict takes in its easy form; a message of 16 MiB has room for more of them.
MAX_ROWS = 1_000_000
INT64_MAX = 2**63 - 1
# A tensor of a column's name with this says which of its values are missing: only FP64 and its kin have NaN for that.
MISSING_SUFFIX = ".missing"


@dataclass  # not frozen: each call makes one
class TensorInputs:
    """Input tensors, at least one, each with a first dimension of its rows."""

    tensors: Sequence[NamedTensor]

    @cached_property
    def rows(self) -> int:
        """How many rows, as the first tensor has it."""
        return self.tensors[0].shape[0] if self.tensors[0].shape else 0

    def features(self, fitted: FittedFeatures, images: ImageDecoder, version: str) -> NDArray[np.float32]:
        """The features (N, layout.columns) that these tensors mean.

        Raises:
            InvalidArgument: SHAPE_MISMATCH, COLUMN_MISSING, COLUMN_UNEXPECTED or VALUE_INVALID, naming the tensor.
            ResourceExhausted: LIMIT_EXCEEDED, for images that take too much memory together.
        """
        for tensor in self.tensors:
            _require_rows(tensor)
        if len({tensor.shape[0] for tensor in self.tensors}) > 1:
            raise _unequal_rows(self.tensors)
        if len(self.tensors) == 1 and self.tensors[0].name == FEATURES and FEATURES not in fitted.names:
            return _prepared(self.tensors[0], fitted)
        return ColumnInputs(_raw_columns(self.tensors, fitted)).features(fitted, images, version)


@dataclass(slots=True)  # not frozen: each call makes one
class PreparedRows:
    """Features (N, layout.columns), float32, of a version for which `is_prepared` is true."""

    values: NDArray[np.float32]
    fitted: FittedFeatures

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.values)

    def features(self, fitted: FittedFeatures, images: ImageDecoder, version: str) -> NDArray[np.float32]:
        """As TensorInputs says."""
        if fitted is self.fitted and self._are_finite():
            return self.values
        tensor = NamedTensor(FEATURES, Datatype.FP32, self.values.shape, self.values.reshape(-1))
        return TensorInputs([tensor]).features(fitted, images, version)

    def _are_finite(self) -> bool:
        if len(self.values) > 1:
            return are_finite(self.values)
        return math.isfinite(sum(self.values[0].tolist()))  # sums of float32 are finite in float64


def is_prepared(name: str, datatype: Datatype, shape: tuple[int, ...], fitted: FittedFeatures) -> bool:
    """True if a tensor by itself is features of the version as they are, but for numbers that are not finite."""
    takes_any = FEATURES not in fitted.names and not fitted.layout.embeddings
    return takes_any and name == FEATURES and datatype is Datatype.FP32 and shape[1:] == (fitted.layout.columns,)


def _require_rows(tensor: NamedTensor) -> None:
    if not tensor.shape or not 0 < tensor.shape[0] <= MAX_ROWS:
        raise InvalidArgument(
            Reason.SHAPE_MISMATCH,
            f"input '{tensor.name}' is {tensor}: the first dimension is that of the rows, from 1 to {MAX_ROWS}",
            field="inputs",
            input=tensor.name,
        )


def _unequal_rows(tensors: Sequence[NamedTensor]) -> InvalidArgument:
    """The error for a tensor that has not as many rows as most of the others have."""
    ((rows, _),) = Counter(tensor.shape[0] for tensor in tensors).most_common(1)
    usual = next(tensor for tensor in tensors if tensor.shape[0] == rows)
    other = next(tensor for tensor in tensors if tensor.shape[0] != rows)
    expected = TensorSpecification(other.name, other.datatype, (rows, *other.shape[1:]))
    return InvalidArgument(
        Reason.SHAPE_MISMATCH,
        f"input '{other.name}' is {other}, and '{usual.name}' is {usual}: send {expected}, a value for each row",
        field="inputs",
        input=other.name,
        given=str(other),
        expected=str(expected),
    )


def _prepared(tensor: NamedTensor, fitted: FittedFeatures) -> NDArray[np.float32]:
    """Features that the client has prepared: finite numbers, and codes of categories where the network looks those up.

    The network would answer anything else with nonsense, or with an error that tells nobody what was wrong.
    """
    layout = fitted.layout
    if not tensor.datatype.is_number or tensor.shape[1:] != (layout.columns,):
        forms = features_inputs(fitted)
        if not tensor.datatype.is_number or all(tensor.shape[1:] != form.shape[1:] for form in forms):
            raise misfit(tensor, *forms)
    assert isinstance(tensor.values, np.ndarray)
    features: NDArray[np.float32] = tensor.values.astype(np.float32, copy=False).reshape(-1, layout.columns)
    if not are_finite(features):
        row, place = np.argwhere(~np.isfinite(features))[0].tolist()
        raise _invalid_feature(row, place, f"is {features[row, place]}: prepared features are finite numbers")
    for place, embedding in enumerate(layout.embeddings, layout.dense):
        codes = features[:, place]
        wrong = np.flatnonzero((codes < 0) | (codes >= embedding.categories) | (codes != np.floor(codes)))
        if len(wrong):
            row = int(wrong[0])
            problem = f"is {codes[row]:g}: it is the code of a category of '{embedding.name}', 0 to "
            raise _invalid_feature(row, place, f"{problem}{embedding.categories - 1}")
    return features


def _invalid_feature(row: int, place: int, problem: str) -> InvalidArgument:
    return InvalidArgument(
        Reason.VALUE_INVALID,
        f"input '{FEATURES}', row {row}, feature {place}: the value {problem}",
        field="inputs",
        input=FEATURES,
        row=str(row),
    )


def _raw_columns(tensors: Sequence[NamedTensor], fitted: FittedFeatures) -> Mapping[str, RawColumn]:
    """The columns that tensors mean. Names that no column has stay, for ColumnInputs to refuse them."""
    columns: dict[str, RawColumn] = {}
    marks: dict[str, NamedTensor] = {}
    for tensor in tensors:
        if tensor.name in columns or tensor.name in marks:
            message = f"input '{tensor.name}' is there twice: send each once"
            raise InvalidArgument(Reason.INVALID_FIELD, message, field="inputs", input=tensor.name)
        column = fitted.by_name.get(tensor.name)
        if column is not None:
            columns[tensor.name] = _raw_column(tensor, column)
        elif tensor.name.endswith(MISSING_SUFFIX) and tensor.name.removesuffix(MISSING_SUFFIX) in fitted.names:
            marks[tensor.name] = tensor
        elif tensor.name == FEATURES:
            message = f"input '{FEATURES}' takes the place of all columns: send it alone, or leave it out"
            raise InvalidArgument(Reason.COLUMN_UNEXPECTED, message, field="inputs", columns=FEATURES)
        else:
            columns[tensor.name] = RawColumn(np.zeros(tensor.shape[0]))
    for tensor in marks.values():
        name = tensor.name.removesuffix(MISSING_SUFFIX)
        if name in columns:
            columns[name] = _marked(columns[name], tensor)
    return columns


def _marked(column: RawColumn, marks: NamedTensor) -> RawColumn:
    """The column with the values missing where the tensor is true."""
    rows = len(column)
    if marks.datatype is not Datatype.BOOL or marks.shape not in ((rows, 1), (rows,)):
        raise misfit(marks, *(TensorSpecification(marks.name, Datatype.BOOL, shape) for shape in ((rows, 1), (rows,))))
    assert isinstance(marks.values, np.ndarray)
    return replace(column, missing=frozenset(np.flatnonzero(marks.values).tolist()))


def _raw_column(tensor: NamedTensor, column: FittedColumn) -> RawColumn:
    if isinstance(column.encoding, ImageEncoding):
        return _images(tensor, column.encoding.shape)
    if tensor.shape[1:] not in ((), (1,)):
        raise misfit(tensor, *_column_forms(column.name, DATATYPE_OF[column.type]))
    if not isinstance(tensor.values, np.ndarray):
        return RawColumn([_text(tensor.name, row, value) for row, value in enumerate(tensor.values)])
    if tensor.datatype is Datatype.BOOL:
        return RawColumn(tensor.values)
    if tensor.values.dtype.kind in "iu":
        if tensor.datatype is Datatype.UINT64 and (tensor.values > INT64_MAX).any():
            return RawColumn(tensor.values.astype(np.float64))
        return RawColumn(tensor.values.astype(np.int64, copy=False))
    if column.type.is_textual:
        # A category '0.1' is 0.1 in FP32 too, although the nearest FP64 has more digits.
        return RawColumn(np.array([float(str(value)) for value in tensor.values], np.float64))
    return RawColumn(tensor.values.astype(np.float64, copy=False))


def _images(tensor: NamedTensor, shape: ImageShape) -> RawColumn:
    """Encoded images, or pixels that have the column's shape already."""
    if not isinstance(tensor.values, np.ndarray) and tensor.shape[1:] in ((), (1,)):
        return RawColumn(EncodedImages(tensor.values))
    forms = _pixel_forms(tensor.name, shape)
    if tensor.datatype is not Datatype.UINT8 or all(tensor.shape[1:] != form.shape[1:] for form in forms):
        raise misfit(tensor, *_column_forms(tensor.name, Datatype.BYTES), *forms)
    assert isinstance(tensor.values, np.ndarray)
    return RawColumn(PixelImages(tensor.values.reshape(-1, shape.size_bytes)))


def _column_forms(name: str, datatype: Datatype) -> list[TensorSpecification]:
    return [TensorSpecification(name, datatype, shape) for shape in ((ANY, 1), (ANY,))]


def _pixel_forms(name: str, shape: ImageShape) -> list[TensorSpecification]:
    channels = shape.mode.channels
    forms = [TensorSpecification(name, Datatype.UINT8, (ANY, shape.height, shape.width, channels))]
    if shape.mode is ImageMode.GRAYSCALE:
        forms.append(TensorSpecification(name, Datatype.UINT8, (ANY, shape.height, shape.width)))
    return forms


def _text(name: str, row: int, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise invalid_value(name, row, f"is no text in UTF-8 ({error.reason} at byte {error.start})") from error
