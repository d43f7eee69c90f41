"""The types that a caller chose for columns, instead of having them found out."""

from collections.abc import Sequence

from scraper_server.tables.formats import FileFormat
from scraper_server.tables.lookup import unknown_column
from scraper_server.tables.schema import ColumnType
from servicekit.errors import InvalidArgument, Reason


def chosen_types(wanted: FileFormat, names: Sequence[str], file: str) -> dict[str, ColumnType]:
    """The chosen type of each column that has one; `names` are those that the columns of the file get.

    Raises:
        InvalidArgument: COLUMN_NOT_FOUND for a name that is not there, with the near ones; COLUMN_DUPLICATE for one
            that is there twice; INVALID_FIELD for images, which are made at import and not of text.
    """
    known = set(names)
    chosen: dict[str, ColumnType] = {}
    for position, (name, kind) in enumerate(wanted.column_types):
        path = f"format.column_types[{position}]"
        if name not in known:
            raise unknown_column(names, name, f"{path}.column", f"file '{file}'")
        if name in chosen:
            message = f"{path} chooses a type for column '{name}' a second time: keep one"
            raise InvalidArgument(Reason.COLUMN_DUPLICATE, message, field=f"{path}.column", column=name)
        if kind is ColumnType.IMAGE:
            message = f"{path}: a column can't be read as IMAGE; import an archive of images with format.kind IMAGES"
            raise InvalidArgument(Reason.INVALID_FIELD, message, field=f"{path}.type", column=name)
        chosen[name] = kind
    return chosen
