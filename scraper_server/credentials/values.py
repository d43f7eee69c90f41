"""What is kept of somebody's credentials."""

from dataclasses import dataclass, field
from datetime import datetime

from scraper_server.sources.source import SourceKind


@dataclass(frozen=True)
class KeptCredentials:
    """An owner's credentials for a source, sealed."""

    owner: str
    source: SourceKind
    account: str
    """The account that they belong to; empty if only the source knows it."""
    update_time: datetime
    sealed: bytes = field(repr=False)
