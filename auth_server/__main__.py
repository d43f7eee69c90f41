"""`python -m auth_server`: the authorization service, with settings from `FLARE_AUTH_*`."""

import asyncio
import os
import sys

from pydantic import ValidationError

from auth_server.composition import AuthService
from auth_server.first_start import BadSecretFileError
from auth_server.settings import Settings
from auth_server.tokens.signing_keys import KeyFileError
from servicekit.errors import FlareError
from servicekit.logs import configure_logs
from servicekit.server import serve_until_signal


async def _serve(settings: Settings) -> None:
    service = AuthService(settings)
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
            setting = f"FLARE_AUTH_{problem['loc'][0]}: ".upper() if problem["loc"] else ""
            print(f"auth_server can't start: {setting}{problem['msg']}", file=sys.stderr)  # noqa: T201  # no logs yet
        return 1
    os.umask(0o077)  # the database holds password hashes: what this process writes is for its owner alone
    configure_logs(settings, "auth")
    try:
        asyncio.run(_serve(settings))
    except (BadSecretFileError, FlareError, KeyFileError, OSError) as error:
        print(f"auth_server can't start: {error}", file=sys.stderr)  # noqa: T201  # for the person at the terminal
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
