"""The settings of the scraper service, read from `FLARE_SCRAPER_*`."""

import os
import socket

from pydantic import Field, PositiveInt, SecretStr
from pydantic_settings import SettingsConfigDict

from servicekit.settings import ServerSettings

GIBIBYTE = 1024**3


class Settings(ServerSettings):
    """All settings."""

    model_config = SettingsConfigDict(env_prefix="FLARE_SCRAPER_", frozen=True, extra="ignore")

    listen_address: str = "127.0.0.1:50052"
    runner_name: str = Field(default_factory=socket.gethostname)
    """What this server is called as a runner of import jobs. The same after a restart, different for each replica."""
    concurrent_imports: PositiveInt = 2
    """How many import jobs this server works on at a time."""
    processes: PositiveInt = Field(default_factory=lambda: os.cpu_count() or 1)
    """How many processes read files and compute views at a time."""
    job_lease_seconds: PositiveInt = 60
    """A dead runner's job waits at most this long for another runner."""
    max_upload_bytes: PositiveInt = 4 * GIBIBYTE
    """The largest file that an upload may have."""
    kaggle_endpoint: str = ""
    """The address of Kaggle's API, such as a test's; Kaggle's own if empty."""
    kaggle_username: str = ""
    """The user name that belongs to `kaggle_key`."""
    kaggle_key: SecretStr = SecretStr("")
    """An API key of Kaggle."""
    kaggle_token: SecretStr = SecretStr("")
    """An access token of Kaggle; goes before user name and key."""
