"""What the Kaggle source is told at its start."""

from dataclasses import dataclass, field

from scraper_server.sources.kaggle.pace import LeastPace
from scraper_server.sources.kaggle.retries import RetryPolicy

GIBIBYTE = 1024**3


@dataclass(frozen=True)
class KaggleOptions:
    """How to reach Kaggle, and how much to take."""

    endpoint: str = ""
    """The API's address, such as `http://127.0.0.1:7777`; empty for Kaggle's own."""
    connect_timeout_seconds: float = 10
    read_timeout_seconds: float = 30
    """How long nothing at all may arrive."""
    call_timeout_seconds: float = 120
    """How long an answer of the API may take to arrive whole."""
    call_retries: RetryPolicy = field(
        default=RetryPolicy(tries=3, first_wait_seconds=0.3, longest_asked_wait_seconds=5)
    )
    """For searches and listings: somebody waits for them."""
    import_retries: RetryPolicy = field(
        default=RetryPolicy(tries=6, first_wait_seconds=1, longest_asked_wait_seconds=300)
    )
    """For what an import job asks. A download that gets on has its tries back."""
    least_pace: LeastPace = field(default_factory=LeastPace)
    concurrent_calls: int = 8
    concurrent_downloads: int = 4
    """Some more than there are imports at a time: the thread of one that was cancelled may take a while to end."""
    max_file_bytes: int = 20 * GIBIBYTE
    """FILE_TOO_LARGE; the largest file to take, as it comes."""

    def __post_init__(self) -> None:
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"FLARE_SCRAPER_KAGGLE_ENDPOINT '{self.endpoint}' does not start with http:// or https://")
