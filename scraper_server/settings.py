"""The settings of the scraper service, read from `FLARE_SCRAPER_*`."""

import os
import socket
from pathlib import Path

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import SettingsConfigDict

from scraper_server.limits import GIBIBYTE, ArchiveLimits, ImageLimits, Limits, TableLimits
from scraper_server.sources.kaggle.options import KaggleOptions
from scraper_server.sources.kaggle.pace import LeastPace
from scraper_server.sources.kaggle.retries import RetryPolicy
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
    upload_session_hours: PositiveFloat = 72.0
    """How long a file that is sent with WriteUpload is kept after its last byte, unless it is imported."""
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
    kaggle_connect_timeout_seconds: PositiveFloat = KaggleOptions.connect_timeout_seconds
    """How long a connection to Kaggle may take to be made. A network that takes longer is down."""
    kaggle_read_timeout_seconds: PositiveFloat = KaggleOptions.read_timeout_seconds
    """How long nothing at all may come from Kaggle. A connection that is silent for longer is given up."""
    kaggle_call_timeout_seconds: PositiveFloat = KaggleOptions.call_timeout_seconds
    """How long an answer of Kaggle's API may take to arrive whole, so that a trickle of bytes ends."""
    kaggle_import_tries: PositiveInt = 6
    """How often in a row an import asks Kaggle for the same thing; a download that gets on has its tries back."""
    kaggle_import_first_wait_seconds: PositiveFloat = 1
    """How long an import waits after its first try, half of it by chance; twice as long after each further one."""
    kaggle_longest_asked_wait_seconds: PositiveFloat = 300
    """An import waits as long as Kaggle asks for, up to this; beyond it fails and says how long to wait."""
    kaggle_least_bytes_per_second: NonNegativeFloat = LeastPace.bytes_per_second
    """A connection that brings less is given up. A tenth of a telephone line: a megabyte would take an hour."""
    kaggle_least_pace_window_seconds: PositiveFloat = LeastPace.window_seconds
    """For so long a connection may be slower, as while the network stumbles."""
    download_cache_bytes: NonNegativeInt = 10 * GIBIBYTE
    """What public files may take that are kept for whoever imports them next. 0 keeps none."""

    def kaggle_options(self) -> KaggleOptions:
        """How to reach Kaggle, and how much to take."""
        return KaggleOptions(
            endpoint=self.kaggle_endpoint,
            connect_timeout_seconds=self.kaggle_connect_timeout_seconds,
            read_timeout_seconds=self.kaggle_read_timeout_seconds,
            call_timeout_seconds=self.kaggle_call_timeout_seconds,
            import_retries=RetryPolicy(
                tries=self.kaggle_import_tries,
                first_wait_seconds=self.kaggle_import_first_wait_seconds,
                longest_asked_wait_seconds=self.kaggle_longest_asked_wait_seconds,
            ),
            least_pace=LeastPace(self.kaggle_least_bytes_per_second, self.kaggle_least_pace_window_seconds),
            concurrent_calls=KaggleOptions.concurrent_calls + self.concurrent_imports,
            concurrent_downloads=KaggleOptions.concurrent_downloads + self.concurrent_imports,
            max_file_bytes=self.max_file_bytes,
        )

    def limits(self) -> Limits:
        """What this server takes of a file, an archive, a table and a person."""
        return Limits(
            max_file_bytes=self.max_file_bytes,
            quota_bytes=self.quota_bytes,
            table=TableLimits(self.max_rows, self.max_columns, self.max_cell_bytes),
            archive=ArchiveLimits(self.max_archive_entries, self.max_archive_bytes, self.max_archive_ratio),
            image=ImageLimits(self.max_image_pixels),
        )
