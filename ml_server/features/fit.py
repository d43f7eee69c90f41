"""Fits preprocessing: chooses an encoding for each input column and learns its numbers from the training rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from ml_server.features.columns import ColumnType, microseconds_of
from ml_server.features.encodings import (
    TIME_PARTS,
    CategoryEncoding,
    ColumnEncoding,
    FittedColumn,
    ImageEncoding,
    NumberEncoding,
    TimeEncoding,
    network_image,
)
from ml_server.features.features import FittedFeatures
from ml_server.features.summaries import ImageSummary, NumberSummary, Summaries, Summary, categories_of
from ml_server.features.targets import TargetColumn
from ml_server.networks.feature_layout import EmbeddingColumn, FeatureLayout
from ml_server.networks.kinds import Encoding
from ml_server.networks.specification import Preprocessing
from servicekit.errors import InvalidArgument, Reason
from servicekit.images.channels import ChannelHistogram
from servicekit.images.shape import ImageShape

ONE_HOT_CATEGORIES = 16
MAX_EMBEDDING_DIM = 64
BRIGHTEST = 255
NumberKind = Literal["standardize", "min_max", "pass_through"]
NUMBER_ENCODINGS = (Encoding.STANDARDIZE, Encoding.PASS_THROUGH, Encoding.MIN_MAX)


@dataclass(frozen=True)
class InputColumn:
    """An input column of a view: what is known of it before its values are.

    `category_count` is that of the training rows; `fill` is what the view puts in the place of missing values, as text.
    """

    name: str
    type: ColumnType
    fill: str | None = None
    keeps_missing: bool = False
    category_count: int = 0
    image: ImageShape | None = None
    """For images: what each of them is."""


@dataclass(frozen=True)
class Choice:
    """How a column becomes features, and to vectors of how many numbers; `dim` None: by the number of categories."""

    encoding: Encoding
    dim: int | None = None


Known = Mapping[str, ColumnEncoding]
"""Encodings, by column, that are fitted already."""


def expected_layout(
    inputs: list[InputColumn], preprocessing: Preprocessing, known: Known = MappingProxyType({})
) -> FeatureLayout:
    """The layout that `fit` will give, from what the view tells without its rows.

    Raises:
        InvalidArgument: COLUMN_NOT_FOUND or COLUMN_UNSUPPORTED, naming the field of the specification.
    """
    choices = encoding_choices(inputs, preprocessing)
    dense, embeddings, image = 0, [], None
    for column in inputs:
        choice, encoding = choices[column.name], known.get(column.name)
        if column.image is not None:
            image = network_image(column.image)
            dense += image.size
            continue
        codes = column.category_count + 1
        if isinstance(encoding, CategoryEncoding) and encoding.dim is not None:
            embeddings.append(EmbeddingColumn(name=column.name, categories=encoding.codes, dim=encoding.dim))
        elif encoding is not None:
            dense += encoding.width
        elif choice.encoding is Encoding.EMBEDDING:
            embeddings.append(EmbeddingColumn(name=column.name, categories=codes, dim=_dim(choice, codes)))
        else:
            dense += {Encoding.ONE_HOT: codes, Encoding.TIME_PARTS: TIME_PARTS}.get(choice.encoding, 1)
    return FeatureLayout(dense=dense, embeddings=tuple(embeddings), image=image)


def fit(
    inputs: list[InputColumn],
    preprocessing: Preprocessing,
    train: Mapping[str, Summary],
    known: Known = MappingProxyType({}),
) -> FittedFeatures:
    """Learns every encoding that is not known from the training rows' summaries.

    Raises:
        InvalidArgument: COLUMN_NOT_FOUND or COLUMN_UNSUPPORTED, naming the field of the specification.
    """
    choices = encoding_choices(inputs, preprocessing)
    return FittedFeatures(
        columns=tuple(
            _with_encoding(column, known[column.name])
            if column.name in known
            else _fitted(column, choices[column.name], train[column.name])
            for column in inputs
        )
    )


def summaries_of(inputs: Sequence[InputColumn], targets: Sequence[TargetColumn]) -> Summaries:
    """Takes in the rows that `fit` and `fit_targets` then learn from."""
    types = {column.name: column.type for column in inputs} | {column.name: column.type for column in targets}
    return Summaries(types, {column.name: column.image for column in inputs if column.image is not None})


def encoding_choices(inputs: list[InputColumn], preprocessing: Preprocessing) -> dict[str, Choice]:
    """The encoding of each column, as asked for or by its type.

    Raises:
        InvalidArgument: COLUMN_NOT_FOUND or COLUMN_UNSUPPORTED, naming the field of the specification.
    """
    by_name = {column.name: column for column in inputs}
    images = [column.name for column in inputs if column.type is ColumnType.IMAGE]
    if len(images) > 1:
        raise InvalidArgument(
            Reason.COLUMN_UNSUPPORTED,
            f"the view has {len(images)} image columns ({_some(images)}) and a model sees one: make a view that gives "
            "the others the role IGNORED",
            field="view",
        )
    asked: dict[str, Choice] = {}
    for index, each in enumerate(preprocessing.columns):
        field = f"specification.preprocessing.columns[{index}]"
        if each.column not in by_name:
            raise InvalidArgument(
                Reason.COLUMN_NOT_FOUND,
                f"the view has no input column '{each.column}'; it has {_some(list(by_name))}",
                field=f"{field}.column",
            )
        _require_fit(by_name[each.column], each.encoding, f"{field}.encoding")
        asked[each.column] = Choice(each.encoding, each.embedding_dim)
    return {
        column.name: asked.get(column.name) or _default(column, preprocessing.numeric_encoding) for column in inputs
    }


def _default(column: InputColumn, numeric: Encoding) -> Choice:
    match column.type:
        case ColumnType.INTEGER | ColumnType.FLOAT:
            return Choice(numeric)
        case ColumnType.IMAGE:
            return Choice(Encoding.STANDARDIZE)
        case ColumnType.BOOLEAN:
            return Choice(Encoding.ONE_HOT if column.keeps_missing else Encoding.PASS_THROUGH)
        case ColumnType.DATETIME:
            return Choice(Encoding.TIME_PARTS)
        case ColumnType.CATEGORICAL:
            few = column.category_count <= ONE_HOT_CATEGORIES
            return Choice(Encoding.ONE_HOT if few else Encoding.EMBEDDING)
        case ColumnType.TEXT:
            raise InvalidArgument(
                Reason.COLUMN_UNSUPPORTED,
                f"input column '{column.name}' is free text, which has no encoding of its own: leave it out of the "
                "view (role IGNORED), cast it to CATEGORICAL there, or name it in preprocessing.columns",
                field="view",
            )


def _require_fit(column: InputColumn, encoding: Encoding, field: str) -> None:
    is_number = column.type in (ColumnType.INTEGER, ColumnType.FLOAT, ColumnType.BOOLEAN)
    is_time = column.type is ColumnType.DATETIME
    is_image = column.type is ColumnType.IMAGE
    # Views count the categories of these types alone, and without a count no shape is known before training.
    has_categories = column.type.is_textual or column.type is ColumnType.BOOLEAN
    fits = {
        Encoding.STANDARDIZE: is_number or is_time or is_image,
        Encoding.PASS_THROUGH: is_number or is_image,
        Encoding.MIN_MAX: is_number or is_time or is_image,
        Encoding.TIME_PARTS: is_time,
        Encoding.ONE_HOT: has_categories,
        Encoding.EMBEDDING: has_categories,
    }
    if not fits[encoding]:
        possible = ", ".join(each.name for each, good in fits.items() if good)
        by_category = encoding in (Encoding.ONE_HOT, Encoding.EMBEDDING) and not is_image
        raise InvalidArgument(
            Reason.COLUMN_UNSUPPORTED,
            f"column '{column.name}' is {column.type.name} and can't be encoded by {encoding.name}: take {possible}"
            + (", or cast it to CATEGORICAL in the view" if by_category else ""),
            field=field,
            column=column.name,
        )


def _fitted(column: InputColumn, choice: Choice, train: Summary) -> FittedColumn:
    encoding: ColumnEncoding
    if column.image is not None:
        assert isinstance(train, ImageSummary), column.name
        encoding = _image_encoding(column.image, _number_kind(choice.encoding), train.levels)
    elif choice.encoding in (Encoding.ONE_HOT, Encoding.EMBEDDING):
        categories = categories_of(train, column.type)
        is_embedded = choice.encoding is Encoding.EMBEDDING
        encoding = CategoryEncoding(
            categories=categories, dim=_dim(choice, len(categories) + 1) if is_embedded else None
        )
    else:
        assert isinstance(train, NumberSummary), column.name
        shift, scale = _scaling(choice.encoding, train)
        if choice.encoding is Encoding.TIME_PARTS:
            encoding = TimeEncoding(shift=shift, scale=scale)
        else:
            encoding = NumberEncoding(encoding=_number_kind(choice.encoding), shift=shift, scale=scale)
    return _with_encoding(column, encoding)


def _with_encoding(column: InputColumn, encoding: ColumnEncoding) -> FittedColumn:
    """The column with what the view puts in the place of its missing values."""
    if isinstance(encoding, CategoryEncoding):
        return FittedColumn(name=column.name, type=column.type, encoding=encoding, fill=column.fill)
    fill = _number(column.fill, column.type) if column.fill is not None else None
    return FittedColumn(
        name=column.name, type=column.type, encoding=encoding, fill=fill, accepts_missing=fill is not None
    )


def _number_kind(encoding: Encoding) -> NumberKind:
    kinds: dict[Encoding, NumberKind] = {
        Encoding.STANDARDIZE: "standardize",
        Encoding.MIN_MAX: "min_max",
        Encoding.PASS_THROUGH: "pass_through",
    }
    return kinds[encoding]


def _image_encoding(shape: ImageShape, encoding: NumberKind, seen: ChannelHistogram) -> ImageEncoding:
    """A channel that is constant keeps its scale, as a constant column does."""
    channels = shape.mode.channels
    shifts, scales = (0.0,) * channels, (1.0,) * channels
    if encoding == "min_max":
        scales = (1.0 / BRIGHTEST,) * channels
    elif encoding == "standardize":
        shifts = tuple(seen.means.tolist())
        scales = tuple(1.0 / deviation if deviation > 0 else 1.0 for deviation in seen.deviations.tolist())
    return ImageEncoding(encoding=encoding, shape=shape, shifts=shifts, scales=scales)


def _scaling(encoding: Encoding, train: NumberSummary) -> tuple[float, float]:
    """Shift and scale; a column that is constant keeps its scale, so that it becomes 0 and nothing divides by it."""
    if encoding is Encoding.PASS_THROUGH or not train.count:
        return 0.0, 1.0
    if encoding is Encoding.MIN_MAX:
        return train.low, 1.0 / (train.high - train.low) if train.high > train.low else 1.0
    mean, deviation = train.scaling
    return mean, 1.0 / deviation


def _number(text: str, column_type: ColumnType) -> float:
    """The number that a view's fill value means."""
    if column_type is ColumnType.BOOLEAN:
        return float(text.lower() in ("true", "1", "1.0"))
    if column_type is ColumnType.DATETIME:
        return microseconds_of(text)
    return float(text)


def _dim(choice: Choice, codes: int) -> int:
    """The rule of thumb of 4 times the fourth root, between 2 and 64."""
    return choice.dim or max(2, min(MAX_EMBEDDING_DIM, round(4 * codes**0.25)))


def _some(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:10]) + (", ..." if len(names) > 10 else "")
