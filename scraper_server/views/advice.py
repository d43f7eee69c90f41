"""What the author of a view should know of its rows: what gives targets away, and what a model can't learn from."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scraper_server.tables.arrow import Array, kernels
from scraper_server.tables.schema import CellExample, ColumnType, TableWarning, WarningKind
from scraper_server.views.observing import EXAMPLES, RowObserver
from scraper_server.views.spec import PARTS, ColumnRole, Part, SplitMethod, ViewColumn
from scraper_server.views.splits import LEFT_OUT, TRAIN, Parts

# From so few rows nothing follows.
FEWEST_ROWS = 20
# Numbers that move together like this are the same thing in another unit, or on another scale.
CORRELATION = 0.999
# Classes that name each other in such a share of the rows are the same classes.
PURITY = 0.99
# Of a mapping between classes each value must have been seen so often, on average.
SUPPORT = 5
MOST_MAPPED_VALUES = 1_000
RARE_IN_TRAINING = 5
SHARED_SHARE = 0.01
# Rows in the order of a time are a log: so many of its steps go forward.
ORDERED_SHARE = 0.99
LATER_SHARE = 0.1

Numbers = npt.NDArray[np.float64]


def constant_warnings(observer: RowObserver) -> Iterator[TableWarning]:
    """Inputs that say the same in every training row."""
    for column in observer.constant_columns:
        message = f"input '{column.name}' has the same value in every training row: leave it out"
        yield TableWarning(WarningKind.COLUMN_CONSTANT, column.name, message)


def id_warnings(columns: Sequence[ViewColumn], known: Sequence[TableWarning]) -> Iterator[TableWarning]:
    """Inputs of which the data set says that they look like ids."""
    ids = {each.column: each.count for each in known if each.kind is WarningKind.COLUMN_ID_LIKE}
    for column in columns:
        if column.role is ColumnRole.INPUT and column.source_column in ids:
            message = (
                f"input '{column.name}' differs in nearly every row, as an id does: a model learns rows by heart from "
                "it; ignore the column"
            )
            yield TableWarning(WarningKind.COLUMN_ID_LIKE, column.name, message, ids[column.source_column])


def rare_class_warnings(columns: Sequence[ViewColumn], observer: RowObserver) -> Iterator[TableWarning]:
    """Targets with classes that some part has no row of, or training too few."""
    for at, counted in observer.classes.items():
        totals = np.sum(list(counted.counts.values()), axis=0)
        rare = [
            (label, counts)
            for label, counts in sorted(counted.counts.items())
            if counts[TRAIN] < RARE_IN_TRAINING or bool(((counts == 0) & (totals > 0)).any())
        ]
        if not rare:
            continue
        told = [f"{label}: " + _per_part(counts) for label, counts in rare[:EXAMPLES]]
        name = columns[at].name
        message = (
            f"target '{name}': {len(rare)} of its {len(counted.counts)} classes have fewer than {RARE_IN_TRAINING} "
            f"training rows, or none in some part ({told[0]}): stratify the split by it, or drop or join rare classes"
        )
        examples = tuple(CellExample(0, value=each) for each in told)
        yield TableWarning(WarningKind.CLASS_RARE, name, message, len(rare), examples)


def leak_warnings(columns: Sequence[ViewColumn], observer: RowObserver) -> Iterator[TableWarning]:
    """Inputs that say nearly the same as a target. Told from a sample of the training rows."""
    sample = observer.sample
    if sample is None or sample.num_rows < FEWEST_ROWS:
        return
    targets = [at for at, each in enumerate(columns) if each.role is ColumnRole.TARGET]
    for at, column in enumerate(columns):
        if column.role is not ColumnRole.INPUT or column.type is ColumnType.IMAGE:
            continue
        for target in targets:
            how = _likeness(column, sample.column(at), columns[target], sample.column(target))
            if how:
                message = (
                    f"input '{column.name}' {how} target '{columns[target].name}': a model would copy it instead of "
                    "learning; ignore the column unless it is known before the target is"
                )
                yield TableWarning(WarningKind.TARGET_LEAK, column.name, message)
                break


def shared_row_warnings(observer: RowObserver) -> Iterator[TableWarning]:
    """Parts with rows whose inputs training has too."""
    for number, part in enumerate(PARTS):
        if number == TRAIN:
            continue
        count, share, examples = observer.shared_rows(number)
        if share > SHARED_SHARE:
            message = (
                f"{count} {part.value} rows ({share:.0%}) have the same inputs as a training row, first row "
                f"{examples[0].row}: what is measured on them was learned by heart; drop repeated rows, or split by a "
                "group that keeps them together"
            )
            yield TableWarning(WarningKind.ROWS_SHARED, "", message, count, examples)


def future_warnings(method: SplitMethod, name: str, times: Array, parts: Parts) -> Iterator[TableWarning]:
    """A split that lets a model learn from what comes after the rows it is tested on.

    That is so where rows stand in the order of a time, as those of a log do, and the split draws them by chance; and
    where a column says the parts. A date that rows are not ordered by, such as one of birth, is no such time.
    """
    if method is SplitMethod.TIME:
        return
    is_there = kernels.is_valid(times).to_numpy(zero_copy_only=False) & (parts != LEFT_OUT)
    moments = kernels.fill_null(kernels.cast(times, pa.int64()), 0).to_numpy()[is_there]
    there = parts[is_there]
    tested, trained = moments[there == PARTS.index(Part.TEST)], moments[there == TRAIN]
    if len(tested) < FEWEST_ROWS or len(trained) < FEWEST_ROWS:
        return
    steps = np.diff(moments)
    is_ordered = bool(steps.any()) and max((steps >= 0).mean(), (steps <= 0).mean()) >= ORDERED_SHARE
    later = int((trained > np.median(tested)).sum())
    if (method is SplitMethod.COLUMN or is_ordered) and later > LATER_SHARE * len(trained):
        message = (
            f"{later} of {len(trained)} training rows are later than half of the test rows by column '{name}': a model "
            "learns from what it could not know yet; split by time"
        )
        yield TableWarning(WarningKind.FUTURE_LEAK, name, message, later)


def _per_part(counts: npt.NDArray[np.int64]) -> str:
    return ", ".join(f"{count} {part.value}" for count, part in zip(counts, PARTS, strict=True))


def _likeness(input_: ViewColumn, values: Array, target: ViewColumn, truth: Array) -> str:
    """How an input says what a target says; empty if it does not."""
    both = kernels.and_(kernels.is_valid(values), kernels.is_valid(truth))
    values, truth = kernels.filter(values, both), kernels.filter(truth, both)
    if len(values) < FEWEST_ROWS:
        return ""
    if target.type.is_numeric and not input_.type.is_string:
        mine, theirs = _numbers(values), _numbers(truth)
        if abs(_correlation(mine, theirs)) > CORRELATION:
            return "moves exactly with"
        return "rises or falls exactly with" if abs(_correlation(_ranks(mine), _ranks(theirs))) > CORRELATION else ""
    return "names the same classes as" if _is_renaming(values, truth) else ""


def _numbers(values: Array) -> Numbers:
    if pa.types.is_timestamp(values.type):
        values = kernels.cast(values, pa.int64())
    numbers: Numbers = kernels.cast(values, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numbers


def _ranks(numbers: Numbers) -> Numbers:
    """The rank of each value among the distinct ones."""
    return np.unique(numbers, return_inverse=True)[1].astype(np.float64)


def _correlation(mine: Numbers, theirs: Numbers) -> float:
    """Pearson's; 0 where one of the two has the same value everywhere or two only, which fit each other by chance."""
    if min(len(np.unique(mine)), len(np.unique(theirs))) < 3:
        return 0.0
    scaled = [each / (float(np.abs(each).max()) or 1.0) for each in (mine, theirs)]
    deviations = [each - each.mean() for each in scaled]
    spread = float(np.sqrt((deviations[0] ** 2).sum() * (deviations[1] ** 2).sum()))
    return float((deviations[0] * deviations[1]).sum()) / spread if spread > 0 else 0.0


def _is_renaming(values: Array, truth: Array) -> bool:
    """True if each value goes with one class and each class with one value, but for a few rows."""
    mine, theirs = (each.dictionary_encode() for each in (values, truth))
    width, height = len(mine.dictionary), len(theirs.dictionary)
    if not 2 <= width <= MOST_MAPPED_VALUES or not 2 <= height <= MOST_MAPPED_VALUES:
        return False
    if len(values) < SUPPORT * max(width, height):
        return False
    places = mine.indices.to_numpy().astype(np.int64) * height + theirs.indices.to_numpy()
    table = np.bincount(places, minlength=width * height).reshape(width, height)
    return bool(min(table.max(axis=0).sum(), table.max(axis=1).sum()) >= PURITY * len(values))
