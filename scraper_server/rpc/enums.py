"""The enums of the contract and those of the domain, one table for each pair."""

from collections.abc import Mapping
from typing import TypeVar

from flare.scraper.v1 import dataset_pb2, dataset_view_pb2, import_job_pb2, scraper_service_pb2, source_pb2

from scraper_server.imports.spec import ImportPhase
from scraper_server.sources.search import FileType, LicenseFamily, SearchSort
from scraper_server.sources.source import SourceKind
from scraper_server.tables.formats import Compression, FormatKind, RaggedRows
from scraper_server.tables.schema import ColumnType, WarningKind
from scraper_server.views.layouts import LayoutKind
from scraper_server.views.spec import ColumnRole, MissingPolicy, Part
from servicekit.images.shape import ImageMode, ImageResizing

K = TypeVar("K")
V = TypeVar("V")


def _reversed(table: Mapping[K, V]) -> dict[V, K]:
    return {value: key for key, value in table.items()}


SOURCE_KIND = {
    SourceKind.SAMPLES: source_pb2.SOURCE_KIND_SAMPLES,
    SourceKind.KAGGLE: source_pb2.SOURCE_KIND_KAGGLE,
}
SOURCE_KIND_OF = _reversed(SOURCE_KIND)

FILE_TYPE_OF = {
    source_pb2.SOURCE_FILE_TYPE_CSV: FileType.CSV,
    source_pb2.SOURCE_FILE_TYPE_SQLITE: FileType.SQLITE,
    source_pb2.SOURCE_FILE_TYPE_JSON: FileType.JSON,
    source_pb2.SOURCE_FILE_TYPE_BIGQUERY: FileType.BIGQUERY,
    source_pb2.SOURCE_FILE_TYPE_PARQUET: FileType.PARQUET,
}

LICENSE_FAMILY_OF = {
    source_pb2.SOURCE_LICENSE_CREATIVE_COMMONS: LicenseFamily.CREATIVE_COMMONS,
    source_pb2.SOURCE_LICENSE_GPL: LicenseFamily.GPL,
    source_pb2.SOURCE_LICENSE_OPEN_DATABASE: LicenseFamily.OPEN_DATABASE,
    source_pb2.SOURCE_LICENSE_OTHER: LicenseFamily.OTHER,
}

SEARCH_SORT_OF = {
    source_pb2.SEARCH_SORT_HOTTEST: SearchSort.HOTTEST,
    source_pb2.SEARCH_SORT_VOTES: SearchSort.VOTES,
    source_pb2.SEARCH_SORT_UPDATED: SearchSort.UPDATED,
    source_pb2.SEARCH_SORT_ACTIVE: SearchSort.ACTIVE,
    source_pb2.SEARCH_SORT_PUBLISHED: SearchSort.PUBLISHED,
}

COLUMN_TYPE = {
    ColumnType.INTEGER: dataset_pb2.COLUMN_TYPE_INTEGER,
    ColumnType.FLOAT: dataset_pb2.COLUMN_TYPE_FLOAT,
    ColumnType.BOOLEAN: dataset_pb2.COLUMN_TYPE_BOOLEAN,
    ColumnType.DATETIME: dataset_pb2.COLUMN_TYPE_DATETIME,
    ColumnType.CATEGORICAL: dataset_pb2.COLUMN_TYPE_CATEGORICAL,
    ColumnType.TEXT: dataset_pb2.COLUMN_TYPE_TEXT,
    ColumnType.IMAGE: dataset_pb2.COLUMN_TYPE_IMAGE,
}
COLUMN_TYPE_OF = _reversed(COLUMN_TYPE)

WARNING_KIND = {
    WarningKind.COLUMN_RENAMED: dataset_pb2.DatasetWarning.KIND_COLUMN_RENAMED,
    WarningKind.COLUMN_CONSTANT: dataset_pb2.DatasetWarning.KIND_COLUMN_CONSTANT,
    WarningKind.COLUMN_EMPTY: dataset_pb2.DatasetWarning.KIND_COLUMN_EMPTY,
    WarningKind.ROWS_RAGGED: dataset_pb2.DatasetWarning.KIND_ROWS_RAGGED,
    WarningKind.CELLS_MISFIT: dataset_pb2.DatasetWarning.KIND_CELLS_MISFIT,
    WarningKind.COLUMN_ID_LIKE: dataset_pb2.DatasetWarning.KIND_COLUMN_ID_LIKE,
    WarningKind.CLASS_RARE: dataset_pb2.DatasetWarning.KIND_CLASS_RARE,
    WarningKind.IMAGES_BROKEN: dataset_pb2.DatasetWarning.KIND_IMAGES_BROKEN,
    WarningKind.AMBIGUOUS: dataset_pb2.DatasetWarning.KIND_AMBIGUOUS,
    WarningKind.COLUMN_LEFT_OUT: dataset_pb2.DatasetWarning.KIND_COLUMN_LEFT_OUT,
    WarningKind.TARGET_LEAK: dataset_pb2.DatasetWarning.KIND_TARGET_LEAK,
    WarningKind.ROWS_SHARED: dataset_pb2.DatasetWarning.KIND_ROWS_SHARED,
    WarningKind.FUTURE_LEAK: dataset_pb2.DatasetWarning.KIND_FUTURE_LEAK,
}

