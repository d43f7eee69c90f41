"""The way from a command line to a serving process, the same for every service."""

import os
import sys
from collections.abc import Callable
from typing import Protocol, TypeVar

import uvloop
from pydantic import ValidationError

from servicekit.errors import FlareError
from servicekit.logs import configure_logs
from servicekit.server import Server, serve_until_signal
from servicekit.settings import ServerSettings


class Service(Protocol):
    """What `python -m SERVICE` runs."""

    @property
    def rpc(self) -> Server:
        """What serves."""
        ...

    async def prepare(self) -> None:
        """Builds `rpc` and whatever must be there before it starts."""
        ...

    async def close(self) -> None:
        """Lets go of everything; called also if `prepare` failed."""
        ...


SettingsType = TypeVar("SettingsType", bound=ServerSettings)


def run_service(name: str, settings_type: type[SettingsType], build: Callable[[SettingsType], Service]) -> int:
    """Serves until SIGTERM or Ctrl-C. Returns 1 if it can't start, after a line that says why."""
    try:
        settings = settings_type()  # type: ignore[call-arg]  # from the environment
    except ValidationError as error:
        prefix = settings_type.model_config.get("env_prefix", "")
        for problem in error.errors():
            setting = f"{prefix}{problem['loc'][0]}: ".upper() if problem["loc"] else ""
            _complain(name, f"{setting}{problem['msg']}")
        return 1
    os.umask(0o077)  # data, tokens and hashes: what this process writes is for its owner alone
    configure_logs(settings, name)
    try:
        uvloop.run(_serve(settings, build))
    except (FlareError, OSError, ValueError) as error:
        _complain(name, str(error))
        return 1
    return 0


async def _serve(settings: SettingsType, build: Callable[[SettingsType], Service]) -> None:
    service = build(settings)
    try:
        await service.prepare()
        await serve_until_signal(service.rpc, settings)
    finally:
        await service.close()


def _complain(name: str, problem: str) -> None:
    print(f"{name}_server can't start: {problem}", file=sys.stderr)  # noqa: T201  # for the person at the terminal
