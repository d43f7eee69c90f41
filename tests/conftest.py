"""Fixtures that tests of all kinds share."""

import os
from collections.abc import Iterator

# Small networks on two processors: more threads only wait for each other. Read when torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests end many servers whose clients have left before.
os.environ.setdefault("FLARE_AUTH_LAME_DUCK_SECONDS", "0")
os.environ.setdefault("FLARE_SCRAPER_LAME_DUCK_SECONDS", "0")
os.environ.setdefault("FLARE_ML_LAME_DUCK_SECONDS", "0")

import pytest

from tests.services import FlareServices, start_services, stop_services
from tests.tokens import TokenIssuer


@pytest.fixture(scope="session")
def token_issuer() -> TokenIssuer:
    """An issuer for tests of single services."""
    return TokenIssuer()


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database of MLflow that tests share: whoever asks first waits seconds for its tables."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(scope="session")
def flare_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlareServices]:
    """Services that all end-to-end tests share; each test takes names of its own."""
    services = start_services(tmp_path_factory.mktemp("flare") / "data")
    yield services
    stop_services(services)
