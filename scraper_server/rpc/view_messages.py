"""Views and their rows as messages, and the requests that make them as values."""

from flare.scraper.v1 import dataset_pb2
from flare.scraper.v1 import dataset_view_pb2 as pb

from scraper_server.datasets.values import DatasetView
from scraper_server.rpc.column_messages import example_messages, image_shape_message, warning_message
from scraper_server.rpc.dataset_messages import origin_message
from scraper_server.rpc.enums import (
    COLUMN_ROLE,
    COLUMN_ROLE_OF,
    COLUMN_TYPE,
    COLUMN_TYPE_OF,
    MISSING_POLICY,
    MISSING_POLICY_OF,
)
from scraper_server.views.spec import BadCells, ColumnRole, ColumnSelection, Split, SplitMethod, ViewColumn, ViewSpec
from servicekit.rpc.jobs import timestamp_message


def view_spec(message: pb.DatasetView) -> ViewSpec:
    """A view as its author describes it."""
    return ViewSpec(
        columns=tuple(_selection(each) for each in message.columns),
        default_role=COLUMN_ROLE_OF.get(message.default_role, ColumnRole.INPUT),
        split=_split(message.split),
    )


def view_message(view: DatasetView) -> pb.DatasetView:
    """A view."""
    train, validation, test = view.resolved.row_counts
    return pb.DatasetView(
        name=view.name,
        display_name=view.display_name,
        columns=[_selection_message(each) for each in view.spec.columns],
        default_role=COLUMN_ROLE[view.spec.default_role],
        split=_split_message(view.spec.split),
        resolved_columns=[view_column_message(each) for each in view.resolved.columns],
        row_counts=pb.SplitRowCounts(train=train, validation=validation, test=test),
        dropped_row_count=view.resolved.dropped_row_count,
        digest=view.resolved.digest,
        dataset_digest=view.dataset_digest,
        create_time=timestamp_message(view.create_time),
        warnings=[warning_message(each) for each in view.resolved.warnings],
        origin=origin_message(view.origin),
        bad_cells=[_bad_cells_message(each) for each in view.resolved.bad_cells],
    )


def _bad_cells_message(bad: BadCells) -> pb.BadCells:
    return pb.BadCells(
        column=bad.column,
        field=bad.field,
        type=COLUMN_TYPE[bad.type],
        count=bad.count,
        examples=example_messages(bad.examples),
    )


def _selection(message: pb.ColumnSelection) -> ColumnSelection:
    return ColumnSelection(
        column=message.column,
        role=COLUMN_ROLE_OF.get(message.role),
        rename=message.rename,
        cast=COLUMN_TYPE_OF.get(message.cast),
        missing=MISSING_POLICY_OF.get(message.missing),
        fill_value=message.fill_value,
    )


def _selection_message(selection: ColumnSelection) -> pb.ColumnSelection:
    return pb.ColumnSelection(
        column=selection.column,
        role=COLUMN_ROLE[selection.role] if selection.role else pb.COLUMN_ROLE_UNSPECIFIED,
        rename=selection.rename,
        cast=COLUMN_TYPE[selection.cast] if selection.cast else dataset_pb2.COLUMN_TYPE_UNSPECIFIED,
        missing=MISSING_POLICY[selection.missing] if selection.missing else pb.MISSING_POLICY_UNSPECIFIED,
        fill_value=selection.fill_value,
    )


def _split(message: pb.Split) -> Split:
    method = SplitMethod(message.WhichOneof("method") or "random")
    fractions = (message.train_fraction, message.validation_fraction, message.test_fraction)
    if method is SplitMethod.RANDOM:
        return Split(method, fractions, message.seed)
    by_column = message.column
    values = (tuple(by_column.train_values), tuple(by_column.validation_values), tuple(by_column.test_values))
    return Split(method, fractions, message.seed, getattr(message, method.value).column, values)


def _split_message(split: Split) -> pb.Split:
    train, validation, test = split.fractions
    message = pb.Split(train_fraction=train, validation_fraction=validation, test_fraction=test, seed=split.seed)
    match split.method:
        case SplitMethod.RANDOM:
            message.random.SetInParent()
        case SplitMethod.STRATIFIED:
            message.stratified.column = split.column
        case SplitMethod.GROUP:
            message.group.column = split.column
        case SplitMethod.TIME:
            message.time.column = split.column
        case SplitMethod.COLUMN:
            message.column.column = split.column
            message.column.train_values.extend(split.values[0])
            message.column.validation_values.extend(split.values[1])
            message.column.test_values.extend(split.values[2])
    return message


def view_column_message(column: ViewColumn) -> pb.ViewColumn:
    """A column as the rows of a view have it."""
    return pb.ViewColumn(
        name=column.name,
        source_column=column.source_column,
        role=COLUMN_ROLE[column.role],
        type=COLUMN_TYPE[column.type],
        missing=MISSING_POLICY[column.missing],
        fill_value=column.fill_value,
        category_count=column.category_count,
        image=image_shape_message(column.image),
    )
