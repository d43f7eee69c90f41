"""What a batch prediction is asked for, how far it is, and what its events say."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from ml_server.networks.values import Value
from ml_server.views.values import Part
from servicekit.jobs.values import EventDraft

PROGRESS = "progress"
CREATED = "predictions_created"
# A newer event of these kinds makes an older one worthless.
METRICS = frozenset({PROGRESS})


class BatchPredictionSpec(Value):
    """What a batch prediction is to do; stored with it. The model is meant by its uid: its name may pass to another."""

    model_id: str
    model_uid: str
    number: int
    version_digest: str
    view: str
    view_digest: str
    parts: tuple[Part, ...]
    """In the order in which their rows are predicted."""
    columns: tuple[str, ...]
    """The columns of the view that are kept."""
    total_rows: int
    dataset_id: str

    @property
    def version(self) -> str:
        """`models/{model}/versions/{version}`."""
        return f"models/{self.model_id}/versions/{self.number}"

    def needs(self, model_id: str, version: int | None = None) -> bool:
        """True if it needs a version or, if that is None, anything of a model."""
        return self.model_id == model_id and version in (None, self.number)

    def to_json(self) -> dict[str, Any]:
        """The spec as the job store keeps it."""
        return self.model_dump(mode="json")


class Phase(StrEnum):
    """What a batch prediction is doing."""

    FETCHING = "fetching"
    PREDICTING = "predicting"
    UPLOADING = "uploading"
    IMPORTING = "importing"


@dataclass(frozen=True)
class Progress:
    """How far a batch prediction is; the store keeps it with the job."""

    phase: Phase
    total_rows: int
    fetched_rows: int = 0
    predicted_rows: int = 0
    rows_per_second: float = 0.0
    uploaded_bytes: int = 0
    total_bytes: int = 0
    session: str = ""
    """`uploadSessions/{upload_session}`, which has the file or is to have it."""

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Progress":
        """The progress that `asdict` wrote."""
        return cls(**{**value, "phase": Phase(value["phase"])})

    def draft(self) -> EventDraft:
        """The event that tells of it."""
        return EventDraft(PROGRESS, asdict(self))


def created_draft(dataset: str, rows: int) -> EventDraft:
    """The event that tells of the data set `datasets/{dataset}`."""
    return EventDraft(CREATED, {"dataset": dataset, "row_count": rows})
