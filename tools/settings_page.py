"""Writes docs/settings.md from the services' settings classes; with `--check`, says whether it is up to date."""

import argparse
import ast
import inspect
import sys
import textwrap
from pathlib import Path
from typing import Any

from flare_client.cli.up import DEFAULT_DRAIN_SECONDS
from flare_client.services.addresses import DEFAULT_AUTH_HTTP_ADDRESS, Addresses
from flare_client.services.data_directory import DataDirectory
from flare_client.services.environment import environments
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from auth_server.settings import Settings as AuthSettings
from ml_server.settings import Settings as MlSettings
from scraper_server.settings import Settings as ScraperSettings
from servicekit.settings import ServerSettings

PAGE = Path(__file__).parents[1] / "docs/settings.md"
SERVICES: dict[str, type[ServerSettings]] = {
    "auth_server": AuthSettings,
    "scraper_server": ScraperSettings,
    "ml_server": MlSettings,
}
MADE_AT_START = {"runner_name": "the machine's name", "processes": "one for each processor"}

HEAD = """\
# Settings

<!-- Made by `python -m tools.settings_page` from the settings classes: change those, then run it. -->

Every service reads its settings from the environment, once, when it starts; a wrong value stops the start with its
name. A setting is a prefix and what stands in the tables: `FLARE_AUTH_LISTEN_ADDRESS`, `FLARE_SCRAPER_LISTEN_ADDRESS`,
`FLARE_ML_LISTEN_ADDRESS`. [`flare up`](#what-flare-up-sets) sets some of them itself, and passes on whatever else is
set. What clients read from the environment is on [their page](../clients/python/README.md).
"""

UP = """\
## What `flare up` sets

With `flare up --data-dir DIR`, whatever the environment has; addresses and `DRAIN_SECONDS` follow its options.

| variable | value |
| --- | --- |
"""


def page() -> str:
    """The page as it should be."""
    every = [name for name in ServerSettings.model_fields if name != "listen_address"]
    parts = [HEAD, "## Every service\n", _table(ServerSettings, every)]
    for service, settings in SERVICES.items():
        own = [name for name in settings.model_fields if name not in every]
        title = f"## `{service}`: `{settings.model_config.get('env_prefix', '')}...`\n"
        parts += [title, _table(settings, own)]
    return "\n".join([*parts, UP + _set_by_up()])


def _set_by_up() -> str:
    addresses = Addresses(auth_http=DEFAULT_AUTH_HTTP_ADDRESS)
    services = environments(DataDirectory(Path("/DIR")), addresses, DEFAULT_DRAIN_SECONDS)
    rows = [
        f"| `{name}` | `{value.replace('/DIR', 'DIR')}` |" for each in services.values() for name, value in each.items()
    ]
    return "\n".join(rows) + "\n"


def _table(settings: type[ServerSettings], names: list[str]) -> str:
    meanings = _meanings(settings)
    rows = [
        f"| `{name.upper()}` | {default_text(name, settings.model_fields[name])} | {meanings[name]} |" for name in names
    ]
    return "\n".join(["| setting | default | meaning |", "| --- | --- | --- |", *rows]) + "\n"


def default_text(name: str, field: FieldInfo) -> str:
    """The default of a setting, as tables show it."""
    if field.default_factory is not None:
        return MADE_AT_START[name]
    value: Any = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value in ("", ()):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if name.endswith("_bytes") and isinstance(value, int):
        return f"`{value}` ({_size(value)})"
    return f"`{value}`"


def _size(count: int) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count % 1024:
            return f"{count} {unit}"
        count //= 1024
    return f"{count} GiB"


def _meanings(settings: type[ServerSettings]) -> dict[str, str]:
    """The texts below the fields, those of a subclass before those of its base."""
    found: dict[str, str] = {}
    for each in reversed(settings.__mro__):
        if issubclass(each, ServerSettings):
            [definition] = ast.parse(textwrap.dedent(inspect.getsource(each))).body
            assert isinstance(definition, ast.ClassDef)
            found |= _texts_below_fields(definition)
    return found


def _texts_below_fields(definition: ast.ClassDef) -> dict[str, str]:
    found = {}
    for statement, below in zip(definition.body, definition.body[1:], strict=False):
        match statement, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split()).replace("|", "\\|")
    return found


def written(page_file: Path, wanted: str, tool: str, description: str | None) -> int:
    """Writes a page, or with `--check` returns 1 if it is not up to date."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="write nothing")
    if not parser.parse_args().check:
        page_file.write_text(wanted)
    elif not page_file.exists() or page_file.read_text() != wanted:
        print(f"{page_file} is not up to date: run `python -m tools.{tool}`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(written(PAGE, page(), "settings_page", __doc__))
