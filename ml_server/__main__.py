"""Starts the ML service: `python -m ml_server`, with settings from `FLARE_ML_*`."""

import sys

from ml_server.composition import MlService
from ml_server.settings import Settings
from servicekit.entry import run_service

if __name__ == "__main__":
    sys.exit(run_service("ml", Settings, MlService))