FORMAT_KIND = {
    FormatKind.DELIMITED: dataset_pb2.FileFormat.KIND_DELIMITED,
    FormatKind.PARQUET: dataset_pb2.FileFormat.KIND_PARQUET,
    FormatKind.JSON: dataset_pb2.FileFormat.KIND_JSON,
    FormatKind.JSON_LINES: dataset_pb2.FileFormat.KIND_JSON_LINES,
    FormatKind.EXCEL: dataset_pb2.FileFormat.KIND_EXCEL,
    FormatKind.SQLITE: dataset_pb2.FileFormat.KIND_SQLITE,
    FormatKind.IMAGES: dataset_pb2.FileFormat.KIND_IMAGES,
}
FORMAT_KIND_OF = _reversed(FORMAT_KIND)

RAGGED_ROWS = {
    RaggedRows.FAIL: dataset_pb2.RAGGED_ROWS_FAIL,
    RaggedRows.SKIP: dataset_pb2.RAGGED_ROWS_SKIP,
    RaggedRows.FILL: dataset_pb2.RAGGED_ROWS_FILL,
}
RAGGED_ROWS_OF = _reversed(RAGGED_ROWS)

COMPRESSION = {
    Compression.NONE: dataset_pb2.COMPRESSION_NONE,
    Compression.GZIP: dataset_pb2.COMPRESSION_GZIP,
    Compression.ZIP: dataset_pb2.COMPRESSION_ZIP,
    Compression.ZSTD: dataset_pb2.COMPRESSION_ZSTD,
}

IMAGE_MODE = {
    ImageMode.RGB: dataset_pb2.IMAGE_MODE_RGB,
    ImageMode.GRAYSCALE: dataset_pb2.IMAGE_MODE_GRAYSCALE,
}
IMAGE_MODE_OF = _reversed(IMAGE_MODE)

IMAGE_RESIZING = {
    ImageResizing.STRETCH: dataset_pb2.IMAGE_RESIZING_STRETCH,
    ImageResizing.CROP: dataset_pb2.IMAGE_RESIZING_CROP,
    ImageResizing.PAD: dataset_pb2.IMAGE_RESIZING_PAD,
}
IMAGE_RESIZING_OF = _reversed(IMAGE_RESIZING)

COLUMN_ROLE = {
    ColumnRole.INPUT: dataset_view_pb2.COLUMN_ROLE_INPUT,
    ColumnRole.TARGET: dataset_view_pb2.COLUMN_ROLE_TARGET,
    ColumnRole.IGNORED: dataset_view_pb2.COLUMN_ROLE_IGNORED,
    ColumnRole.WEIGHT: dataset_view_pb2.COLUMN_ROLE_WEIGHT,
}
COLUMN_ROLE_OF = _reversed(COLUMN_ROLE)

MISSING_POLICY = {
    MissingPolicy.DROP_ROW: dataset_view_pb2.MISSING_POLICY_DROP_ROW,
    MissingPolicy.FILL_MEAN: dataset_view_pb2.MISSING_POLICY_FILL_MEAN,
    MissingPolicy.FILL_MEDIAN: dataset_view_pb2.MISSING_POLICY_FILL_MEDIAN,
    MissingPolicy.FILL_MOST_FREQUENT: dataset_view_pb2.MISSING_POLICY_FILL_MOST_FREQUENT,
    MissingPolicy.FILL_VALUE: dataset_view_pb2.MISSING_POLICY_FILL_VALUE,
    MissingPolicy.KEEP: dataset_view_pb2.MISSING_POLICY_KEEP,
    MissingPolicy.FAIL: dataset_view_pb2.MISSING_POLICY_FAIL,
}
MISSING_POLICY_OF = _reversed(MISSING_POLICY)

PART_OF = {
    dataset_view_pb2.SPLIT_PART_TRAIN: Part.TRAIN,
    dataset_view_pb2.SPLIT_PART_VALIDATION: Part.VALIDATION,
    dataset_view_pb2.SPLIT_PART_TEST: Part.TEST,
}

IMPORT_PHASE = {
    ImportPhase.RESOLVING: import_job_pb2.IMPORT_PHASE_RESOLVING,
    ImportPhase.DOWNLOADING: import_job_pb2.IMPORT_PHASE_DOWNLOADING,
    ImportPhase.CONVERTING: import_job_pb2.IMPORT_PHASE_CONVERTING,
    ImportPhase.PROFILING: import_job_pb2.IMPORT_PHASE_PROFILING,
}

LAYOUT = {
    LayoutKind.COLUMNS: scraper_service_pb2.VIEW_LAYOUT_COLUMNS,
    LayoutKind.FEATURES: scraper_service_pb2.VIEW_LAYOUT_FEATURES,
}
LAYOUT_OF = {scraper_service_pb2.VIEW_LAYOUT_UNSPECIFIED: LayoutKind.COLUMNS} | _reversed(LAYOUT)
