"""Preprocessing that a trained version has already, taken over for the rows of another view.

A network's weights mean what they meant only as long as each place of its input and output does. So a column that both
have keeps its encoding and its place, and so does a target; one that only the view has is fitted anew, and takes the
place of one that is gone.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from ml_server.features.columns import ColumnType
from ml_server.features.encodings import CategoryEncoding, ColumnEncoding, FittedColumn, ImageEncoding, NumberEncoding
from ml_server.features.features import FittedFeatures
from ml_server.features.fit import Choice, InputColumn, encoding_choices
from ml_server.features.summaries import Summary, categories_of
from ml_server.features.targets import FittedTarget, FittedTargets, TargetColumn, Task, some_of
from ml_server.networks.kinds import Encoding
from ml_server.networks.specification import Preprocessing
from servicekit.errors import InvalidArgument, Reason

FIELD = "training_job.base_version"
NUMBERS = (ColumnType.INTEGER, ColumnType.FLOAT)


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


def arranged(given: Sequence[N], known: Sequence[_Named]) -> list[N]:
    """The columns of a view with those that are known at their known places, and others in the places left, in order.

    The columns a, b, c are known: of d, c, a come a, d, c.
    """
    by_name = {each.name: each for each in given}
    known_names = [each.name for each in known]
    others = [each for each in given if each.name not in set(known_names)]
    places = [by_name[name] if name in by_name else (others.pop(0) if others else None) for name in known_names]
    return [each for each in places if each is not None] + others


def known_encodings(
    inputs: Sequence[InputColumn], preprocessing: Preprocessing, base: FittedFeatures
) -> dict[str, ColumnEncoding]:
    """The encodings of `base` for those columns of a view that it knows.

    Raises:
        InvalidArgument: The specification asks for another encoding of such a column; or as `encoding_choices`.
    """
    choices = encoding_choices(list(inputs), preprocessing)
    asked = {column.column for column in preprocessing.columns}
    fitted = {column.name: column for column in base.columns}
    found = {}
    for column in inputs:
        known = fitted.get(column.name)
        if known is None or not _is_same(column, known):
            continue
        by_category = column.type.is_textual or column.type is ColumnType.BOOLEAN
        if column.name in asked or not by_category:
            _require_choice(column, choices[column.name], known.encoding)
        elif isinstance(known.encoding, NumberEncoding) and column.keeps_missing:
            continue  # a boolean that had no missing values
        found[column.name] = _for_view(known.encoding, column)
    return found


def known_targets(targets: Sequence[TargetColumn], base: FittedTargets) -> dict[str, FittedTarget]:
    """What `base` knows of a view's targets.

    Raises:
        InvalidArgument: A target has more classes among the training rows than `base` knows.
    """
    fitted = {target.name: target for target in base.targets}
    found = {}
    for target in targets:
        known = fitted.get(target.name)
        if known is None or (known.task is Task.REGRESSION) != (target.type in NUMBERS):
            continue
        if target.category_count > len(known.classes) > 0:
            raise InvalidArgument(
                Reason.WEIGHTS_MISMATCH,
                f"target '{target.name}' has {target.category_count} classes in the training rows of the view, and the "
                f"base version knows {len(known.classes)}: {some_of(known.classes)}; take a view with these alone, or "
                "leave base_version out",
                field=FIELD,
                column=target.name,
            )
        found[target.name] = known.model_copy(update={"type": target.type})
    return found


def unknown_categories(rows: Summary, column_type: ColumnType, encoding: CategoryEncoding) -> list[str]:
    """The categories of some rows that an encoding takes as unknown, in order."""
    return sorted(set(categories_of(rows, column_type)) - set(encoding.categories))


def _is_same(column: InputColumn, known: FittedColumn) -> bool:
    """True if a column holds what the known one did."""
    if isinstance(known.encoding, ImageEncoding):
        return column.image is not None and column.image.mode is known.encoding.shape.mode
    if isinstance(known.encoding, NumberEncoding):
        return column.type is known.type or {column.type, known.type} <= set(NUMBERS)
    return column.type is known.type or (column.type.is_textual and known.type.is_textual)


def _require_choice(column: InputColumn, choice: Choice, encoding: ColumnEncoding) -> None:
    known = _kind(encoding)
    dim = encoding.dim if isinstance(encoding, CategoryEncoding) else None
    if known is not choice.encoding or (choice.dim is not None and dim is not None and choice.dim != dim):
        dims = f" ({dim} numbers, not {choice.dim})" if known is choice.encoding else ""
        raise InvalidArgument(
            Reason.WEIGHTS_MISMATCH,
            f"column '{column.name}' is encoded by {choice.encoding.name} in the model's specification, and by "
            f"{known.name} in the base version{dims}, so that its weights would mean other numbers: take a model with "
            "the preprocessing of the base version's",
            field=FIELD,
            column=column.name,
        )


def _kind(encoding: ColumnEncoding) -> Encoding:
    if isinstance(encoding, NumberEncoding | ImageEncoding):
        return Encoding(encoding.encoding)
    if isinstance(encoding, CategoryEncoding):
        return Encoding.ONE_HOT if encoding.dim is None else Encoding.EMBEDDING
    return Encoding.TIME_PARTS


def _for_view(encoding: ColumnEncoding, column: InputColumn) -> ColumnEncoding:
    """Channels keep their scale in images of another size."""
    if isinstance(encoding, ImageEncoding):
        return encoding.model_copy(update={"shape": column.image})
    return encoding
