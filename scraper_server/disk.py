"""Says in plain words when the server's disk is full."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from servicekit.errors import Reason, ResourceExhausted


@contextmanager
def full_disk_told() -> Iterator[None]:
    """Turns the error of a full disk inside the block into one for the caller.

    Raises:
        ResourceExhausted: LIMIT_EXCEEDED.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        message = "the server's disk is full: nothing was kept; delete data sets that are not needed, and try again"
        raise ResourceExhausted(Reason.LIMIT_EXCEEDED, message) from error
