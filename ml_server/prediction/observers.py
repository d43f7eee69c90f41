"""Who wants to know of every request that was answered."""

from dataclasses import dataclass
from typing import Protocol

from ml_server.engines.engine import Features, Outputs
from ml_server.features.features import FittedFeatures
from ml_server.prediction.served_version import ServedVersion
from ml_server.prediction.statistics import Timings
from ml_server.registry.values import ModelVersion, VersionReference
from servicekit.images.decoding import ImageDecoder


class Inputs(Protocol):
    """The rows of a request, in whichever form somebody sent them."""

    @property
    def rows(self) -> int:
        """How many there are, before anything is checked."""
        ...

    def features(self, fitted: FittedFeatures, images: ImageDecoder, version: str) -> Features:
        """The features (N, layout.columns) that they mean, to be read only; `version` stands in the text of errors.

        Raises:
            InvalidArgument: They do not fit the version.
            ResourceExhausted: LIMIT_EXCEEDED, for images that take too much memory together.
        """
        ...


@dataclass(slots=True)  # not frozen: that would take longer than all else that is done with it at once
class Asked:
    """A version that an owner asks, and what it was called."""

    owner: str
    reference: VersionReference
    version: ModelVersion
    served: ServedVersion


@dataclass(slots=True)  # not frozen: as above
class Answered:
    """A request that was answered, and all that its answers were made of."""

    asked: Asked
    inputs: Inputs
    features: Features
    outputs: Outputs
    timings: Timings


class Observer(Protocol):
    """Somebody to be told of every request that was answered."""

    def answered(self, answered: Answered) -> None:
        """Takes note, in microseconds: the caller waits. Arrays are to be read only."""
        ...
