"""Compares versions: finds them and their view, measures each on its test rows, and tells how sure the figures are."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ml_server.evaluation.bootstrap import PairedRows, compared, measured, resampled
from ml_server.evaluation.class_rows import ClassRows, scored
from ml_server.evaluation.fit import all_classes, require_classes, require_columns, require_rows
from ml_server.evaluation.number_rows import NumberRows
from ml_server.evaluation.outputs import Outputs, run_versions
from ml_server.evaluation.paired_tests import mcnemar, signed_rank
from ml_server.evaluation.values import Comparison, ComparisonRequest, MetricComparison, TargetComparison
from ml_server.features.columns import ColumnType
from ml_server.features.targets import UNSEEN, FittedTarget, Task
from ml_server.prediction.loaded_versions import LoadedVersions
from ml_server.prediction.served_version import ServedVersion
from ml_server.registry.store import ModelStore
from ml_server.registry.values import ModelVersion, VersionReference
from ml_server.views.fetched import FetchedViews
from ml_server.views.part_files import PartFile
from ml_server.views.values import Part, View, ViewSource
from servicekit.errors import Aborted, InvalidArgument, Reason
from servicekit.stopping import Stopping, in_thread

# Each takes a core for as long as it lasts; others wait for their turn, within their own deadlines.
COMPARISONS_AT_A_TIME = 1
LOWER_IS_BETTER = ("log_loss", "mean_absolute_error", "root_mean_squared_error")

T = TypeVar("T")


class Comparer:
    """Compares one owner's versions at a time; safe to call concurrently."""

    def __init__(self, models: ModelStore, loaded: LoadedVersions, views: ViewSource, fetched: FetchedViews) -> None:
        self._models = models
        self._loaded = loaded
        self._views = views
        self._fetched = fetched
        self._turns = asyncio.Semaphore(COMPARISONS_AT_A_TIME)

    async def compare(self, owner: str, request: ComparisonRequest) -> Comparison:
        """Compares versions on the test rows of a view. If the caller is cancelled, the work ends with it.

        Raises:
            NotFound: There is no such version or view.
            FailedPrecondition: NO_VERSION.
            InvalidArgument: INVALID_FIELD, SPLIT_EMPTY, COLUMN_MISSING or COLUMN_UNSUPPORTED, naming the version
                that does not fit the view, or VALUE_INVALID, if it gives no finite numbers or a row has a value that
                it can't compute with.
            Aborted: ETAG_MISMATCH.
            ResourceExhausted: LIMIT_EXCEEDED.
        """
        versions = [await self._models.version(owner, VersionReference.parse(name)) for name in request.versions]
        _require_different(request.versions, versions)
        view = await self._view(request.view, versions[0])
        async with AsyncExitStack() as using:
            served = [await using.enter_async_context(self._loaded.using(version)) for version in versions]
            require_rows(view, served)
            for place, (version, each) in enumerate(zip(versions, served, strict=True)):
                require_columns(place, version, each, view)
            fetched = using.enter_context(await self._fetched.fetch(owner, view, _untold))
            work = _Work(request, view, versions, served, PartFile(fetched.files[Part.TEST], _types(view, served)))
            async with self._turns:
                targets = await in_thread(work)
        return Comparison(
            view=view.name,
            view_digest=view.digest,
            row_count=view.rows[Part.TEST],
            versions=tuple(versions),
            targets=targets,
            confidence=request.confidence,
            resamples=request.resamples,
            seed=request.seed,
        )

    async def _view(self, name: str, first: ModelVersion) -> View:
        if name:
            return await self._views.get(name)
        if not first.details.view:
            message = f"{first.name} tells of no view that it was trained on: name the view to compare on"
            raise InvalidArgument(Reason.INVALID_FIELD, message, field="view")
        view = await self._views.get(first.details.view)
        if view.digest != first.details.view_digest:
            message = (
                f"view '{view.name}' has other rows than when {first.name} was trained on it, and its test rows may "
                "have been among those: name the view to compare on it all the same"
            )
            raise Aborted(Reason.ETAG_MISMATCH, message, resource=view.name)
        return view


