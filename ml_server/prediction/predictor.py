"""Predicts: finds the version, prepares the columns, runs the network, and reads its outputs."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ml_server.prediction.answers import Answer, answers_of
from ml_server.prediction.inputs import columns_of
from ml_server.prediction.loaded_versions import LoadedVersions
from ml_server.prediction.raw import RawColumn
from ml_server.registry.bundle import Bundle
from ml_server.registry.store import ModelStore
from ml_server.registry.values import ModelVersion, VersionReference
from servicekit.images.decoding import ImageDecoder

# Below so many multiplications the network runs where it is asked for: a hand-over to a thread costs more than that.
INLINE_OPERATIONS = 2_000_000
BATCH_ROWS = 8_192
# A network makes many numbers of each feature of an image, and those of all rows of a batch are in memory at once.
BATCH_FEATURES = 4_000_000


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
        async with self._loaded.using(version) as bundle:
            has_images = bundle.features.layout.image is not None  # decoding one may take a second
            if not has_images and rows * bundle.details.parameter_count <= INLINE_OPERATIONS:
                answers = compute(bundle, raw, self._images, version.name)
            else:
                answers = await asyncio.to_thread(compute, bundle, raw, self._images, version.name)
        return Prediction(version, rows, answers)


@torch.inference_mode()
def compute(bundle: Bundle, raw: Mapping[str, RawColumn], images: ImageDecoder, name: str) -> list[Answer]:
    """The answers of a version for raw columns. Raises as `Predictor.predict`; `name` stands in the text."""
    columns = columns_of(bundle.features, raw, images, _described(bundle, name))
    features = torch.from_numpy(bundle.features.transform(columns))
    size = max(1, min(BATCH_ROWS, BATCH_FEATURES // max(features.shape[1], 1)))
    outputs = torch.cat([bundle.model(part) for part in torch.split(features, size)])
    return answers_of(bundle.targets, outputs)


def _described(bundle: Bundle, name: str) -> str:
    """The version with its view, since a name such as `models/iris` may mean one that the caller did not think of."""
    return f"{name} (view {bundle.details.view})" if bundle.details.view else name
