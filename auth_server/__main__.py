"""Starts the authorization service: `python -m auth_server`, with settings from `FLARE_AUTH_*`."""

import sys

from auth_server.composition import AuthService
from auth_server.settings import Settings
from servicekit.entry import run_service


def main() -> int:
    """Serves until SIGTERM or Ctrl-C; the exit status."""
    return run_service("auth", Settings, AuthService)


if __name__ == "__main__":
    sys.exit(main())
