"""How a file is read: as messages, and as the values that requests ask for."""

from flare.scraper.v1 import dataset_pb2

from scraper_server.rpc.enums import (
    COLUMN_TYPE,
    COLUMN_TYPE_OF,
    COMPRESSION,
    FORMAT_KIND,
    FORMAT_KIND_OF,
    IMAGE_MODE,
    IMAGE_MODE_OF,
    IMAGE_RESIZING,
    IMAGE_RESIZING_OF,
    RAGGED_ROWS,
    RAGGED_ROWS_OF,
)
from scraper_server.tables.formats import FileFormat, ImageOptions
from servicekit.images.shape import ImageMode


def file_format(message: dataset_pb2.FileFormat) -> FileFormat:
    """How a file is to be read."""
    return FileFormat(
        kind=FORMAT_KIND_OF.get(message.kind),
        delimiter=message.delimiter,
        encoding=message.encoding,
        quote=message.quote,
        decimal_separator=message.decimal_separator,
        thousands_separator=message.thousands_separator,
        comment=message.comment,
        has_no_header=message.has_no_header,
        ragged_rows=RAGGED_ROWS_OF.get(message.ragged_rows),
        sheet=message.sheet,
        table=message.table,
        member=message.member,
        column_types=tuple((each.column, COLUMN_TYPE_OF[each.type]) for each in message.column_types),
        images=_image_options(message.images) if message.HasField("images") else None,
    )


def format_message(known: FileFormat) -> dataset_pb2.FileFormat:
    """How a file was read."""
    return dataset_pb2.FileFormat(
        kind=FORMAT_KIND[known.kind] if known.kind else dataset_pb2.FileFormat.KIND_UNSPECIFIED,
        delimiter=known.delimiter,
        encoding=known.encoding,
        quote=known.quote,
        decimal_separator=known.decimal_separator,
        thousands_separator=known.thousands_separator,
        comment=known.comment,
        has_no_header=known.has_no_header,
        ragged_rows=RAGGED_ROWS[known.ragged_rows] if known.ragged_rows else dataset_pb2.RAGGED_ROWS_UNSPECIFIED,
        compression=COMPRESSION[known.compression] if known.compression else dataset_pb2.COMPRESSION_UNSPECIFIED,
        sheet=known.sheet,
        table=known.table,
        member=known.member,
        column_types=[
            dataset_pb2.ColumnTypeChoice(column=column, type=COLUMN_TYPE[kind]) for column, kind in known.column_types
        ],
        images=_image_options_message(known.images) if known.images else None,
    )


def _image_options(message: dataset_pb2.ImageOptions) -> ImageOptions:
    default = ImageOptions()
    return ImageOptions(
        height=message.height or default.height,
        width=message.width or default.width,
        mode=IMAGE_MODE_OF.get(message.mode, ImageMode.RGB),
        resizing=IMAGE_RESIZING_OF.get(message.resizing, default.resizing),
        max_broken_share=message.max_broken_share if message.HasField("max_broken_share") else default.max_broken_share,
        path_column=message.path_column,
    )


def _image_options_message(options: ImageOptions) -> dataset_pb2.ImageOptions:
    return dataset_pb2.ImageOptions(
        height=options.height,
        width=options.width,
        mode=IMAGE_MODE[options.mode],
        resizing=IMAGE_RESIZING[options.resizing],
        max_broken_share=options.max_broken_share,
        path_column=options.path_column,
    )
