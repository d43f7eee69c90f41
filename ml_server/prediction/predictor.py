"""Predicts: finds the version, prepares the columns, runs the network, and reads its outputs."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from ml_server.prediction.answers import Answer, answers_of
from ml_server.prediction.inputs import columns_of
from ml_server.prediction.loaded_versions import LoadedVersions
from ml_server.prediction.raw import RawColumn
from ml_server.prediction.served_version import ServedVersion
from ml_server.registry.store import ModelStore
from ml_server.registry.values import ModelVersion, VersionDetails, VersionReference
from servicekit.images.decoding import ImageDecoder

# A network that takes less runs where it is asked for: a hand-over to a thread costs others more than the wait.
INLINE_MICROSECONDS = 1_000.0


@dataclass(frozen=True)
class Prediction:
    """The answers for N rows, one for each target of the version."""

    version: ModelVersion
    rows: int
    answers: list[Answer]


class Predictor:
    """Answers for one owner's versions at a time; safe to call concurrently."""

    def __init__(self, models: ModelStore, loaded: LoadedVersions, images: ImageDecoder) -> None:
        self._models = models
        self._loaded = loaded
        self._images = images

    async def predict(self, owner: str, name: str, raw: Mapping[str, RawColumn]) -> Prediction:
        """Predicts with the version that `name` means.

        Raises:
            NotFound: There is no such model or version.
            FailedPrecondition: NO_VERSION.
            InvalidArgument: COLUMN_MISSING, COLUMN_UNEXPECTED or VALUE_INVALID.
            ResourceExhausted: LIMIT_EXCEEDED, for images that take too much memory together.
        """
        version = await self._models.version(owner, VersionReference.parse(name))
        rows = len(next(iter(raw.values()), ()))
        async with self._loaded.using(version) as served:
            has_images = served.features.layout.image is not None  # decoding one may take a second
            if not has_images and served.expected_microseconds(rows) <= INLINE_MICROSECONDS:
                answers = compute(served, raw, self._images, version.name)
            else:
                answers = await asyncio.to_thread(compute, served, raw, self._images, version.name)
        return Prediction(version, rows, answers)


def compute(served: ServedVersion, raw: Mapping[str, RawColumn], images: ImageDecoder, name: str) -> list[Answer]:
    """The answers of a version for raw columns. Raises as `Predictor.predict`; `name` stands in the text."""
    columns = columns_of(served.features, raw, images, _described(served.details, name))
    return answers_of(served.targets, served.run(served.features.transform(columns)))


def _described(details: VersionDetails, name: str) -> str:
    """The version with its view, since a name such as `models/iris` may mean one that the caller did not think of."""
    return f"{name} (view {details.view})" if details.view else name
