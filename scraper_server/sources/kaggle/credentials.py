"""Who Flare is at Kaggle: an API key, an access token, or nobody."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class ApiKey:
    """A user name with its API key."""

    username: str
    key: str = field(repr=False)

    @property
    def account(self) -> str:
        """The account's name."""
        return self.username


@dataclass(frozen=True)
class AccessToken:
    """An access token."""

    token: str = field(repr=False)
    account: str = ""
    """The name of the account that it belongs to; empty if not known."""


Credentials = ApiKey | AccessToken | None
"""None: anonymous. Kaggle then shows public data sets only, and not all of them."""


def chosen_credentials(username: str, key: str, token: str) -> Credentials:
    """The credentials that settings name; empty strings are unset. A token goes before a key.

    Raises:
        ValueError: A user name without key, or the reverse.
    """
    if token:
        return AccessToken(token)
    if bool(username) != bool(key):
        present, missing = ("USERNAME", "KEY") if username else ("KEY", "USERNAME")
        raise ValueError(f"FLARE_SCRAPER_KAGGLE_{present} is set without FLARE_SCRAPER_KAGGLE_{missing}; set both")
    return ApiKey(username, key) if username else None


def found_credentials(environment: Mapping[str, str], home: Path) -> Credentials:
    """The credentials that this user's `kaggle` command would take, from its variables and files; None if none.

    They belong to the real Kaggle: a server elsewhere must never be sent them.
    """
    return _from_variables(environment) or _from_files(environment, home)


def _from_variables(environment: Mapping[str, str]) -> Credentials:
    if value := environment.get("KAGGLE_API_TOKEN", ""):
        return _token_in(Path(value)) or AccessToken(value)
    username, key = environment.get("KAGGLE_USERNAME", ""), environment.get("KAGGLE_KEY", "")
    return ApiKey(username, key) if username and key else None


def _from_files(environment: Mapping[str, str], home: Path) -> Credentials:
    folders = [home / ".kaggle", Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "kaggle"]
    if configured := environment.get("KAGGLE_CONFIG_DIR"):
        folders.insert(0, Path(configured))
    for folder in folders:
        if found := _token_in(folder / "access_token") or _key_in(folder / "kaggle.json"):
            return found
    return None


def _token_in(file: Path) -> AccessToken | None:
    token = _text_of(file).strip()
    return AccessToken(token) if token else None


def _key_in(file: Path) -> ApiKey | None:
    try:
        content = json.loads(_text_of(file) or "{}")
        return ApiKey(str(content["username"]), str(content["key"]))
    except (KeyError, TypeError, ValueError):
        return None


def _text_of(file: Path) -> str:
    """The file's text; empty if it can't be read, as it then offers no credentials."""
    try:
        return file.read_text()
    except (OSError, ValueError):
        return ""
