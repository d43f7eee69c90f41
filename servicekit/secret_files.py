"""Secrets in files that only their owner may read."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path

from servicekit.files import write_secret


def kept_secret(path: Path, make: Callable[[], str]) -> str:
    """The secret in a file; if there is no file, one is written with what `make` returns. It is never overwritten.

    Raises:
        OSError: The file can't be read or written.
    """
    if not path.exists():
        staging = path.with_name(f".{path.name}.{uuid.uuid4().hex}.new")
        write_secret(staging, make())
        try:
            os.link(staging, path)  # unlike a rename, it leaves alone what another server has just put there
        except FileExistsError:
            pass
        finally:
            staging.unlink()
    return path.read_text().strip()
