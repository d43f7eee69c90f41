import json
from pathlib import Path

import pytest

from scraper_server.sources.kaggle.credentials import (
    AccessToken,
    ApiKey,
    Credentials,
    chosen_credentials,
    found_credentials,
)


@pytest.mark.parametrize(
    ("username", "key", "token", "credentials"),
    [
        ("", "", "", None),
        ("ann", "k", "", ApiKey("ann", "k")),
        ("", "", "t", AccessToken("t")),
        ("ann", "k", "t", AccessToken("t")),
    ],
)
def test_settings_choose_the_credentials(username: str, key: str, token: str, credentials: Credentials) -> None:
    assert chosen_credentials(username, key, token) == credentials


@pytest.mark.parametrize(("username", "key", "missing"), [("ann", "", "KAGGLE_KEY"), ("", "k", "KAGGLE_USERNAME")])
def test_half_a_pair_names_the_missing_setting(username: str, key: str, missing: str) -> None:
    with pytest.raises(ValueError, match=f"without FLARE_SCRAPER_{missing}"):
        chosen_credentials(username, key, "")


def test_secrets_are_not_shown() -> None:
    assert "hidden" not in repr([ApiKey("ann", "hidden"), AccessToken("hidden")])


def test_what_the_kaggle_command_would_take_is_found(tmp_path: Path) -> None:
    assert found_credentials({}, tmp_path) is None
    configured = tmp_path / ".config" / "kaggle"
    configured.mkdir(parents=True)
    (configured / "kaggle.json").write_text(json.dumps({"username": "xdg", "key": "k"}))
    assert found_credentials({}, tmp_path) == ApiKey("xdg", "k")
    usual = tmp_path / ".kaggle"
    usual.mkdir()
    (usual / "kaggle.json").write_text(json.dumps({"username": "home", "key": "k"}))
    assert found_credentials({}, tmp_path) == ApiKey("home", "k")
    (usual / "access_token").write_text("from-file\n")
    assert found_credentials({}, tmp_path) == AccessToken("from-file")
    variables = {"KAGGLE_USERNAME": "env", "KAGGLE_KEY": "k"}
    assert found_credentials(variables, tmp_path) == ApiKey("env", "k")
    assert found_credentials(variables | {"KAGGLE_API_TOKEN": "value"}, tmp_path) == AccessToken("value")
    file = {"KAGGLE_API_TOKEN": str(usual / "access_token")}
    assert found_credentials(file, tmp_path) == AccessToken("from-file")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"username": "ann"}', "\udcff"])
def test_a_file_without_credentials_is_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "kaggle.json").write_text(content, errors="surrogateescape")
    assert found_credentials({"KAGGLE_CONFIG_DIR": str(tmp_path)}, tmp_path) is None
