"""A Flare of the tests' own, and an environment without anybody's login."""

from collections.abc import Iterator

import pytest

from tests.unit.client.fake_flare import Account, FakeFlare


@pytest.fixture
def fake() -> Iterator[FakeFlare]:
    """A server that knows one account, `ann` with the password `correct horse`."""
    server = FakeFlare()
    server.start()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees the login or the settings of whoever runs it."""
    for name in ("AUTH_ADDRESS", "SCRAPER_ADDRESS", "ML_ADDRESS", "TOKEN", "USERNAME", "PASSWORD", "CA_CERTIFICATE"):
        monkeypatch.delenv(f"FLARE_{name}", raising=False)
    monkeypatch.setenv("FLARE_CONFIG_DIR", str(tmp_path_factory.mktemp("config")))


@pytest.fixture
def account(fake: FakeFlare) -> Account:
    """The arguments of `connect` for the fake server."""
    return {
        "auth": fake.address,
        "scraper": fake.address,
        "ml": fake.address,
        "username": "ann",
        "password": "correct horse",
    }
