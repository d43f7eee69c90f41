"""Pages of a list: how many, and where the next one starts."""

import base64
import binascii
import hashlib
import json

from servicekit.errors import InvalidArgument, Reason


def page_size(requested: int, default: int = 50, maximum: int = 1000) -> int:
    """The number of rows for a requested one: 0 takes the default, too many are lowered."""
    return min(requested or default, maximum)


def encode_token(listing: str, cursor: str) -> str:
    """An opaque token for the page after `cursor` of the list that `listing` names with all its filters."""
    text = json.dumps([_fingerprint(listing), cursor], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_token(listing: str, token: str) -> str | None:
    """The cursor of a token, None for the first page.

    Raises:
        InvalidArgument: INVALID_PAGE_TOKEN, if the token is not one of `listing` with the same filters.
    """
    if not token:
        return None
    try:
        fingerprint, cursor = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, binascii.Error, TypeError) as error:
        raise _invalid(token) from error
    if fingerprint != _fingerprint(listing) or not isinstance(cursor, str):
        raise _invalid(token)
    return cursor


def _fingerprint(listing: str) -> str:
    return hashlib.sha256(listing.encode()).hexdigest()[:12]


def _invalid(token: str) -> InvalidArgument:
    return InvalidArgument(
        Reason.INVALID_PAGE_TOKEN,
        f"page_token '{token[:40]}' does not belong to this list: start again without it, and keep the other arguments",
        field="page_token",
    )
