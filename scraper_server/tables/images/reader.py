"""An archive of images as a table."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from scraper_server.archives.compressed import Wrapping, wrapping_of
from scraper_server.archives.zip import Archive, Member, listed
from scraper_server.limits import Limits
from scraper_server.tables.formats import Compression, FileFormat, FormatKind, ImageOptions
from scraper_server.tables.images.broken import BrokenImages
from scraper_server.tables.images.decoding import ArchiveImages
from scraper_server.tables.images.folders import placed
from scraper_server.tables.images.listing import Listing, folder_listing
from scraper_server.tables.images.members import holds_images, images_of
from scraper_server.tables.images.statistics import SeenImages
from scraper_server.tables.images.tables import OpenTable, TablesOfImages
from scraper_server.tables.reader import BytesDone, plain_schema
from scraper_server.tables.refusals import empty, not_a_table
from scraper_server.tables.schema import Column, ColumnType, TableWarning
from scraper_server.tables.unwrapping import is_spreadsheet
from servicekit.errors import FlareError, Reason, ResourceExhausted
from servicekit.images.decoding import DecodedImage

BATCH_BYTES = 4 << 20
BATCH_ROWS = 4096


class ImageTable:
    """The images of an archive, each with its class or with its row of a table; broken ones are left out."""

    def __init__(
        self,
        archive: Archive,
        members: Sequence[Member],
        wanted: FileFormat,
        limits: Limits,
        open_table: OpenTable,
        directory: Path,
    ) -> None:
        """Finds out which images there are among `members`. `directory` holds a table of them while it is read.

        Raises:
            InvalidArgument: FILE_EMPTY without any image; and what `TablesOfImages.listing` raises.
            ResourceExhausted: CELL_TOO_LARGE, if an image is to have more bytes than a cell may have.
        """
        self._archive = archive
        self._limits = limits
        self._options = wanted.images or ImageOptions()
        _check_size(self._options, limits)
        asked = replace(
            wanted, kind=FormatKind.IMAGES, compression=Compression.ZIP, images=replace(self._options, path_column="")
        )
        self._listing = _listing(archive, members, asked, self._options, open_table, directory)
        total = sum(each is not None for each in self._listing.wanted)
        self._broken = BrokenImages(archive.name, self._listing.image_name, total, self._options.max_broken_share)
        self._seen = SeenImages(self._options.shape)
        self._schema = plain_schema(self.columns)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The images, with their statistics after the last row; then what else is known of each."""
        image = Column(self._listing.image_name, ColumnType.IMAGE, image=self._options.shape)
        if self._seen.count:
            image = replace(image, statistics=self._seen.statistics)
        return (image, *self._listing.columns)

    @property
    def warnings(self) -> tuple[TableWarning, ...]:
        """Broken images, after the last row; and what is to be said of a table that lists them."""
        return (*self._listing.warnings, *self._broken.warnings)

    @property
    def format(self) -> FileFormat:
        """How the archive is read."""
        return self._listing.format

    def batches(self, done: BytesDone) -> Iterator[pa.RecordBatch]:
        """All rows in order; once. The archive is closed at their end.

        Raises:
            InvalidArgument: IMAGES_BROKEN, if too many are, or all.
            ResourceExhausted: ARCHIVE_TOO_LARGE, ARCHIVE_TOO_DENSE.
        """
        try:
            yield from self._batches(done)
        finally:
            self._archive.close()

    def _batches(self, done: BytesDone) -> Iterator[pa.RecordBatch]:
        listing, shape = self._listing, self._options.shape
        step = max(1, min(BATCH_ROWS, BATCH_BYTES // shape.size_bytes))
        kept: list[int] = []
        images: list[DecodedImage | None] = []
        read_bytes = 0
        results = ArchiveImages(self._archive, shape, self._limits.image).decoded(listing.wanted)
        for row, (wanted, result) in enumerate(zip(listing.wanted, results, strict=True)):
            if isinstance(wanted, Member):
                read_bytes += wanted.info.compress_size
            if result.why_broken is not None:
                self._broken.add(row, listing.paths[row], result.why_broken)
                continue
            kept.append(row)
            images.append(result.image)
            if len(kept) == step:
                yield self._batch(kept, images)
                done(read_bytes)
                kept, images = [], []
        self._broken.check_any_whole()
        if kept:
            yield self._batch(kept, images)

    def _batch(self, kept: list[int], images: list[DecodedImage | None]) -> pa.RecordBatch:
        self._seen.add(images)
        pixels = [None if image is None else image.pixels for image in images]
        rows = self._listing.rows.take(pa.array(kept)).combine_chunks().to_batches()[0]
        arrays = [pa.array(pixels, self._schema.field(0).type), *rows.columns]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


def open_images(
    source: Path,
    name: str,
    wanted: FileFormat,
    patterns: Sequence[str],
    limits: Limits,
    open_table: OpenTable,
    directory: Path,
) -> ImageTable | None:
    """The file `source`, which its owner calls `name`, as images; None if it is to be read otherwise.

    Images are asked for by their kind or by options for them; else they are meant if the file holds little else and no
    member of it is asked for. Of its members those are taken that fit one of the patterns, or all without patterns.

    Raises:
        InvalidArgument: FILE_NOT_A_TABLE if images are asked for and it is no archive; and as ImageTable.
        ResourceExhausted: As ImageTable.
    """
    if wanted.kind not in (None, FormatKind.IMAGES):
        return None
    is_asked = wanted.kind is FormatKind.IMAGES or wanted.images is not None
    if not is_asked and wanted.member:
        return None
    if wrapping_of(source) is not Wrapping.ZIP:
        if not is_asked:
            return None
        raise not_a_table(name, "format asks for images, which come in a ZIP archive, and it is none: pack them")
    try:
        archive = Archive(source, name, limits.archive)
    except FlareError:
        if is_asked:
            raise
        return None  # who opens tables will say what is wrong with it
    try:
        members = archive.matching(patterns) if patterns else archive.members
        if not is_asked and (is_spreadsheet(archive) or not holds_images(members)):
            archive.close()
            return None
        return ImageTable(archive, members, wanted, limits, open_table, directory)
    except BaseException:
        archive.close()
        raise


def _listing(
    archive: Archive,
    members: Sequence[Member],
    asked: FileFormat,
    options: ImageOptions,
    open_table: OpenTable,
    directory: Path,
) -> Listing:
    images = images_of(members)
    if not images:
        raise empty(archive.name, f"it holds no image: it has {listed(members or archive.members)}")
    labels = {each.label for each in placed([image.path for image in images])} - {None}
    tables = TablesOfImages(archive, members, asked, options, open_table, directory)
    return tables.listing(has_classes=len(labels) > 1) or folder_listing(images, asked)


def _check_size(options: ImageOptions, limits: Limits) -> None:
    size, most = options.shape.size_bytes, limits.table.max_cell_bytes
    if size > most:
        message = (
            f"format.images asks for {options.shape}, {size} bytes an image, more than the {most} that a cell may have "
            "(FLARE_SCRAPER_MAX_CELL_BYTES): ask for a smaller height or width"
        )
        raise ResourceExhausted(Reason.CELL_TOO_LARGE, message, field="format.images")