class _Work:
    """The part of a comparison that takes a thread."""

    def __init__(
        self,
        request: ComparisonRequest,
        view: View,
        versions: Sequence[ModelVersion],
        served: Sequence[ServedVersion],
        file: PartFile,
    ) -> None:
        self._request = request
        self._view = view
        self._versions = versions
        self._served = served
        self._file = file

    def __call__(self, stopping: Stopping) -> tuple[TargetComparison, ...]:
        by_name = [{target.name: target for target in served.targets.targets} for served in self._served]
        fitted = [[targets[target.name] for targets in by_name] for target in self._view.targets]
        known = [all_classes(targets) for targets in fitted]
        found = run_versions(self._file, self._view.rows[Part.TEST], self._served, known, stopping)
        for place, outputs in enumerate(found.outputs):
            self._require_finite(place, outputs)
        parts = [{target.name: part for target, part in served.targets.slices} for served in self._served]
        comparisons = []
        for targets, union in zip(fitted, known, strict=True):
            truth = found.truths[union.name]
            own = [each[:, part[union.name]] for each, part in zip(found.outputs, parts, strict=True)]
            measure = self._numbers if union.task is Task.REGRESSION else self._classes
            comparisons.append(measure(targets, union, own, truth, stopping))
        return tuple(comparisons)

    def _require_finite(self, place: int, outputs: Outputs) -> None:
        bad = int((~np.isfinite(outputs)).any(axis=1).sum())
        if bad:
            name = self._versions[place].name
            message = f"{name} gives no finite numbers for {bad} test rows of view '{self._view.name}'"
            raise InvalidArgument(Reason.VALUE_INVALID, message, field=f"versions[{place}]")

    def _numbers(
        self,
        targets: Sequence[FittedTarget],
        known: FittedTarget,
        outputs: Sequence[Outputs],
        truth: NDArray[np.float64],
        stopping: Stopping,
    ) -> TargetComparison:
        predicted = [
            each[:, 0].astype(np.float64) * target.deviation + target.mean
            for each, target in zip(outputs, targets, strict=True)
        ]
        rows = NumberRows(truth, np.stack(predicted))
        metrics = self._metrics(rows, stopping)
        tests = self._others(lambda name, place: signed_rank(name, rows.errors[0], rows.errors[place]))
        return TargetComparison(known.name, known.task, 0, metrics, signed_rank_tests=tests)

    def _classes(
        self,
        targets: Sequence[FittedTarget],
        known: FittedTarget,
        outputs: Sequence[Outputs],
        truth: NDArray[np.int64],
        stopping: Stopping,
    ) -> TargetComparison:
        for place, (version, target) in enumerate(zip(self._versions, targets, strict=True)):
            require_classes(place, version, target, known, truth)
        count = len(known.classes)
        labels = np.where(truth == UNSEEN, count, truth)
        place_of = {label: place for place, label in enumerate(known.classes)}
        places = [np.array([place_of[label] for label in target.classes]) for target in targets]
        found = [scored(each, labels, of, count, stopping) for each, of in zip(outputs, places, strict=True)]
        rows = ClassRows(labels, count, found)
        metrics = self._metrics(rows, stopping)
        tests = self._others(lambda name, place: mcnemar(name, rows.right[0], rows.right[place]))
        return TargetComparison(known.name, known.task, rows.unseen_count, metrics, mcnemar_tests=tests)

    def _metrics(self, rows: PairedRows, stopping: Stopping) -> tuple[MetricComparison, ...]:
        request = self._request
        values = measured(rows, stopping)
        samples = resampled(rows, request.resamples, request.seed, stopping)
        names = [version.name for version in self._versions]
        return tuple(
            compared(name, name not in LOWER_IS_BETTER, each, samples[name], names, request.confidence)
            for name, each in values.items()
            if np.isfinite(each).all()
        )

    def _others(self, test: Callable[[str, int], T]) -> tuple[T, ...]:
        """A test of each version but the first, by its name and place."""
        names = [version.name for version in self._versions]
        return tuple(test(name, place) for place, name in enumerate(names) if place)


def _require_different(names: Sequence[str], versions: Sequence[ModelVersion]) -> None:
    seen: dict[str, str] = {}
    for place, (name, version) in enumerate(zip(names, versions, strict=True)):
        if version.name in seen:
            message = f"'{name}' and '{seen[version.name]}' are one version, {version.name}: name different ones"
            raise InvalidArgument(Reason.INVALID_FIELD, message, field=f"versions[{place}]")
        seen[version.name] = name


def _types(view: View, served: Sequence[ServedVersion]) -> dict[str, ColumnType]:
    """The columns that are needed of the view's rows."""
    inputs = {column.name: column.type for version in served for column in version.features.columns}
    return inputs | {target.name: target.type for target in view.targets}


async def _untold(rows: int, cached: bool) -> None:
    """Nobody follows how rows come."""
