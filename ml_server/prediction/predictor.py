"""Predicts: finds the version, prepares the features, runs the network, and reads its outputs."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from ml_server.prediction.answers import Answer, answers_of
from ml_server.prediction.batcher import Batcher, run_inline
from ml_server.prediction.inputs import PartialInputs, Prepared
from ml_server.prediction.loaded_versions import LoadedVersions
from ml_server.prediction.observers import Answered, Inputs, Observer
from ml_server.prediction.row_faults import RowFault
from ml_server.prediction.served_version import ServedVersion
from ml_server.prediction.statistics import Statistics, Timings
from ml_server.registry.known_versions import KnownVersions
from ml_server.registry.values import ModelVersion, VersionDetails, VersionReference
from servicekit.images.decoding import ImageDecoder

# What has more numbers than this is converted on a thread: it would keep other calls waiting.
INLINE_CELLS = 65_536


@dataclass(slots=True)  # not frozen: each call makes one
class Prediction:
    """The answers for N rows, one for each target of the version, and why the other rows have none."""

    version: ModelVersion
    rows: int
    """How many rows were asked for: those with answers, in order, and those with faults."""
    answers: list[Answer]
    faults: Mapping[int, RowFault] = field(default_factory=dict)


class Predictor:
    """Answers for one owner's versions at a time; safe to call concurrently."""

    def __init__(
        self,
        versions: KnownVersions,
        loaded: LoadedVersions,
        batcher: Batcher,
        images: ImageDecoder,
        statistics: Statistics,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._versions = versions
        self._loaded = loaded
        self._batcher = batcher
        self._images = images
        self._statistics = statistics
        self._observers = observers

    async def predict(
        self,
        owner: str,
        reference: VersionReference,
        inputs: Inputs | PartialInputs,
        request_id: str = "",
        requests: int = 1,
    ) -> Prediction:
        """Predicts with the version that `reference` means; with that of the id, if it means several.

        The inputs may be those of several requests. If they fail, each of these is to be asked for by itself.

        Rows of partial inputs that can't be predicted are nowhere but in the faults of what is returned.

        Raises:
            NotFound: There is no such model or version.
            FailedPrecondition: NO_VERSION.
            InvalidArgument: COLUMN_MISSING, COLUMN_UNEXPECTED, VALUE_INVALID or SHAPE_MISMATCH.
            ResourceExhausted: LIMIT_EXCEEDED, for images that take too much memory together, or if too many calls wait.
        """
        began = time.perf_counter_ns()
        version = self._versions.at_hand(owner, reference, request_id)
        if version is None:
            version = await self._versions.answering(owner, reference, request_id)
        try:
            at_hand = self._loaded.at_hand(version)
            if at_hand is not None and _is_quick(at_hand, inputs):
                answered, faults = self._answer_at_once(owner, reference, version, at_hand, inputs)
            else:
                async with self._loaded.using(version) as served:
                    answered, faults = await self._answers(owner, reference, version, served, inputs)
        except Exception:
            if requests == 1:
                self._statistics.failed(version, time.perf_counter_ns() - began)
            raise
        rows = inputs.rows
        taken = time.perf_counter_ns() - began
        self._statistics.succeeded(version, rows - len(faults), taken, answered.timings, requests)
        for observer in self._observers:
            observer.answered(answered)
        return Prediction(version, rows, answered.answers, faults)

    def quick_version(
        self, owner: str, reference: VersionReference, request_id: str, rows: int
    ) -> tuple[ModelVersion, int] | None:
        """The version that answers, and how many requests of so many rows it still does at once; None if it waits."""
        version = self._versions.at_hand(owner, reference, request_id)
        served = self._loaded.at_hand(version) if version is not None else None
        if version is None or served is None or served.features.layout.image is not None:
            return None
        most_rows = min(served.inline_rows, INLINE_CELLS // served.most_cells)
        return version, most_rows // rows

    def _answer_at_once(
        self,
        owner: str,
        reference: VersionReference,
        version: ModelVersion,
        served: ServedVersion,
        inputs: Inputs | PartialInputs,
    ) -> tuple[Answered, Mapping[int, RowFault]]:
        """As `_answers`, in one go: for calls that take less than a hand-over to others would."""
        began = time.perf_counter_ns()
        prepared = _prepared(inputs, served, self._images, described(served.details, version.name))
        usable, features = prepared.inputs, prepared.features
        preparing = time.perf_counter_ns() - began
        computed = run_inline(served, features)
        answering = time.perf_counter_ns()
        answers = answers_of(served.targets, computed.outputs)
        timings = Timings(0, preparing, computed.network, time.perf_counter_ns() - answering)
        answered = Answered(owner, reference, version, served, usable, features, computed.outputs, answers, timings)
        return answered, prepared.faults

    async def _answers(
        self,
        owner: str,
        reference: VersionReference,
        version: ModelVersion,
        served: ServedVersion,
        inputs: Inputs | PartialInputs,
    ) -> tuple[Answered, Mapping[int, RowFault]]:
        # Decoding one image may take a second.
        is_large = served.features.layout.image is not None or inputs.rows * served.most_cells > INLINE_CELLS
        began = time.perf_counter_ns()
        make = partial(_prepared, inputs, served, self._images, described(served.details, version.name))
        prepared = await asyncio.to_thread(make) if is_large else make()
        preparing = time.perf_counter_ns() - began
        computed = await self._batcher.run(served, prepared.features)
        answering = time.perf_counter_ns()
        read = partial(answers_of, served.targets, computed.outputs)
        answers = await asyncio.to_thread(read) if is_large else read()
        output_time = time.perf_counter_ns() - answering
        timings = Timings(computed.waited, preparing, computed.network, output_time)
        usable, features = prepared.inputs, prepared.features
        answered = Answered(owner, reference, version, served, usable, features, computed.outputs, answers, timings)
        return answered, prepared.faults


def _is_quick(served: ServedVersion, inputs: Inputs | PartialInputs) -> bool:
    rows = inputs.rows
    return (
        served.features.layout.image is None and rows <= served.inline_rows and rows * served.most_cells <= INLINE_CELLS
    )


def _prepared(inputs: Inputs | PartialInputs, served: ServedVersion, images: ImageDecoder, version: str) -> Prepared:
    if isinstance(inputs, PartialInputs):
        return inputs.prepared(served.features, images, version)
    return Prepared(inputs.features(served.features, images, version), inputs)


def described(details: VersionDetails, name: str) -> str:
    """The version with its view, since a name such as `models/iris` may mean one that the caller did not think of."""
    return f"{name} (view {details.view})" if details.view else name
