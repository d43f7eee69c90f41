"""Tables in an archive of images, one of whose columns names the images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from scraper_server.archives.zip import Archive, Member, listed
from scraper_server.tables.arrow import plain
from scraper_server.tables.cells import as_text
from scraper_server.tables.formats import FileFormat, ImageOptions
from scraper_server.tables.images.listing import IMAGE, Listing
from scraper_server.tables.images.matching import ImagesByName
from scraper_server.tables.images.members import images_of, tables_of
from scraper_server.tables.reader import Misread, TableReader, plain_schema
from scraper_server.tables.refusals import not_a_table
from scraper_server.tables.schema import Column, ColumnType, TableWarning, WarningKind
from servicekit.errors import InvalidArgument, Reason

# A table of paths is held in memory, unlike one of values.
MAX_TABLE_BYTES = 128 << 20
SAMPLE_ROWS = 1000
# Where there are more, they tell of single images; one of them can still be asked for.
MOST_TABLES = 20
# A column names the images if so many of its cells do.
NAMING_SHARE = 0.5
DISTINCT_SHARE = 0.9

OpenTable = Callable[[Path, str], TableReader]
"""Opens a delimited file that messages call by the name."""


@dataclass(frozen=True)
class _Table:
    """A table of the archive, read; and the position of the column that names images, None if there is none."""

    member: Member
    reader: TableReader
    rows: pa.Table
    path_column: int | None


class TablesOfImages:
    """Looks for the table that names the images of an archive."""

    def __init__(
        self,
        archive: Archive,
        members: Sequence[Member],
        wanted: FileFormat,
        options: ImageOptions,
        open_table: OpenTable,
        directory: Path,
    ) -> None:
        """`members` are those of the archive that count; `directory` holds a table while it is read."""
        self._archive = archive
        images = images_of(members)
        self._images = ImagesByName(images)
        self._example = images[0].path
        self._tables = tables_of(members)
        self._wanted = wanted
        self._options = options
        self._open_table = open_table
        self._directory = directory

    def listing(self, *, has_classes: bool) -> Listing | None:
        """The images as a table of the archive lists them; None if there is no such table.

        The table is that of `format.member`, else the one with a column that names images. `has_classes` tells that
        folders name the classes, which decides if several tables could be meant.

        Raises:
            InvalidArgument: COLUMN_NOT_FOUND, FILE_PART_NOT_FOUND, or FILE_NOT_A_TABLE if no or several tables fit what
                was asked for.
        """
        if self._wanted.member:
            table = self._read(self._archive.find(self._wanted.member))
            return self._listing(table, self._required(table))
        candidates, refusal = self._candidates()
        fitting = [table for table in candidates if table.path_column is not None]
        if len(fitting) == 1:
            return self._listing(fitting[0], self._required(fitting[0]))
        if self._options.path_column and not fitting:
            raise refusal or self._no_such_column(candidates)
        if has_classes:
            return None
        if refusal is not None:
            raise refusal
        if fitting:
            tables = listed([table.member for table in fitting])
            why = f"several of its tables name images: {tables}; say which in format.member"
            raise not_a_table(self._archive.name, why)
        return None

    def _candidates(self) -> tuple[list[_Table], InvalidArgument | None]:
        """The tables that may be meant; and why one of them can't be read, which says nothing against the others."""
        read: list[_Table] = []
        refusal = None
        for member in self._tables if len(self._tables) <= MOST_TABLES else ():
            try:
                read.append(self._read(member))
            except InvalidArgument as error:
                refusal = error
        return read, refusal

    def _read(self, member: Member) -> _Table:
        file = self._directory / "paths"
        try:
            file.write_bytes(self._archive.read(member, MAX_TABLE_BYTES))
            reader = self._open_table(file, member.path)
            rows = _all_rows(reader)
        finally:
            file.unlink(missing_ok=True)
        return _Table(member, reader, rows, self._path_column(member, reader.columns, rows))

    def _path_column(self, member: Member, columns: tuple[Column, ...], rows: pa.Table) -> int | None:
        """The column asked for; or the one that names most images, a text before a number."""
        if self._options.path_column:
            names = [column.name for column in columns]
            return names.index(self._options.path_column) if self._options.path_column in names else None
        kinds = (ColumnType.TEXT, ColumnType.CATEGORICAL, ColumnType.INTEGER)
        folder = _folder(member)
        ranked = []
        for at, column in enumerate(columns):
            if column.type in kinds:
                cells = [text for text in _texts(rows.column(at).slice(0, SAMPLE_ROWS)) if text]
                share = sum(bool(self._images.find(text, folder)) for text in cells) / max(len(cells), 1)
                is_number = column.type is ColumnType.INTEGER
                # Images are called 1.png, 2.png, ..., and so are many numbers: those of images differ.
                if share >= NAMING_SHARE and not (is_number and len(set(cells)) < DISTINCT_SHARE * len(cells)):
                    ranked.append((not is_number, share, -at))
        return -max(ranked)[2] if ranked else None

    def _required(self, table: _Table) -> int:
        """Raises the error for a table that was asked for and names no image."""
        if table.path_column is None and self._options.path_column:
            raise self._no_such_column([table])
        if table.path_column is not None:
            cells = [text for text in _texts(table.rows.column(table.path_column)) if text]
            if any(self._images.find(text, _folder(table.member)) for text in cells):
                return table.path_column
            name, seen = table.reader.columns[table.path_column].name, cells[:1]
        else:
            name, seen = "", [text for text in (_texts(column.slice(0, 1))[0] for column in table.rows.columns) if text]
        where = f"column '{name}'" if name else "no column"
        shown = ", ".join(f"'{text}'" for text in seen[:5]) or "nothing"
        raise not_a_table(
            self._archive.name,
            f"{where} of its table '{table.member.path}' names {'no' if name else 'the'} images: it holds {shown}, and "
            f"the images are called like '{self._example}'; name the column with the paths in "
            "format.images.path_column",
        )

    def _no_such_column(self, tables: Sequence[_Table]) -> InvalidArgument:
        name = self._options.path_column
        known = "; ".join(
            f"'{table.member.path}' has " + ", ".join(f"'{column.name}'" for column in table.reader.columns[:10])
            for table in tables[:5]
        )
        message = f"no table of file '{self._archive.name}' has a column '{name}': {known or 'it has no .csv or .tsv'}"
        return InvalidArgument(
            Reason.COLUMN_NOT_FOUND, message, field="format.images.path_column", column=name, file=self._archive.name
        )

    def _listing(self, table: _Table, path_column: int) -> Listing:
        columns = list(table.reader.columns)
        paths = _texts(table.rows.column(path_column))
        columns[path_column] = replace(columns[path_column], type=ColumnType.TEXT, type_fits=())
        arrays = [plain(column) for column in table.rows.columns]
        arrays[path_column] = pa.array(paths, pa.string())
        asked = columns[path_column].name
        columns, image_name, warnings = _named(columns, path_column)
        rows = pa.Table.from_arrays(arrays, schema=plain_schema(tuple(columns)))
        folder = _folder(table.member)
        known = table.reader.format
        return Listing(
            columns=tuple(columns),
            rows=rows,
            paths=[path or "" for path in paths],
            wanted=[self._meant(path, folder) for path in paths],
            format=replace(
                known,
                kind=self._wanted.kind,
                member=table.member.path,
                images=replace(self._options, path_column=asked),
            ),
            image_name=image_name,
            warnings=(*table.reader.warnings, *warnings),
        )

    def _meant(self, path: str | None, folder: str) -> Member | str | None:
        if not path:
            return None
        found = self._images.find(path, folder)
        if len(found) == 1:
            return found[0]
        return f"several files could be meant: {listed(found[:5])}" if found else "the archive has no such file"


