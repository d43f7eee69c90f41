"""Predicts: finds the version, prepares the features, runs the network, and reads its outputs."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from ml_server.prediction.answers import Answer, answers_of
from ml_server.prediction.batcher import Batcher, run_inline
from ml_server.prediction.inputs import PartialInputs, Prepared
from ml_server.prediction.loaded_versions import LoadedVersions
from ml_server.prediction.observers import Answered, Asked, Inputs, Observer
from ml_server.prediction.row_faults import RowFault
from ml_server.prediction.served_version import INLINE_CELLS, ServedVersion
from ml_server.prediction.statistics import Statistics, Timings
from ml_server.registry.known_versions import KnownVersions
from ml_server.registry.values import ModelVersion, VersionDetails, VersionReference
from servicekit.images.decoding import ImageDecoder

Check = Callable[[ServedVersion, int], None]
"""Refuses what a version can't answer for so many rows, before anything is computed."""


def takes_all(served: ServedVersion, rows: int) -> None:
    """Refuses nothing."""


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
        check: Check = takes_all,
    ) -> Prediction:
        """Predicts with the version that `reference` means; with that of the id, if it means several.

        Rows of partial inputs that can't be predicted are nowhere but in the faults of what is returned.

        Raises:
            NotFound: There is no such model or version.
            FailedPrecondition: NO_VERSION.
            InvalidArgument: COLUMN_MISSING, COLUMN_UNEXPECTED, VALUE_INVALID or SHAPE_MISMATCH; what `check` raises.
            ResourceExhausted: LIMIT_EXCEEDED, for images that take too much memory together, or if too many calls wait.
        """
        asked = self.at_hand(owner, reference, request_id)
        if asked is not None and inputs.rows <= asked.served.quick_rows:
            return self.predict_at_once(asked, inputs, check)
        began = time.perf_counter_ns()
        version = await self._versions.answering(owner, reference, request_id)
        try:
            async with self._loaded.using(version) as served:
                check(served, inputs.rows)
                answered, faults = await self._answers(Asked(owner, reference, version, served), inputs)
        except Exception:
            self._statistics.failed(version, time.perf_counter_ns() - began)
            raise
        return self._told(answered, faults, inputs.rows, began)

    def at_hand(self, owner: str, reference: VersionReference, request_id: str = "") -> Asked | None:
        """What `predict` would predict with; None if it would have to wait for it."""
        version = self._versions.at_hand(owner, reference, request_id)
        served = self._loaded.at_hand(version) if version is not None else None
        return Asked(owner, reference, version, served) if version is not None and served is not None else None

    def predict_at_once(
        self,
        asked: Asked,
        inputs: Inputs | PartialInputs,
        check: Check = takes_all,
        requests: int = 1,
    ) -> Prediction:
        """As `predict`, with nothing else between: for up to `quick_rows` of the version, which was at hand just now.

        The inputs may be those of several requests. If they fail, each of these is to be asked for by itself.
        """
        began = time.perf_counter_ns()
        served = asked.served
        try:
            check(served, inputs.rows)
            prepared = _prepared(inputs, asked, self._images)
            preparing = time.perf_counter_ns() - began
            computed = run_inline(served, prepared.features)
            answering = time.perf_counter_ns()
            answers = answers_of(served.targets, computed.outputs)
        except Exception:
            if requests == 1:
                self._statistics.failed(asked.version, time.perf_counter_ns() - began)
            raise
        timings = Timings(0, preparing, computed.network, time.perf_counter_ns() - answering)
        answered = Answered(asked, prepared.inputs, prepared.features, computed.outputs, answers, timings)
        return self._told(answered, prepared.faults, inputs.rows, began, requests)

    async def _answers(self, asked: Asked, inputs: Inputs | PartialInputs) -> tuple[Answered, Mapping[int, RowFault]]:
        served = asked.served
        # Decoding one image may take a second.
        is_large = served.features.layout.image is not None or inputs.rows * served.most_cells > INLINE_CELLS
        began = time.perf_counter_ns()
        make = partial(_prepared, inputs, asked, self._images)
        prepared = await asyncio.to_thread(make) if is_large else make()
        preparing = time.perf_counter_ns() - began
        computed = await self._batcher.run(served, prepared.features)
        answering = time.perf_counter_ns()
        read = partial(answers_of, served.targets, computed.outputs)
        answers = await asyncio.to_thread(read) if is_large else read()
        output_time = time.perf_counter_ns() - answering
        timings = Timings(computed.waited, preparing, computed.network, output_time)
        return Answered(asked, prepared.inputs, prepared.features, computed.outputs, answers, timings), prepared.faults

    def _told(
        self, answered: Answered, faults: Mapping[int, RowFault], rows: int, began: int, requests: int = 1
    ) -> Prediction:
        version = answered.asked.version
        taken = time.perf_counter_ns() - began
        self._statistics.succeeded(version, rows - len(faults), taken, answered.timings, requests)
        for observer in self._observers:
            observer.answered(answered)
        return Prediction(version, rows, answered.answers, faults)


def _prepared(inputs: Inputs | PartialInputs, asked: Asked, images: ImageDecoder) -> Prepared:
    served = asked.served
    version = described(served.details, asked.version.name)
    if isinstance(inputs, PartialInputs):
        return inputs.prepared(served.features, images, version)
    return Prepared(inputs.features(served.features, images, version), inputs)


def described(details: VersionDetails, name: str) -> str:
    """The version with its view, since a name such as `models/iris` may mean one that the caller did not think of."""
    return f"{name} (view {details.view})" if details.view else name
