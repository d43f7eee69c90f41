"""Predicts: finds the version, prepares the features, runs the network, and reads its outputs."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from ml_server.engines.engine import Outputs
from ml_server.prediction.answers import Answer, answers_of
from ml_server.prediction.batcher import Batcher
from ml_server.prediction.inputs import PartialInputs, Prepared
from ml_server.prediction.loaded_versions import LoadedVersions
from ml_server.prediction.observers import Answered, Asked, Inputs, Observer
from ml_server.prediction.row_faults import RowFault
from ml_server.prediction.served_version import INLINE_CELLS, ServedVersion
from ml_server.prediction.statistics import Statistics, Timings
from ml_server.registry.known_versions import KnownVersions
from ml_server.registry.values import ModelVersion, VersionReference
from servicekit.images.decoding import ImageDecoder

Read = TypeVar("Read")
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
        if asked is not None and inputs.rows <= asked.served.quick_rows and not isinstance(inputs, PartialInputs):
            read = partial(answers_of, asked.served.targets)
            return Prediction(asked.version, inputs.rows, self.read_at_once(asked, inputs, read, check))
        began = time.perf_counter_ns()
        version = await self._versions.answering(owner, reference, request_id)
        try:
            async with self._loaded.using(version) as served:
                check(served, inputs.rows)
                answered, answers, faults = await self._answers(Asked(owner, reference, version, served), inputs)
        except Exception:
            self._statistics.failed(version, time.perf_counter_ns() - began)
            raise
        self._tell(answered, inputs.rows - len(faults), time.perf_counter_ns() - began)
        return Prediction(version, inputs.rows, answers, faults)

    def at_hand(self, owner: str, reference: VersionReference, request_id: str = "") -> Asked | None:
        """What `predict` would predict with; None if it would have to wait for it."""
        version = self._versions.at_hand(owner, reference, request_id)
        served = self._loaded.at_hand(version) if version is not None else None
        return Asked(owner, reference, version, served) if version is not None and served is not None else None

    def read_at_once(
        self,
        asked: Asked,
        inputs: Inputs,
        read: Callable[[Outputs], Read],
        check: Check = takes_all,
        requests: int = 1,
    ) -> Read:
        """What `read` makes of the outputs (N, targets.outputs), with nothing else between.

        For up to `quick_rows` of the version, which was at hand just now. The inputs may be those of several requests:
        if they fail, each of these is to be asked for by itself. Raises as `predict`, and what `read` raises.
        """
        began = time.perf_counter_ns()
        served = asked.served
        try:
            check(served, inputs.rows)
            features = inputs.features(served.features, self._images, asked.version.described)
            prepared = time.perf_counter_ns()
            outputs = served.run(features)
            computed = time.perf_counter_ns()
            answers = read(outputs)
        except Exception:
            if requests == 1:
                self._statistics.failed(asked.version, time.perf_counter_ns() - began)
            raise
        ended = time.perf_counter_ns()
        timings = Timings(0, prepared - began, computed - prepared, ended - computed)
        self._tell(Answered(asked, inputs, features, outputs, timings), len(features), ended - began, requests)
        return answers

    async def _answers(
        self, asked: Asked, inputs: Inputs | PartialInputs
    ) -> tuple[Answered, list[Answer], Mapping[int, RowFault]]:
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
        answered = Answered(asked, prepared.inputs, prepared.features, computed.outputs, timings)
        return answered, answers, prepared.faults

    def _tell(self, answered: Answered, rows: int, nanoseconds: int, requests: int = 1) -> None:
        self._statistics.succeeded(answered.asked.version, rows, nanoseconds, answered.timings, requests)
        for observer in self._observers:
            observer.answered(answered)


def _prepared(inputs: Inputs | PartialInputs, asked: Asked, images: ImageDecoder) -> Prepared:
    served = asked.served
    version = asked.version.described
    if isinstance(inputs, PartialInputs):
        return inputs.prepared(served.features, images, version)
    return Prepared(inputs.features(served.features, images, version), inputs)
