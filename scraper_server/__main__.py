"""`python -m scraper_server`: the scraper service, with settings from `FLARE_SCRAPER_*`."""

import asyncio
import sys

from pydantic import ValidationError

from scraper_server.composition import ScraperService
from scraper_server.settings import Settings
from servicekit.errors import FlareError
from servicekit.logs import configure_logs
from servicekit.server import serve_until_signal


async def _serve(settings: Settings) -> None:
    service = ScraperService(settings)
    try:
        await service.prepare()
        await serve_until_signal(service.rpc, settings)
    finally:
        await service.close()


def main() -> int:
    """Serves until SIGTERM or Ctrl-C. Returns 1 if it can't start, after a line that says why."""
    try:
        settings = Settings()
    except ValidationError as error:
        for problem in error.errors():
            setting = f"FLARE_SCRAPER_{problem['loc'][0]}: ".upper() if problem["loc"] else ""
            print(f"scraper_server can't start: {setting}{problem['msg']}", file=sys.stderr)  # noqa: T201  # no logs yet
        return 1
    configure_logs(settings, "scraper")
    try:
        asyncio.run(_serve(settings))
    except (FlareError, OSError, ValueError) as error:
        print(f"scraper_server can't start: {error}", file=sys.stderr)  # noqa: T201  # for the person at the terminal
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
