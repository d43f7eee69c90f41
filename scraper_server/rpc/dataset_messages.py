"""Data sets, their columns and previews as messages, and the requests that make them as values."""

from flare.scraper.v1 import dataset_pb2, scraper_service_pb2, source_pb2

from scraper_server.datasets.preview import Preview
from scraper_server.datasets.uploads import UploadHeader
from scraper_server.datasets.values import Dataset, Origin, SourceOrigin, UploadOrigin
from scraper_server.rpc.enums import COLUMN_TYPE, FORMAT_KIND, FORMAT_KIND_OF, WARNING_KIND
from scraper_server.sources.source import SourceKind
from scraper_server.tables.formats import FileFormat
from scraper_server.tables.schema import Column, ColumnStatistics, NumericStatistics
from servicekit.rpc.jobs import timestamp_message
from servicekit.uploads import Announcement


def dataset_message(dataset: Dataset) -> dataset_pb2.Dataset:
    """A data set."""
    table = dataset.table
    return dataset_pb2.Dataset(
        name=dataset.name,
        display_name=dataset.display_name,
        origin=origin_message(dataset.origin),
        digest=table.digest,
        row_count=table.row_count,
        size_bytes=table.size_bytes,
        columns=[column_message(column) for column in table.columns],
        format=dataset_pb2.FileFormat(
            kind=FORMAT_KIND[table.format.kind] if table.format.kind else dataset_pb2.FileFormat.KIND_UNSPECIFIED,
            delimiter=table.format.delimiter,
            encoding=table.format.encoding,
        ),
        warnings=[
            dataset_pb2.DatasetWarning(kind=WARNING_KIND[each.kind], column=each.column, message=each.message)
            for each in table.warnings
        ],
        create_time=timestamp_message(dataset.create_time),
    )


def origin_message(origin: Origin) -> source_pb2.DatasetOrigin:
    """Where a data set came from."""
    if isinstance(origin, UploadOrigin):
        upload = source_pb2.UploadedFile(file_name=origin.file_name, size_bytes=origin.size_bytes, sha256=origin.sha256)
        return source_pb2.DatasetOrigin(upload=upload)
    if origin.source is SourceKind.SAMPLES:
        return source_pb2.DatasetOrigin(sample=source_pb2.SampleRef(sample=origin.ref))
    kaggle = source_pb2.KaggleRef(ref=origin.ref, version=origin.version, path=origin.path)
    return source_pb2.DatasetOrigin(kaggle=kaggle)


def import_origin(request: scraper_service_pb2.ImportDatasetRequest) -> SourceOrigin:
    """What is to be imported."""
    if request.WhichOneof("source") == "sample":
        return SourceOrigin(SourceKind.SAMPLES, request.sample.sample)
    return SourceOrigin(SourceKind.KAGGLE, request.kaggle.ref, request.kaggle.version, request.kaggle.path)


def column_message(column: Column) -> dataset_pb2.Column:
    """A column, with its statistics if it has them."""
    statistics = _statistics_message(column.statistics) if column.statistics else None
    return dataset_pb2.Column(name=column.name, type=COLUMN_TYPE[column.type], statistics=statistics)


def file_format(message: dataset_pb2.FileFormat) -> FileFormat:
    """How a file is to be read."""
    return FileFormat(FORMAT_KIND_OF.get(message.kind), message.delimiter, message.encoding)


def upload_header(message: scraper_service_pb2.UploadHeader) -> UploadHeader:
    """What an upload will send."""
    return UploadHeader(
        dataset_id=message.dataset_id,
        announced=Announcement(message.file_name, message.size_bytes, message.sha256),
        display_name=message.display_name,
        format=file_format(message.format),
    )


def preview_message(preview: Preview) -> scraper_service_pb2.PreviewDatasetResponse:
    """Some rows."""
    return scraper_service_pb2.PreviewDatasetResponse(
        columns=[column_message(column) for column in preview.columns],
        rows=[
            scraper_service_pb2.PreviewRow(
                index=index,
                cells=[scraper_service_pb2.PreviewCell(text=cell.text, truncated=cell.truncated) for cell in row],
            )
            for index, row in enumerate(preview.rows, preview.start_row)
        ],
        total_row_count=preview.total_row_count,
        total_column_count=preview.total_column_count,
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
    )
