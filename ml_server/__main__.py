"""Starts the ML service: `python -m ml_server`, with settings from `FLARE_ML_*`."""

import sys

from ml_server.composition import MlService
from ml_server.settings import Settings
from servicekit.entry import run_service


def main() -> int:
    """Serves until SIGTERM or Ctrl-C; the exit status."""
    return run_service("ml", Settings, MlService)


if __name__ == "__main__":
    sys.exit(main())
