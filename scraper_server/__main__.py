"""Starts the scraper service: `python -m scraper_server`, with settings from `FLARE_SCRAPER_*`."""

import sys

from scraper_server.composition import ScraperService
from scraper_server.settings import Settings
from servicekit.entry import run_service

if __name__ == "__main__":
    sys.exit(run_service("scraper", Settings, ScraperService))
