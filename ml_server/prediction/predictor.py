"""Predicts: finds the version, prepares the features, runs the network, and reads its outputs."""

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ml_server.features.features import FittedFeatures
from ml_server.prediction.answers import Answer, answers_of
from ml_server.prediction.loaded_versions import LoadedVersions
from ml_server.prediction.served_version import ServedVersion
from ml_server.prediction.statistics import Statistics, Timings
from ml_server.registry.known_versions import KnownVersions
from ml_server.registry.values import ModelVersion, VersionDetails, VersionReference
from servicekit.images.decoding import ImageDecoder

# A network that takes less runs where it is asked for: a hand-over to a thread costs others more than the wait.
INLINE_MICROSECONDS = 1_000.0


class Inputs(Protocol):
    """The rows of a request, in whichever form somebody sent them."""

    @property
    def rows(self) -> int:
        """How many there are, before anything is checked."""
        ...

    def features(self, fitted: FittedFeatures, images: ImageDecoder, version: str) -> NDArray[np.float32]:
        """The features (N, layout.columns) that they mean, to be read only; `version` stands in the text of errors.

        Raises:
            InvalidArgument: They do not fit the version.
            ResourceExhausted: LIMIT_EXCEEDED, for images that take too much memory together.
        """
        ...


@dataclass(frozen=True)
class Prediction:
    """The answers for N rows, one for each target of the version."""

    version: ModelVersion
    rows: int
    answers: list[Answer]


class Predictor:
    """Answers for one owner's versions at a time; safe to call concurrently."""

    def __init__(
        self, versions: KnownVersions, loaded: LoadedVersions, images: ImageDecoder, statistics: Statistics
    ) -> None:
        self._versions = versions
        self._loaded = loaded
        self._images = images
        self._statistics = statistics

    async def predict(self, owner: str, reference: VersionReference, inputs: Inputs) -> Prediction:
        """Predicts with the version that `reference` means.

        Raises:
            NotFound: There is no such model or version.
            FailedPrecondition: NO_VERSION.
            InvalidArgument: COLUMN_MISSING, COLUMN_UNEXPECTED, VALUE_INVALID or SHAPE_MISMATCH.
            ResourceExhausted: LIMIT_EXCEEDED, for images that take too much memory together.
        """
        began = time.perf_counter_ns()
        version = await self._versions.find(owner, reference)
        try:
            async with self._loaded.using(version) as served:
                has_images = served.features.layout.image is not None  # decoding one may take a second
                if not has_images and served.expected_microseconds(inputs.rows) <= INLINE_MICROSECONDS:
                    answers, timings = compute(served, inputs, self._images, version.name)
                else:
                    answers, timings = await asyncio.to_thread(compute, served, inputs, self._images, version.name)
        except Exception:
            self._statistics.failed(version, time.perf_counter_ns() - began)
            raise
        self._statistics.succeeded(version, inputs.rows, time.perf_counter_ns() - began, timings)
        return Prediction(version, inputs.rows, answers)


def compute(served: ServedVersion, inputs: Inputs, images: ImageDecoder, name: str) -> tuple[list[Answer], Timings]:
    """The answers of a version. Raises as `Inputs.features`; `name` stands in the text."""
    began = time.perf_counter_ns()
    features = inputs.features(served.features, images, _described(served.details, name))
    prepared = time.perf_counter_ns()
    outputs = served.run(features)
    computed = time.perf_counter_ns()
    answers = answers_of(served.targets, outputs)
    return answers, Timings(prepared - began, computed - prepared, time.perf_counter_ns() - computed)


def _described(details: VersionDetails, name: str) -> str:
    """The version with its view, since a name such as `models/iris` may mean one that the caller did not think of."""
    return f"{name} (view {details.view})" if details.view else name
