"""The cursors of this service's lists as page tokens. A token belongs to one owner's list with one set of filters."""

from datetime import datetime

from servicekit.jobs.store import Cursor
from servicekit.pages import decode_token, encode_token


def number_cursor(listing: str, token: str) -> int | None:
    """The row number that a page comes after, None for the first page. Raises INVALID_PAGE_TOKEN."""
    cursor = decode_token(listing, token)
    return None if cursor is None else int(cursor)


def number_token(listing: str, cursor: int | None) -> str:
    """The reverse; empty on the last page."""
    return "" if cursor is None else encode_token(listing, str(cursor))


def job_cursor(listing: str, token: str) -> Cursor | None:
    """The time and id that a page of jobs comes after, None for the first page. Raises INVALID_PAGE_TOKEN."""
    cursor = decode_token(listing, token)
    if cursor is None:
        return None
    time, _, job_id = cursor.partition(" ")
    return datetime.fromisoformat(time), job_id


def job_token(listing: str, cursor: Cursor | None) -> str:
    """The reverse; empty on the last page."""
    return "" if cursor is None else encode_token(listing, f"{cursor[0].isoformat()} {cursor[1]}")
