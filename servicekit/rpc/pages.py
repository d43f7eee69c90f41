"""The cursors of lists as page tokens. A token belongs to one list with one set of filters."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from servicekit.pages import decode_token, encode_token

Row = TypeVar("Row")
Key = TypeVar("Key")
TimeCursor = tuple[datetime, str]


def time_cursor(listing: str, token: str) -> TimeCursor | None:
    """The time and id that a page comes after, None for the first page. Raises InvalidArgument (INVALID_PAGE_TOKEN)."""
    cursor = decode_token(listing, token)
    if cursor is None:
        return None
    time, _, row_id = cursor.partition(" ")
    return datetime.fromisoformat(time), row_id


def time_token(listing: str, cursor: TimeCursor | None) -> str:
    """The reverse; empty on the last page."""
    return "" if cursor is None else encode_token(listing, f"{cursor[0].isoformat()} {cursor[1]}")


def number_cursor(listing: str, token: str) -> int | None:
    """The number that a page comes after, None for the first page. Raises InvalidArgument (INVALID_PAGE_TOKEN)."""
    cursor = decode_token(listing, token)
    return None if cursor is None else int(cursor)


def number_token(listing: str, cursor: int | None) -> str:
    """The reverse; empty on the last page."""
    return "" if cursor is None else encode_token(listing, str(cursor))


def next_cursor(rows: Sequence[Row], limit: int, key: Callable[[Row], Key]) -> Key | None:
    """The cursor of the next page, None on the last. `rows` holds one row more than the page if there is a next one."""
    return key(rows[limit - 1]) if len(rows) > limit else None