def _all_rows(reader: TableReader) -> pa.Table:
    while True:
        try:
            batches = list(reader.batches(_unheard))
        except Misread:
            continue
        return pa.Table.from_batches(batches, plain_schema(reader.columns))


def _unheard(done: int) -> None:
    """Progress is told of the images, which are much more."""


def _texts(values: "pa.ChunkedArray[Any]") -> list[str | None]:
    texts: list[str | None] = as_text(plain(values)).to_pylist()
    return texts


def _folder(member: Member) -> str:
    folder = str(PurePosixPath(member.path).parent)
    return "" if folder == "." else folder


def _named(columns: list[Column], path_column: int) -> tuple[list[Column], str, tuple[TableWarning, ...]]:
    """Columns with names that leave one for the images: `image`, which tables like to call the column of paths."""
    taken = {column.name for column in columns}
    if IMAGE not in taken:
        return columns, IMAGE, ()
    if columns[path_column].name == IMAGE:
        image_name, given = IMAGE, _free("path", taken)
        columns = [*columns[:path_column], replace(columns[path_column], name=given), *columns[path_column + 1 :]]
        message = f"the column '{IMAGE}' with the paths of the images is called '{given}'"
    else:
        image_name = given = _free(IMAGE, taken)
        message = f"the images are called '{given}': another column is called '{IMAGE}'"
    return columns, image_name, (TableWarning(WarningKind.COLUMN_RENAMED, given, message),)


def _free(name: str, taken: set[str]) -> str:
    return name if name not in taken else next(each for n in count(2) if (each := f"{name}_{n}") not in taken)
