"""What a worker is given, and what it says. Both cross a process boundary as they are."""

from dataclasses import dataclass
from pathlib import Path

from ml_server.features.fit import InputColumn
from ml_server.features.targets import TargetColumn
from ml_server.networks.specification import ModelSpecification
from ml_server.registry.values import VersionDetails
from ml_server.training.events import TrainingEvent
from ml_server.training.plans import TrainingPlan
from ml_server.views.folder_cache import FolderCache
from ml_server.views.values import Part
from servicekit.errors import FlareError


@dataclass(frozen=True)
class Provenance:
    """What a version remembers of the job that made it."""

    training_job: str
    view: str
    view_digest: str
    base_version: str = ""


@dataclass(frozen=True)
class TrainingTask:
    """One attempt at a training job, with all that it needs on this machine."""

    specification: ModelSpecification
    plan: TrainingPlan
    inputs: tuple[InputColumn, ...]
    targets: tuple[TargetColumn, ...]
    files: dict[Part, Path]
    """The rows of each part; empty if `cache` has what preparation makes of them."""
    cache: FolderCache
    memory_bytes: int
    """What the training should get by with; rows that are more than half of it are streamed from the disk."""
    initial_weights: Path | None
    checkpoints: Path
    output: Path
    threads: int
    provenance: Provenance
    logged_epochs: int
    """Epochs whose end is in the job's log; those that only a checkpoint knows are told again."""
    base: Path | None = None
    """The files of the version that training starts from; its weights go before initial ones."""
    weight: str | None = None
    """The column that says how much each row counts; None if all count alike."""


@dataclass(frozen=True)
class Told:
    """Events that belong into the log together."""

    events: tuple[TrainingEvent, ...]


@dataclass(frozen=True)
class Finished:
    """The version lies whole in `task.output`."""

    details: VersionDetails


@dataclass(frozen=True)
class Failed:
    """The job can't succeed."""

    error: FlareError


@dataclass(frozen=True)
class Broke:
    """The worker met something that nobody foresaw; the text is for the server's log."""

    traceback: str


@dataclass(frozen=True)
class Lost:
    """The attempt could not go on, for a reason that lies neither in the job nor in its code."""

    error: FlareError


WorkerMessage = Told | Finished | Failed | Broke | Lost
