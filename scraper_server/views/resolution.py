"""Answers what a view's description leaves open, from the names and types of the columns alone."""

from dataclasses import dataclass, replace

from scraper_server.tables.lookup import find_column
from scraper_server.tables.schema import Column, ColumnType
from scraper_server.views.spec import ColumnRole, ColumnSelection, MissingPolicy, SplitMethod, ViewColumn, ViewSpec
from servicekit.errors import InvalidArgument, Reason

DEFAULT_FRACTIONS = (0.7, 0.15, 0.15)
DEFAULT_ROLE_FIELD = "view.default_role"


@dataclass(frozen=True)
class PlannedColumn:
    """A column of a view before its rows were looked at; `field` is the path of the selection that it comes from."""

    column: ViewColumn
    source_type: ColumnType
    field: str
    given_fill: str

    @property
    def role_field(self) -> str:
        """The path of the field that gives the column its role."""
        return _role_field(self.field)


def planned_columns(spec: ViewSpec, columns: tuple[Column, ...]) -> tuple[PlannedColumn, ...]:
    """The inputs, targets and weights of a view, in the data set's order.

    Raises:
        InvalidArgument: COLUMN_NOT_FOUND, COLUMN_DUPLICATE, ROLE_MISSING, INVALID_FIELD for a role or policy that does
            not suit its column, or a second column of weights; names the field.
    """
    selections = _by_column(spec, columns)
    planned: list[PlannedColumn] = []
    for column in columns:
        path, selection = selections.get(column.name, (DEFAULT_ROLE_FIELD, ColumnSelection(column.name)))
        role = selection.role or spec.default_role
        if role is not ColumnRole.IGNORED:
            planned.append(_planned(column, selection, role, path))
    _check_names(planned)
    _check_roles(planned)
    return tuple(planned)


def fractions_of(spec: ViewSpec) -> tuple[float, float, float]:
    """The shares of the parts, with the default in force."""
    return spec.split.fractions if any(spec.split.fractions) else DEFAULT_FRACTIONS


def split_column(spec: ViewSpec, columns: tuple[Column, ...]) -> Column | None:
    """The column that the split needs. Raises COLUMN_NOT_FOUND; SPLIT_INVALID for images."""
    if spec.split.method is SplitMethod.RANDOM:
        return None
    field = split_field(spec)
    column = find_column(columns, spec.split.column, field)
    if column.type is ColumnType.IMAGE:
        message = f"column '{column.name}' holds images, which can't decide a split: take the column of their classes"
        raise InvalidArgument(Reason.SPLIT_INVALID, message, field=field, column=column.name)
    return column


def split_field(spec: ViewSpec) -> str:
    """The path of the field that names the split's column."""
    return f"view.split.{spec.split.method.value}.column"


def _by_column(spec: ViewSpec, columns: tuple[Column, ...]) -> dict[str, tuple[str, ColumnSelection]]:
    found: dict[str, tuple[str, ColumnSelection]] = {}
    known = {column.name for column in columns}
    for position, selection in enumerate(spec.columns):
        path = f"view.columns[{position}]"
        if selection.column not in known:
            find_column(columns, selection.column, f"{path}.column")
        if selection.column in found:
            message = f"{path} and {found[selection.column][0]} both select column '{selection.column}': keep one"
            field = f"{path}.column"
            raise InvalidArgument(Reason.COLUMN_DUPLICATE, message, field=field, column=selection.column)
        found[selection.column] = (path, selection)
    return found


def _planned(column: Column, selection: ColumnSelection, role: ColumnRole, path: str) -> PlannedColumn:
    kind = selection.cast or column.type
    if ColumnType.IMAGE in (kind, column.type):
        _check_image(column, kind, role, path)
    if role is ColumnRole.WEIGHT and not kind.is_numeric:
        message = f"column '{column.name}' is {kind.value}, and weights are numbers: cast it, or give it another role"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field=_role_field(path), column=column.name)
    policy = selection.missing or _default_policy(kind, role)
    _check_policy(column.name, kind, role, policy, path)
    view_column = ViewColumn(selection.rename or column.name, column.name, role, kind, policy, image=column.image)
    return PlannedColumn(view_column, column.type, path, selection.fill_value)


