"""Starts the scraper service: `python -m scraper_server`, with settings from `FLARE_SCRAPER_*`."""

import sys

from scraper_server.composition import ScraperService
from scraper_server.settings import Settings
from servicekit.entry import run_service


def main() -> int:
    """Serves until SIGTERM or Ctrl-C; the exit status."""
    return run_service("scraper", Settings, ScraperService)


if __name__ == "__main__":
    sys.exit(main())
