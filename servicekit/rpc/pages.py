"""Pages of lists that go from newest to oldest: the cursor is the last row's time and id."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from servicekit.pages import decode_token, encode_token

Row = TypeVar("Row")
Cursor = tuple[datetime, str]


def newest_first_cursor(listing: str, token: str) -> Cursor | None:
    """Where a page starts, None for the first. Raises InvalidArgument (INVALID_PAGE_TOKEN)."""
    cursor = decode_token(listing, token)
    if cursor is None:
        return None
    time, _, row_id = cursor.partition(" ")
    return datetime.fromisoformat(time), row_id


def newest_first_token(listing: str, rows: Sequence[Row], limit: int, key: Callable[[Row], Cursor]) -> str:
    """The token of the next page, empty on the last one. `rows` holds one row more than the page if there is one."""
    if len(rows) <= limit:
        return ""
    time, row_id = key(rows[limit - 1])
    return encode_token(listing, f"{time.isoformat()} {row_id}")
