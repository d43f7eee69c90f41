"""Why a file is refused."""

from servicekit.errors import InvalidArgument, Reason, ResourceExhausted


def not_a_table(name: str, why: str) -> InvalidArgument:
    """The error for a file that is no table; `why` says what is wrong with it, and where."""
    message = f"file '{name}' is not a table that can be read: {why}"
    return InvalidArgument(Reason.FILE_NOT_A_TABLE, message, file=name)


def empty(name: str, why: str) -> InvalidArgument:
    """The error for a file without rows."""
    return InvalidArgument(Reason.FILE_EMPTY, f"file '{name}' has no rows: {why}", file=name)


def too_many_rows(name: str, limit: int) -> ResourceExhausted:
    """The error for a table that is too long."""
    message = f"file '{name}' has more than the {limit} rows that this server takes (FLARE_SCRAPER_MAX_ROWS)"
    return ResourceExhausted(Reason.TOO_MANY_ROWS, message, file=name)


def too_many_columns(name: str, limit: int) -> ResourceExhausted:
    """The error for a table that is too wide."""
    message = f"file '{name}' has more than the {limit} columns that this server takes (FLARE_SCRAPER_MAX_COLUMNS)"
    return ResourceExhausted(Reason.TOO_MANY_COLUMNS, message, file=name)


def cell_too_large(name: str, which: str, limit: int) -> ResourceExhausted:
    """The error for a cell that is too large; `which` says where it is."""
    message = (
        f"file '{name}': the cell {which} has more than the {limit} bytes that this server takes "
        "(FLARE_SCRAPER_MAX_CELL_BYTES)"
    )
    return ResourceExhausted(Reason.CELL_TOO_LARGE, message, file=name)
