"""Where a data set came from and how it was read, as people say it."""

from __future__ import annotations

from flare.scraper.v1 import dataset_pb2, source_pb2

from flare_client.choices import short_name
from flare_client.cli.words import byte_size


def origin_text(origin: source_pb2.DatasetOrigin) -> str:
    """`kaggle owner/slug, version 3, train.csv`."""
    kind = origin.WhichOneof("origin")
    if kind == "kaggle":
        kaggle = origin.kaggle
        version = f"version {kaggle.version}" if kaggle.version else ""
        return ", ".join(part for part in (f"kaggle {kaggle.ref}", version, kaggle.path, *kaggle.members) if part)
    if kind == "upload":
        return f"{origin.upload.file_name}, {byte_size(origin.upload.size_bytes)}"
    return f"samples {origin.sample.sample}" if kind == "sample" else ""


def format_text(known: dataset_pb2.FileFormat) -> str:
    """`delimited, delimiter ';', encoding utf-8`: what was found or asked for and is not the usual."""
    parts = [short_name(dataset_pb2.FileFormat.Kind, known.kind)]
    named = {
        "delimiter": repr(known.delimiter) if known.delimiter else "",
        "encoding": known.encoding,
        "quote": repr(known.quote) if known.quote not in ("", '"') else "",
        "decimal": repr(known.decimal_separator) if known.decimal_separator not in ("", ".") else "",
        "thousands": repr(known.thousands_separator) if known.thousands_separator else "",
        "sheet": known.sheet,
        "table": known.table,
        "member": known.member,
    }
    parts += [f"{name} {value}" for name, value in named.items() if value]
    if known.compression not in (dataset_pb2.COMPRESSION_UNSPECIFIED, dataset_pb2.COMPRESSION_NONE):
        parts.append(short_name(dataset_pb2.Compression, known.compression))
    return ", ".join(part for part in parts if part)


def type_text(column: dataset_pb2.Column) -> str:
    """`integer`, or `image 28x28 grayscale`."""
    name = short_name(dataset_pb2.ColumnType, column.type)
    if not column.HasField("image"):
        return name
    shape = column.image
    return f"{name} {shape.height}x{shape.width} {short_name(dataset_pb2.ImageMode, shape.mode)}"
