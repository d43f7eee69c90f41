"""The settings of the scraper service, read from `FLARE_SCRAPER_*`."""

import os
import socket
from pathlib import Path

from pydantic import Field, PositiveInt, SecretStr
from pydantic_settings import SettingsConfigDict

from scraper_server.limits import ArchiveLimits, ImageLimits, Limits, TableLimits
from servicekit.settings import ServerSettings


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
    max_file_bytes: PositiveInt = Limits.max_file_bytes
    """The largest file that a download or an upload may have (FILE_TOO_LARGE)."""
    quota_bytes: PositiveInt = Limits.quota_bytes
    """What one person's data sets and files under way may take on the disk (QUOTA_EXCEEDED)."""
    max_rows: PositiveInt = TableLimits.max_rows
    """The most rows of a table (TOO_MANY_ROWS)."""
    max_columns: PositiveInt = TableLimits.max_columns
    """The most columns of a table (TOO_MANY_COLUMNS)."""
    max_cell_bytes: PositiveInt = TableLimits.max_cell_bytes
    """The largest cell of a table (CELL_TOO_LARGE)."""
    max_archive_entries: PositiveInt = ArchiveLimits.max_entries
    """The most entries of an archive (TOO_MANY_ARCHIVE_ENTRIES)."""
    max_archive_bytes: PositiveInt = ArchiveLimits.max_bytes
    """What the wanted files of an archive may unpack to (ARCHIVE_TOO_LARGE)."""
    max_archive_ratio: PositiveInt = ArchiveLimits.max_ratio
    """How many times its compressed size a file may have, once it is larger than 64 MiB (ARCHIVE_TOO_DENSE)."""
    max_image_pixels: PositiveInt = ImageLimits.max_pixels
    """The most pixels of an image before it is resized (IMAGE_TOO_LARGE)."""
    kaggle_endpoint: str = ""
    """The address of Kaggle's API, such as a test's; Kaggle's own if empty."""
    kaggle_username: str = ""
    """The user name that belongs to `kaggle_key`."""
    kaggle_key: SecretStr = SecretStr("")
    """An API key of Kaggle."""
    kaggle_token: SecretStr = SecretStr("")
    """An access token of Kaggle; goes before user name and key."""
    credentials_keys: SecretStr = SecretStr("")
    """Keys that encrypt the credentials people set for themselves, separated by commas: the first encrypts, all
    decrypt. `openssl rand -base64 32` prints one. Without any, people can set no credentials."""
    credentials_keys_file: Path | None = None
    """A file with more such keys, one a line, after those above; made, with one key, if it is not there."""

    def limits(self) -> Limits:
        """What this server takes of a file, an archive, a table and a person."""
        return Limits(
            max_file_bytes=self.max_file_bytes,
            quota_bytes=self.quota_bytes,
            table=TableLimits(self.max_rows, self.max_columns, self.max_cell_bytes),
            archive=ArchiveLimits(self.max_archive_entries, self.max_archive_bytes, self.max_archive_ratio),
            image=ImageLimits(self.max_image_pixels),
        )
