"""Data sets and previews as messages, and the requests that make them as values."""

from flare.scraper.v1 import dataset_pb2, scraper_service_pb2, source_pb2

from scraper_server.datasets.preview import Preview
from scraper_server.datasets.values import Dataset, Origin, SourceOrigin, UploadOrigin
from scraper_server.imports.spec import UploadRef
from scraper_server.rpc.column_messages import column_message, warning_message
from scraper_server.rpc.format_messages import file_format, format_message
from scraper_server.rpc.names import upload_session_id
from scraper_server.rpc.upload_messages import announcement
from scraper_server.sources.source import SourceKind
from scraper_server.uploads.one_call import UploadHeader
from servicekit.rpc.jobs import timestamp_message


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
        format=format_message(table.format),
        warnings=[warning_message(each) for each in table.warnings],
        create_time=timestamp_message(dataset.create_time),
    )


def origin_message(origin: Origin) -> source_pb2.DatasetOrigin:
    """Where a data set came from."""
    if isinstance(origin, UploadOrigin):
        upload = source_pb2.UploadedFile(file_name=origin.file_name, size_bytes=origin.size_bytes, sha256=origin.sha256)
        return source_pb2.DatasetOrigin(upload=upload)
    if origin.source is SourceKind.SAMPLES:
        return source_pb2.DatasetOrigin(sample=source_pb2.SampleRef(sample=origin.ref))
    kaggle = source_pb2.KaggleRef(ref=origin.ref, version=origin.version, path=origin.path, members=origin.members)
    return source_pb2.DatasetOrigin(kaggle=kaggle)


def import_origin(request: scraper_service_pb2.ImportDatasetRequest) -> SourceOrigin | UploadRef:
    """What is to be imported."""
    if request.WhichOneof("source") == "upload":
        return UploadRef(upload_session_id(request.upload.session))
    if request.WhichOneof("source") == "sample":
        return SourceOrigin(SourceKind.SAMPLES, request.sample.sample)
    kaggle = request.kaggle
    return SourceOrigin(SourceKind.KAGGLE, kaggle.ref, kaggle.version, kaggle.path, tuple(kaggle.members))


def upload_header(message: scraper_service_pb2.UploadHeader) -> UploadHeader:
    """What an upload will send."""
    return UploadHeader(
        dataset_id=message.dataset_id,
        announced=announcement(message.file_name, message.size_bytes, message.sha256),
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
                cells=[
                    scraper_service_pb2.PreviewCell(text=cell.text, truncated=cell.truncated, png=cell.png)
                    for cell in row
                ],
            )
            for index, row in enumerate(preview.rows, preview.start_row)
        ],
        total_row_count=preview.total_row_count,
        total_column_count=preview.total_column_count,
    )