def _check_image(column: Column, kind: ColumnType, role: ColumnRole, path: str) -> None:
    if kind is not column.type:
        message = f"column '{column.name}' is {column.type.value}, which can't become {kind.value}: leave out its cast"
        raise InvalidArgument(Reason.CAST_FAILED, message, field=f"{path}.cast", column=column.name)
    if role is ColumnRole.TARGET:
        message = f"column '{column.name}' holds images, which no model predicts: give it the role INPUT or IGNORED"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field=_role_field(path), column=column.name)


def _role_field(path: str) -> str:
    return path if path == DEFAULT_ROLE_FIELD else f"{path}.role"


def _default_policy(kind: ColumnType, role: ColumnRole) -> MissingPolicy:
    if role is ColumnRole.TARGET or kind is ColumnType.IMAGE:
        return MissingPolicy.DROP_ROW
    if role is ColumnRole.WEIGHT:
        return MissingPolicy.FAIL
    if kind.is_numeric:
        return MissingPolicy.FILL_MEDIAN
    return MissingPolicy.KEEP if kind.is_string else MissingPolicy.FILL_MOST_FREQUENT


def _check_policy(name: str, kind: ColumnType, role: ColumnRole, policy: MissingPolicy, path: str) -> None:
    problem = ""
    if kind is ColumnType.IMAGE and policy not in (MissingPolicy.DROP_ROW, MissingPolicy.FAIL):
        problem = "holds images, which nothing can stand for: take DROP_ROW or FAIL"
    elif policy in (MissingPolicy.FILL_MEAN, MissingPolicy.FILL_MEDIAN) and not kind.is_numeric:
        problem = f"has no {policy.value.removeprefix('fill_')}, being {kind.value}: take FILL_MOST_FREQUENT"
    elif policy is MissingPolicy.KEEP and role is ColumnRole.TARGET:
        problem = "is a target, which can't be learned where it is missing: take DROP_ROW"
    elif policy is MissingPolicy.KEEP and not kind.is_string:
        problem = f"is {kind.value} and must have a value in each row: only categorical and text inputs can do without"
    if problem:
        message = f"column '{name}' {problem}"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field=f"{path}.missing", column=name)


def _check_names(planned: list[PlannedColumn]) -> None:
    taken: dict[str, PlannedColumn] = {}
    for each in planned:
        other = taken.setdefault(each.column.name, each)
        if other is each:
            continue
        renamed = each if each.column.name != each.column.source_column else other
        message = (
            f"columns '{other.column.source_column}' and '{each.column.source_column}' would both be called "
            f"'{each.column.name}': choose another name for one of them, or ignore it"
        )
        raise InvalidArgument(
            Reason.COLUMN_DUPLICATE, message, field=f"{renamed.field}.rename", column=each.column.name
        )


def _check_roles(planned: list[PlannedColumn]) -> None:
    roles = {each.column.role for each in planned}
    if ColumnRole.TARGET not in roles:
        message = "the view marks no target: give the role TARGET to the column that is to be predicted"
        raise InvalidArgument(Reason.ROLE_MISSING, message, field="view.columns")
    if ColumnRole.INPUT not in roles:
        message = "the view marks no input: give the role INPUT to a column that the model may see"
        raise InvalidArgument(Reason.ROLE_MISSING, message, field="view.columns")
    weights = [each for each in planned if each.column.role is ColumnRole.WEIGHT]
    if len(weights) > 1:
        first, second = (each.column.source_column for each in weights[:2])
        message = f"columns '{first}' and '{second}' both have the role WEIGHT: a row has one weight, so choose one"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field=weights[1].role_field, column=second)


def finished_column(planned: PlannedColumn, fill: str | None, category_count: int) -> ViewColumn:
    """The column with what its training rows told."""
    return replace(planned.column, fill_value=fill, category_count=category_count)
