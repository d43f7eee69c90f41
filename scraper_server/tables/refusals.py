"""Why a file is refused."""

from servicekit.errors import InvalidArgument, Reason


def not_a_table(name: str, why: str) -> InvalidArgument:
    """The error for a file that is no table; `why` says what is wrong with it, and where."""
    message = f"file '{name}' is not a table that can be read: {why}"
    return InvalidArgument(Reason.FILE_NOT_A_TABLE, message, file=name)


def empty(name: str, why: str) -> InvalidArgument:
    """The error for a file without rows."""
    return InvalidArgument(Reason.FILE_EMPTY, f"file '{name}' has no rows: {why}", file=name)
