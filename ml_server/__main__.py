"""Starts the ML service: `python -m ml_server`, with settings from `FLARE_ML_*`."""

import sys

from ml_server.composition import MlService
from ml_server.settings import Settings
from servicekit.allocator import keep_freed_memory
from servicekit.entry import run_service

# What networks make of a large batch of rows.
KEPT_BYTES = 256 << 20


def main() -> int:
    """Serves until SIGTERM or Ctrl-C; the exit status."""
    keep_freed_memory(KEPT_BYTES)
    return run_service("ml", Settings, MlService)


if __name__ == "__main__":
    sys.exit(main())
