"""A view as its author describes it, and as it is once every question is answered."""

from dataclasses import dataclass, field
from enum import StrEnum

from scraper_server.tables.schema import CellExample, Column, ColumnType, TableWarning
from servicekit.images.shape import ImageShape


class ColumnRole(StrEnum):
    """What a column is for."""

    INPUT = "input"
    TARGET = "target"
    IGNORED = "ignored"
    WEIGHT = "weight"


class MissingPolicy(StrEnum):
    """What happens to rows whose value in a column is missing."""

    DROP_ROW = "drop_row"
    FILL_MEAN = "fill_mean"
    FILL_MEDIAN = "fill_median"
    FILL_MOST_FREQUENT = "fill_most_frequent"
    FILL_VALUE = "fill_value"
    KEEP = "keep"
    FAIL = "fail"

    @property
    def fills(self) -> bool:
        """True if it puts a value in the place of a missing one."""
        return self.value.startswith("fill_")


class SplitMethod(StrEnum):
    """How rows are chosen."""

    RANDOM = "random"
    STRATIFIED = "stratified"
    GROUP = "group"
    TIME = "time"
    COLUMN = "column"


class Part(StrEnum):
    """A part of a view's rows, in the order in which they are numbered."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


PARTS = tuple(Part)


@dataclass(frozen=True)
class ColumnSelection:
    """What to do with one column of the data set. None and empty: as it is, or the default."""

    column: str
    role: ColumnRole | None = None
    rename: str = ""
    cast: ColumnType | None = None
    missing: MissingPolicy | None = None
    fill_value: str = ""


@dataclass(frozen=True)
class Split:
    """Which rows train, validate and test. Fractions are in the order of `PARTS`; all 0: the default ones."""

    method: SplitMethod = SplitMethod.RANDOM
    fractions: tuple[float, float, float] = (0.0, 0.0, 0.0)
    seed: int = 0
    column: str = ""
    """The column that the method needs; empty for random."""
    values: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] = ((), (), ())
    """For COLUMN: the values that mean each part; empty: the part's own name."""


@dataclass(frozen=True)
class ViewSpec:
    """A view as its author describes it."""

    columns: tuple[ColumnSelection, ...] = ()
    default_role: ColumnRole = ColumnRole.INPUT
    split: Split = field(default_factory=Split)


@dataclass(frozen=True)
class ViewColumn:
    """A column as the rows of a view have it."""

    name: str
    source_column: str
    role: ColumnRole
    type: ColumnType
    missing: MissingPolicy
    fill_value: str | None = None
    """What missing values become, as text, if the policy fills: learned from the training rows alone."""
    category_count: int = 0
    """Different values among the training rows, for boolean, categorical and text columns; 0 for others."""
    image: ImageShape | None = None
    """For images: what each of them is."""

    @property
    def plain(self) -> Column:
        """The column without what makes it one of a view."""
        return Column(self.name, self.type, image=self.image)


@dataclass(frozen=True)
class BadCells:
    """Cells of a column that do not fit its cast or its role: how many, and the first.

    `field` is the path that asks for it.
    """

    column: str
    field: str
    type: ColumnType
    count: int
    examples: tuple[CellExample, ...]


@dataclass(frozen=True)
class ResolvedView:
    """What is known of a view once its rows are computed. `row_counts` are in the order of `PARTS`."""

    columns: tuple[ViewColumn, ...]
    row_counts: tuple[int, int, int]
    dropped_row_count: int
    digest: str
    warnings: tuple[TableWarning, ...] = ()
    bad_cells: tuple[BadCells, ...] = ()
    """Of a view that is only checked; one that is kept has none."""
