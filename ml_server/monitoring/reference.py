"""How the columns of a version's training rows, and its predictions for some rows, were distributed: `reference.json`.

Numbers are counted in the network's own features, where a missing value is what it became: bins are the same whoever
prepared the rows, in training or in serving.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from ml_server.engines.engine import Features, Outputs
from ml_server.features.features import FittedFeatures
from ml_server.features.targets import FittedTargets
from ml_server.monitoring.measures import Measure, Measured, Quantity, input_measures, output_measures
from ml_server.networks.values import Value

# Bins by quantiles: as many as have this many rows each, within the bounds.
ROWS_PER_BIN = 20
MIN_BINS, MAX_BINS = 2, 10
# The most frequent categories have bins of their own, and the rest has one.
MAX_CATEGORIES = 50
# Beyond the training rows' range there is a bin on either side, which begins so far outside, in shares of the range.
MARGIN = 1e-3


class NumberBins(Value):
    """Bin i has the numbers from `edges[i - 1]` on and below `edges[i]`; the outermost ones have no end."""

    kind: Literal["number"] = "number"
    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def count(self, numbers: Measured) -> NDArray[np.int64]:
        """How many of some numbers (N,) are in each bin."""
        edges = np.array(self.edges, dtype=np.float64)
        return np.bincount(np.searchsorted(edges, numbers, side="right"), minlength=len(self.counts))

    def fits(self, measure: Measure) -> bool:
        """True if this can be of a measure."""
        return not measure.codes and len(self.counts) == len(self.edges) + 1


class CategoryBins(Value):
    """A bin for each of `codes`, and a last one for all others, if there are any below `size`."""

    kind: Literal["category"] = "category"
    codes: tuple[int, ...]
    size: int
    counts: tuple[int, ...]

    def count(self, codes: Measured) -> NDArray[np.int64]:
        """How many of some codes (N,) are in each bin."""
        of_code = np.bincount(codes.astype(np.int64), minlength=self.size)
        known = of_code[list(self.codes)]
        return known if len(self.counts) == len(known) else np.append(known, of_code.sum() - known.sum())

    def fits(self, measure: Measure) -> bool:
        """True if this can be of a measure."""
        are_codes = all(0 <= code < self.size for code in self.codes) and len(set(self.codes)) == len(self.codes)
        bins = len(self.codes) + (len(self.codes) < self.size)
        return self.size == measure.codes and are_codes and len(self.counts) == bins


Bins = Annotated[NumberBins | CategoryBins, Field(discriminator="kind")]


class ColumnReference(Value):
    """How one quantity of a column was distributed."""

    column: str
    quantity: Quantity
    bins: Bins


class Reference(Value):
    """How all columns were distributed: inputs of `rows` training rows, and predictions for `predicted_rows`."""

    rows: int
    predicted_rows: int
    inputs: tuple[ColumnReference, ...]
    outputs: tuple[ColumnReference, ...]


class NoReference(Exception):
    """A version has none that can be used; the text says why, and what to do."""


def make_reference(features: FittedFeatures, targets: FittedTargets, rows: Features, outputs: Outputs) -> Reference:
    """Counts N training rows (N, layout.columns) and outputs (M, targets.outputs) for M rows, each at least 1."""
    return Reference(
        rows=len(rows),
        predicted_rows=len(outputs),
        inputs=tuple(_reference(measure, rows) for measure in input_measures(features)),
        outputs=tuple(_reference(measure, outputs) for measure in output_measures(targets)),
    )


def read_reference(file: Path, inputs: Sequence[Measure], outputs: Sequence[Measure]) -> Reference:
    """The reference of a version for what is looked at in its rows. Raises NoReference."""
    try:
        reference = Reference.model_validate_json(file.read_bytes())
    except FileNotFoundError as error:
        message = "the version has no reference.json, since it was made before there was any: train it again"
        raise NoReference(message) from error
    except ValidationError as error:
        raise NoReference(
            f"the version's reference.json is none: {error.errors()[0]['msg']}: train it again"
        ) from error
    if not (_fit(reference.inputs, inputs) and _fit(reference.outputs, outputs)):
        raise NoReference("the version's reference.json is that of another version: train it again")
    return reference


def _fit(references: Sequence[ColumnReference], measures: Sequence[Measure]) -> bool:
    return len(references) == len(measures) and all(
        (reference.column, reference.quantity) == (measure.column, measure.quantity) and reference.bins.fits(measure)
        for reference, measure in zip(references, measures, strict=True)
    )


def _reference(measure: Measure, rows: NDArray[np.float32]) -> ColumnReference:
    measured = measure.of(rows)
    bins = category_bins(measured, measure.codes) if measure.codes else number_bins(measured)
    return ColumnReference(column=measure.column, quantity=measure.quantity, bins=bins)


def number_bins(numbers: Measured) -> NumberBins:
    """Bins of about equally many numbers (N,), and one on either side of them all.

    An edge lies in the middle between a quantile and the next number that there is, so that rounding moves nothing.
    """
    ordered = np.sort(numbers.astype(np.float64))
    distinct = ordered[np.append(True, ordered[1:] > ordered[:-1])]
    low, high = float(ordered[0]), float(ordered[-1])
    margin = MARGIN * (high - low) or MARGIN * max(1.0, abs(low))
    wanted = min(max(len(ordered) // ROWS_PER_BIN, MIN_BINS), MAX_BINS)
    quantiles = np.unique(ordered[np.arange(1, wanted) * len(ordered) // wanted - 1])
    below = quantiles[quantiles < high]
    inner = (below + distinct[np.searchsorted(distinct, below, side="right")]) / 2
    edges = (low - margin, *inner.tolist(), high + margin)
    empty = NumberBins(edges=edges, counts=(0,) * (len(edges) + 1))
    return empty.model_copy(update={"counts": tuple(empty.count(ordered).tolist())})


def category_bins(codes: Measured, size: int) -> CategoryBins:
    """Bins of the most frequent codes (N,), the last of all codes (that of unknown ones) among them."""
    counts = np.bincount(codes.astype(np.int64), minlength=size)
    frequent = np.argsort(-counts[:-1], kind="stable")[: MAX_CATEGORIES - 1]
    kept = (*np.sort(frequent).tolist(), size - 1)
    empty = CategoryBins(codes=kept, size=size, counts=(0,) * (len(kept) + (len(kept) < size)))
    return empty.model_copy(update={"counts": tuple(empty.count(codes).tolist())})
