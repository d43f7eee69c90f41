"""Which files of a data set are tables, and which one is meant."""

from collections.abc import Sequence

from scraper_server.endings import TABLE_ENDINGS, is_archive, is_table
from scraper_server.sources.source import FileRequest, SourceFile
from servicekit.errors import InvalidArgument, NotFound, Reason

LISTED_FILES = 20


def chosen_file(request: FileRequest, files: Sequence[SourceFile]) -> SourceFile:
    """The file of the data set that a request means.

    Raises:
        NotFound: SOURCE_NOT_FOUND, no file has the path asked for.
        InvalidArgument: INVALID_FIELD, no path is given and there are several tables; FILE_NOT_A_TABLE, there are none.
    """
    if request.path:
        for file in files:
            if file.path == request.path:
                return file
        raise NotFound(
            Reason.SOURCE_NOT_FOUND,
            f"data set '{request.ref}' has no file '{request.path}'; it has {_listed(files)}",
            resource=request.ref,
        )
    tables = [file for file in files if is_table(file.path)]
    archives = [file for file in files if is_archive(file.path)]
    if len(tables) == 1:
        return tables[0]
    if not tables and len(archives) == 1:
        return archives[0]
    if tables:
        raise InvalidArgument(
            Reason.INVALID_FIELD,
            f"data set '{request.ref}' holds {len(tables)} tables, so give the path of one: {_listed(tables)}",
            field="kaggle.path",
        )
    raise InvalidArgument(
        Reason.FILE_NOT_A_TABLE,
        f"data set '{request.ref}' holds no table ({', '.join(sorted(TABLE_ENDINGS))}); it has {_listed(files)}",
        field="kaggle.ref",
    )


def _listed(files: Sequence[SourceFile]) -> str:
    if not files:
        return "no files"
    shown = ", ".join(f"'{file.path}'" for file in files[:LISTED_FILES])
    return shown if len(files) <= LISTED_FILES else f"{shown} and {len(files) - LISTED_FILES} more"
