"""Models, their versions, and the names by which people mean a version."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from pydantic import Field

from ml_server.engines.engine import EngineChoice, EngineName
from ml_server.networks.specification import ModelSpecification
from ml_server.networks.values import Value
from ml_server.registry.aliases import Alias


@dataclass(frozen=True)
class Metric:
    """A figure of quality of one target, or of all together if `target` is empty."""

    name: str
    target: str
    value: float


@dataclass(frozen=True)
class ClassMetrics:
    """How one class does; an empty label is that of all rows whose class training never saw."""

    class_label: str
    precision: float
    recall: float
    f1: float
    row_count: int


@dataclass(frozen=True)
class ClassificationReport:
    """How each class of a target does, C classes in the order of the probabilities.

    `confusion_matrix` has the C x C counts of rows row by row, those of class c taken for class p at c * C + p; it is
    empty for many classes.
    """

    target: str
    classes: tuple[ClassMetrics, ...]
    confusion_matrix: tuple[int, ...] = ()


class VersionDetails(Value):
    """What is needed to know how a version came to be, and to make it again: the content of `version.json`."""

    training_job: str = ""
    view: str = ""
    view_digest: str = ""
    base_version: str = ""
    """`models/{model}/versions/{version}`, whose weights its training started from."""
    seed: int = 0
    best_epoch: int = 0
    device: str = "cpu"
    test_metrics: tuple[Metric, ...] = ()
    validation_metrics: tuple[Metric, ...] = ()
    test_reports: tuple[ClassificationReport, ...] = ()
    validation_reports: tuple[ClassificationReport, ...] = ()
    library_versions: dict[str, str] = Field(default_factory=dict)
    parameter_count: int
    digest: str
    engine: EngineChoice | None = None
    """None: made before engines were chosen; PyTorch serves it."""

    @property
    def engine_name(self) -> EngineName:
        """The engine that serves it."""
        return self.engine.engine if self.engine else EngineName.TORCH


@dataclass(frozen=True)
class Model:
    """A model. `uid` is its own for ever; `id` may be given to another one after it is deleted."""

    uid: str
    owner: str
    id: str
    display_name: str
    specification: ModelSpecification
    create_time: datetime
    update_time: datetime
    revision: int = 1
    latest_version: int = 0
    has_initial_weights: bool = False
    aliases: dict[str, Alias] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`models/{model}`."""
        return f"models/{self.id}"

    @property
    def etag(self) -> str:
        """Changes with every change of the model."""
        return f"{self.uid}-{self.revision}"


@dataclass(frozen=True)
class ModelVersion:
    """A trained network of a model."""

    model: Model
    number: int
    details: VersionDetails
    size_bytes: int
    create_time: datetime
    artifact: str
    """The key of its files in the artifact store."""

    @cached_property
    def name(self) -> str:
        """`models/{model}/versions/{version}`."""
        return f"{self.model.name}/versions/{self.number}"

    @cached_property
    def described(self) -> str:
        """The name with the view, since a name such as `models/iris` may mean a version that nobody thought of."""
        return f"{self.name} (view {self.details.view})" if self.details.view else self.name


def version_artifact(model_uid: str, made_by: str) -> str:
    """The key under which the files of a model's next version are put, by the id of what makes it."""
    return f"versions/{model_uid}/{made_by}"


def weights_artifact(model_uid: str) -> str:
    """The key of a model's initial weights in the artifact store."""
    return f"weights/{model_uid}"


_VERSION_NAME = re.compile(r"models/(?P<model>[^/@]+)(?:/versions/(?P<number>\d+)|@(?P<alias>.+))?")


@dataclass(frozen=True)
class VersionReference:
    """How somebody names a version: by number, by alias, or, with neither, as the latest."""

    model: str
    number: int | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, name: str) -> "VersionReference":
        """Reads `models/iris`, `models/iris@prod` or `models/iris/versions/3`, which the contract has checked."""
        match = _VERSION_NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"'{name}' names no version")
        number = match["number"]
        return cls(match["model"], int(number) if number else None, match["alias"])
