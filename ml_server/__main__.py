"""Starts the ML service: `python -m ml_server`, with settings from `FLARE_ML_*`."""

import argparse
import sys

from ml_server.composition import MlService
from ml_server.settings import Settings
from servicekit.allocator import keep_freed_memory
from servicekit.entry import run_service

# What networks make of a large batch of rows.
KEPT_BYTES = 256 << 20


def main(arguments: list[str] | None = None) -> int:
    """Serves until SIGTERM or Ctrl-C; the exit status. The first process starts others with `--beside`."""
    parser = argparse.ArgumentParser(prog="python -m ml_server", description=__doc__)
    parser.add_argument("--beside", type=int, default=0, metavar="NUMBER", help=argparse.SUPPRESS)
    number: int = parser.parse_args(arguments).beside
    keep_freed_memory(KEPT_BYTES)
    return run_service("ml", Settings, lambda settings: MlService(settings, number=number))


if __name__ == "__main__":
    sys.exit(main())
