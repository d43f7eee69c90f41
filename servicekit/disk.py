"""Says in plain words when the server's disk is full."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from servicekit.errors import Reason, ResourceExhausted


@contextmanager
def full_disk_told(
    kept: str = "nothing was kept", remedy: str = "delete data sets that are not needed, and try again"
) -> Iterator[None]:
    """Turns the error of a full disk inside the block into one for the caller, who hears what was `kept`.

    Raises:
        ResourceExhausted: LIMIT_EXCEEDED.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        message = f"the server's disk is full: {kept}; {remedy}"
        raise ResourceExhausted(Reason.LIMIT_EXCEEDED, message) from error
