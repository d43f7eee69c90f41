"""Columns, what is known about them, and warnings, as messages."""

from collections.abc import Sequence
from dataclasses import asdict

from flare.scraper.v1 import dataset_pb2

from scraper_server.rpc.enums import COLUMN_TYPE, IMAGE_MODE, IMAGE_RESIZING, WARNING_KIND
from scraper_server.tables.schema import (
    CellExample,
    Column,
    ColumnStatistics,
    ImageStatistics,
    NumericStatistics,
    TableWarning,
    TypeFit,
)
from servicekit.images.shape import ImageShape
from servicekit.rpc.jobs import timestamp_message


def column_message(column: Column) -> dataset_pb2.Column:
    """A column, with its statistics if it has them."""
    return dataset_pb2.Column(
        name=column.name,
        type=COLUMN_TYPE[column.type],
        statistics=_statistics_message(column.statistics) if column.statistics else None,
        type_fits=[_fit_message(each) for each in column.type_fits],
        image=image_shape_message(column.image),
    )


def warning_message(warning: TableWarning) -> dataset_pb2.DatasetWarning:
    """Something that a careful reader would want to know."""
    return dataset_pb2.DatasetWarning(
        kind=WARNING_KIND[warning.kind],
        column=warning.column,
        message=warning.message,
        count=warning.count,
        examples=example_messages(warning.examples),
    )


def example_messages(examples: Sequence[CellExample]) -> list[dataset_pb2.CellExample]:
    """Cells as examples."""
    return [dataset_pb2.CellExample(row=each.row, line=each.line, value=each.value) for each in examples]


def image_shape_message(shape: ImageShape | None) -> dataset_pb2.ImageShape | None:
    """What every image of a column is."""
    if shape is None:
        return None
    return dataset_pb2.ImageShape(
        height=shape.height,
        width=shape.width,
        mode=IMAGE_MODE[shape.mode],
        resizing=IMAGE_RESIZING[shape.resizing],
    )


def _fit_message(fit: TypeFit) -> dataset_pb2.TypeFit:
    return dataset_pb2.TypeFit(
        type=COLUMN_TYPE[fit.type],
        share=fit.share,
        misfit_count=fit.misfit_count,
        misfits=example_messages(fit.misfits),
    )


def _statistics_message(known: ColumnStatistics) -> dataset_pb2.ColumnStatistics:
    time = None
    if known.time is not None:
        time = dataset_pb2.TimeStatistics(
            minimum=timestamp_message(known.time.minimum), maximum=timestamp_message(known.time.maximum)
        )
    return dataset_pb2.ColumnStatistics(
        count=known.count,
        missing_count=known.missing_count,
        distinct_count=known.distinct_count,
        numeric=_numeric_message(known.numeric) if known.numeric else None,
        time=time,
        most_frequent=[dataset_pb2.ValueCount(value=each.value, count=each.count) for each in known.most_frequent],
        is_distinct_count_approximate=known.is_distinct_count_approximate,
        is_most_frequent_approximate=known.is_most_frequent_approximate,
        class_balance=dataset_pb2.ClassBalance(**asdict(known.class_balance)) if known.class_balance else None,
        image=_image_statistics_message(known.image) if known.image else None,
    )


def _numeric_message(known: NumericStatistics) -> dataset_pb2.NumericStatistics:
    return dataset_pb2.NumericStatistics(
        minimum=known.minimum,
        maximum=known.maximum,
        mean=known.mean,
        standard_deviation=known.standard_deviation,
        quantiles=[dataset_pb2.Quantile(probability=each.probability, value=each.value) for each in known.quantiles],
        histogram=[
            dataset_pb2.HistogramBin(lower=each.lower, upper=each.upper, count=each.count) for each in known.histogram
        ],
        is_distribution_approximate=known.is_distribution_approximate,
    )


def _image_statistics_message(known: ImageStatistics) -> dataset_pb2.ImageStatistics:
    return dataset_pb2.ImageStatistics(
        minimum_height=known.minimum_height,
        maximum_height=known.maximum_height,
        minimum_width=known.minimum_width,
        maximum_width=known.maximum_width,
        most_frequent_sizes=[
            dataset_pb2.ImageSizeCount(height=each.height, width=each.width, count=each.count)
            for each in known.most_frequent_sizes
        ],
        channel_means=known.channel_means,
        channel_standard_deviations=known.channel_standard_deviations,
    )
