"""What a training was made with, next to what its spec tells."""

from typing import Self

from pydantic import Field

from ml_server.networks.values import Value
from ml_server.registry.values import VersionDetails


class TrainingRecord(Value):
    """A part of a job's result. Empty for a job that has none."""

    library_versions: dict[str, str] = Field(default_factory=dict)
    device: str = ""
    weights_digest: str = ""

    @classmethod
    def of(cls, details: VersionDetails) -> Self:
        """That of the job which made a version."""
        return cls(library_versions=details.library_versions, device=details.device, weights_digest=details.digest)
